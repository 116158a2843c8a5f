"""Three verdicts, and no comparison of things that cannot be compared."""

import math
from dataclasses import replace
from typing import Any

import pytest
from scipy.stats import norm

from dpaudit import Claim, Finding, LowerBound
from dpaudit.accounting.claim import GaussianSteps, Poisson
from dpaudit.accounting.mechanism import epsilon
from dpaudit.bounds.default import HELD_OUT
from dpaudit.bounds.lower_bound import Procedure
from dpaudit.bounds.power import visible
from dpaudit.bounds.power_methods import HeldOutGuesses
from dpaudit.bounds.verdict import Comparison, Facts, Measured, judge
from dpaudit.runtime.errors import InputError

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


def compare(subject: str, claim: Claim, bounds: list[LowerBound], findings: tuple[Finding, ...] = ()) -> Comparison:
    """The verdict on bounds that rest on coins of their own, and findings."""
    return judge(claim, Facts(subject, tuple(map(Measured, bounds)), findings))


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


@pytest.mark.long
def test_the_reach_says_what_would_have_been_seen() -> None:
    """A Gaussian leak at 80 % power: `dpaudit power --trials` gives the same figure for the same procedure."""
    found = compare("m", CLAIM, [bound(0.5, trials=1000, procedure=Procedure("held-out", (HELD_OUT,)))])
    assert found.reach == visible(HeldOutGuesses(HELD_OUT, judged_only=True), 1000, claimed=2.0, delta=1e-5)
    assert f"a Gaussian leak of ε = {found.reach:.3g} would have been seen with probability 0.8" in found.sentence
    other = compare("m", CLAIM, [bound(0.5, method="one-shot")])
    assert other.reach == 6.0
    assert "a perfect attack would have shown up to ε = 6" in other.sentence
    assert compare("m", CLAIM, [bound(0.0, ceiling=1.9, trials=20)]).reach == math.inf


def test_step_canaries_say_how_much_less_noise_they_would_have_seen() -> None:
    """With the steps behind the claim; without them a perfect attack is all that can be said."""
    steps = GaussianSteps(1.0, 100, Poisson(0.01))
    figure = epsilon(steps, delta=1e-5, adjacency="add-remove").epsilon
    claim = Claim(figure, 1e-5, "record", "add-remove", "the test", steps)
    canaries = bound(0.9 * figure, ceiling=200.0, method="step-canaries", family="Gaussian noise", trials=9600)
    found = compare("m", claim, [bound(0.0), canaries])
    # The normal approximation of the binomial test: shifted by its level and its power, in standard deviations.
    likely = norm.cdf(0.5)
    shifted = likely + (norm.ppf(0.95) + norm.ppf(0.8)) * math.sqrt(likely * (1 - likely) / 9600)
    noise = float(1 / (2 * norm.ppf(shifted)))
    expected = epsilon(replace(steps, noise_multiplier=noise), delta=1e-5, adjacency="add-remove").epsilon
    assert found.reach == pytest.approx(expected, rel=1e-2)
    assert f"noise so low that ε is {found.reach:.3g} would have been seen with probability 0.8" in found.sentence
    assert f"measured ε ≥ 0 (≥ {0.9 * figure:.3g} within: Gaussian noise)" in found.sentence
    assert found.strongest == bound(0.0)
    unknown = compare("m", replace(claim, mechanism=None), [canaries])
    assert unknown.reach == 200.0
    assert f"measured ε ≥ {0.9 * figure:.3g}: nothing" in unknown.sentence


def test_a_bound_within_a_family_is_not_mixed_with_the_others() -> None:
    """It decides only where no bound for every mechanism does, and the verdict says within which family."""
    gaussian = bound(3.5, method="whole-curve", family="Gaussian noise")
    found = compare("m", CLAIM, [bound(2.5), gaussian])
    assert found.strongest is not None
    assert found.strongest.epsilon == 2.5
    assert "within" not in found.sentence
    found = compare("m", CLAIM, [bound(0.5), gaussian])
    assert found.strongest == gaussian
    assert "within: Gaussian noise" in found.sentence
    weaker = compare("m", CLAIM, [bound(0.5), bound(1.5, method="whole-curve", family="Gaussian noise")])
    assert weaker.strongest is not None
    assert weaker.strongest.epsilon == 0.5
    alone = compare("m", CLAIM, [bound(1.5, method="other", family="Gaussian noise")])
    assert alone.verdict == "consistent"
    assert "within: Gaussian noise" in alone.sentence


def test_a_violation_contradicts_whatever_the_bounds_say() -> None:
    """Forensics need no statistics; a warning is none."""
    finding = Finding("clipping", "violation", "a gradient of norm 100", "a change of 100", "at most 1", "clip", rung=1)
    warning = Finding("clipping", "warning", "a", "b", "c", "d", rung=1)
    assert compare("m", CLAIM, [bound(0.0)], (finding,)).verdict == "contradicted"
    assert compare("m", CLAIM, [bound(0.0)], (warning,)).verdict == "consistent"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"unit": "user"}, "about one record, what was measured about one user"),
        ({"adjacency": "zero-out"}, "about add-remove adjacency, the measurement about zero-out"),
        ({"delta": 1e-6}, "smaller than the claimed"),
    ],
)
def test_bounds_of_something_else_give_no_verdict(changes: dict[str, Any], message: str) -> None:
    """Unit, adjacency and δ must fit; a larger δ does, because (ε, δ) implies (ε, δ') for δ' > δ."""
    found = compare("m", CLAIM, [bound(3.0, **changes)])
    assert found.verdict == "no verdict"
    assert message in found.sentence
    assert compare("m", CLAIM, [bound(3.0, **changes), bound(0.0)]).verdict == "consistent"
    assert compare("m", CLAIM, [bound(3.0, delta=1e-4)]).verdict == "contradicted"


def test_nothing_attacked_is_no_pass() -> None:
    """An empty audit cannot pass, and is not said to have attacked anything."""
    for findings in ((), (Finding("clipping", "warning", "a", "b", "c", "d", rung=1),)):
        found = compare("m", CLAIM, [], findings)
        assert found.verdict == "too weak"
        assert "nothing was attacked" in found.sentence
        assert "perfect attack" not in found.sentence


def test_a_bound_above_its_ceiling_cannot_exist() -> None:
    """The type refuses what no attack could have certified."""
    with pytest.raises(InputError, match="above its ceiling"):
        bound(7.0, ceiling=6.0)


def test_no_finite_claim_without_noise() -> None:
    """Noise 0 claims nothing."""
    with pytest.raises(InputError, match="without noise ε is infinite"):
        Claim(
            3.0, 1e-5, unit="record", adjacency="add-remove", source="x", mechanism=GaussianSteps(0.0, 1, Poisson(0.1))
        )
