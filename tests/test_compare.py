"""Three verdicts, and no comparison of things that cannot be compared."""

from typing import Any

import pytest

from dpaudit import Claim, Finding, LowerBound
from dpaudit.compare import compare
from dpaudit.errors import InputError

CLAIM = Claim(2.0, 1e-5, unit="record", adjacency="add-remove", source="test")


def bound(epsilon: float, ceiling: float = 6.0, **changes: object) -> LowerBound:
    """A bound for the claim, with changes."""
    fields: dict[str, object] = {
        "epsilon": epsilon,
        "delta": 1e-5,
        "confidence": 0.95,
        "method": "one-run",
        "adjacency": "add-remove",
        "unit": "record",
        "assumptions": (),
        "ceiling": ceiling,
        "trials": 100,
    }
    return LowerBound(**{**fields, **changes})  # type: ignore[arg-type]


def test_a_bound_above_the_claim_contradicts_it() -> None:
    """The largest bound decides."""
    found = compare("m", CLAIM, [bound(0.5), bound(2.5)])
    assert found.verdict == "contradicted"
    assert found.strongest is not None
    assert found.strongest.epsilon == 2.5


def test_a_bound_at_the_claim_does_not_contradict_it() -> None:
    """ε ≥ 2 and ε ≤ 2 are both true of ε = 2."""
    assert compare("m", CLAIM, [bound(2.0)]).verdict == "consistent"


def test_a_ceiling_below_the_claim_is_too_weak() -> None:
    """An audit that could not have seen a violation is no pass."""
    assert compare("m", CLAIM, [bound(0.0, ceiling=1.9)]).verdict == "too weak"
    assert compare("m", CLAIM, [bound(0.0, ceiling=2.0)]).verdict == "too weak"
    assert compare("m", CLAIM, [bound(0.0, ceiling=2.1)]).verdict == "consistent"


def test_a_violation_contradicts_whatever_the_bounds_say() -> None:
    """Forensics need no statistics; a warning is none."""
    finding = Finding("clipping", "violation", "a gradient of norm 100", "a change of 100", "at most 1", "clip", rung=1)
    warning = Finding("clipping", "warning", "a", "b", "c", "d", rung=1)
    assert compare("m", CLAIM, [bound(0.0)], [finding]).verdict == "contradicted"
    assert compare("m", CLAIM, [bound(0.0)], [warning]).verdict == "consistent"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"unit": "user"}, "cannot be compared"),
        ({"adjacency": "replace-one"}, "cannot be compared"),
        ({"delta": 1e-6}, "smaller than the claim's"),
    ],
)
def test_bounds_of_something_else_are_refused(changes: dict[str, Any], message: str) -> None:
    """Unit, adjacency and δ must fit; a larger δ does, because (ε, δ) implies (ε, δ') for δ' > δ."""
    with pytest.raises(InputError, match=message):
        compare("m", CLAIM, [bound(3.0, **changes)])
    assert compare("m", CLAIM, [bound(3.0, delta=1e-4)]).verdict == "contradicted"


def test_nothing_measured_is_no_verdict() -> None:
    """An empty audit cannot pass."""
    with pytest.raises(InputError, match="nothing was measured"):
        compare("m", CLAIM, [])


def test_a_bound_above_its_ceiling_cannot_exist() -> None:
    """The type refuses what no attack could have certified."""
    with pytest.raises(InputError, match="above its ceiling"):
        bound(7.0, ceiling=6.0)


def test_no_finite_claim_without_noise() -> None:
    """Noise 0 promises nothing."""
    from dpaudit.claim import GaussianSteps, Poisson

    with pytest.raises(InputError, match="without noise ε is infinite"):
        Claim(
            3.0, 1e-5, unit="record", adjacency="add-remove", source="x", mechanism=GaussianSteps(0.0, 1, Poisson(0.1))
        )
