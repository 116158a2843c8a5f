"""Intervals for many canaries in many runs, against the released code of their authors and by simulation."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.special import ndtri

from dpaudit.bounds.multi_canary import MultiCanary, upper_mean
from dpaudit.runtime.check import FloatArray
from dpaudit.runtime.errors import InputError

REFERENCE: list[dict[str, Any]] = json.loads((Path(__file__).parent / "reference.json").read_text())["E_lidp_xbern_CIs"]


def _table(case: dict[str, Any]) -> FloatArray:
    i, j = np.meshgrid(np.arange(case["n"]), np.arange(case["k"]), indexing="ij")
    x: FloatArray = ((i * 7919 + j * 104729) % 1000 < case["p"] * 1000).astype(np.float64)
    return x


@pytest.mark.parametrize("case", REFERENCE, ids=lambda case: f"{case['n']}x{case['k']}")
def test_intervals_are_those_of_the_authors(case: dict[str, Any]) -> None:
    """First order (Wilson) for one canary, second order for many, on the same deterministic table."""
    x = _table(case)
    order = "1st-Order Wilson" if case["k"] == 1 else "2nd-Order Wilson"
    assert upper_mean(x, case["beta"]) == pytest.approx(case["right"][order], abs=1e-12)


def test_the_fourth_order_is_tighter_than_the_released_code() -> None:
    """The authors' fourth order subtracts the square of the third moment where the variance of a run's mean over pairs

    has the square of the second (and so is looser). With that slip put in, theirs comes out; without it, ours.
    """
    case = next(case for case in REFERENCE if "4th-Order Wilson" in case["left"])
    n, k, share = case["n"], case["k"], case["beta"] / 4
    x = _table(case)
    theirs, ours = case["right"]["4th-Order Wilson"], upper_mean(x, case["beta"], 4)
    assert x.mean() < ours < theirs
    assert upper_mean(x, case["beta"], 2) > ours
    z2, s = float(ndtri(share)) ** 2, x.sum(axis=1)
    m2 = float((s * (s - 1)).mean()) / (k * (k - 1))
    m3 = float((s * (s - 1) * (s - 2)).mean()) / (k * (k - 1) * (k - 2))
    m4 = float((s * (s - 1) * (s - 2) * (s - 3)).mean()) / (k * (k - 1) * (k - 2) * (k - 3))
    m3, m4 = (upper_mean(np.zeros((n, 1)), share) if not m else _wilson(m, n, z2) for m in (m3, m4))
    pairs = k * (k - 1)

    def second(slip: bool) -> float:
        """The equation of the second moment by bisection, its variance written out."""

        def excess(mu: float) -> float:
            square = m3**2 if slip else mu**2
            none = (k - 2) * (k - 3) / pairs * (m4 - square)
            return float(
                n * (m2 - mu) ** 2 - z2 * (none + 4 * (k - 2) / pairs * (m3 - mu**2) + 2 / pairs * (mu - mu**2))
            )

        return float(brentq(excess, m2, 1.0, xtol=1e-15))

    for slip, at in ((True, theirs), (False, ours)):
        variance = at / k + (k - 1) / k * second(slip) - at**2
        assert n * (x.mean() - at) ** 2 == pytest.approx(z2 * variance, rel=1e-9)


def _wilson(mean: float, n: int, z2: float) -> float:
    return float(brentq(lambda mu: n * (mean - mu) ** 2 - z2 * mu * (1 - mu), mean, 1.0, xtol=1e-15))


@pytest.mark.parametrize("order", [2, 4])
@pytest.mark.parametrize("strength", [0.5, 4.0, 50.0])
@pytest.mark.long
def test_intervals_hold_for_dependent_canaries(strength: float, order: Any) -> None:
    """Canaries of a run share a random rate (beta-binomial): 2,000 simulated audits of 400 runs, nominal 5 %.

    The interval is asymptotic: the allowance is 5 % plus three standard errors plus one point.
    """
    rng = np.random.default_rng(0)
    below = 0
    for _ in range(2000):
        rates = rng.beta(0.1 * strength, 0.9 * strength, (400, 1))
        x = (rng.random((400, 8)) < rates).astype(np.float64)
        below += upper_mean(x, 0.05, order) < 0.1
    assert below / 2000 < 0.05 + 3 * (0.05 * 0.95 / 2000) ** 0.5 + 0.01


def test_more_canaries_say_more() -> None:
    """With nearly independent canaries, 16 in each run certify more than one does."""
    rng = np.random.default_rng(0)
    hits, alarms = rng.random((500, 16)) < 0.5, rng.random((500, 16)) < 0.05
    common: Any = {"delta": 1e-5, "confidence": 0.95, "adjacency": "add-remove", "unit": "record"}
    many, one = MultiCanary()(hits, alarms, **common), MultiCanary()(hits[:, :1], alarms[:, :1], **common)
    assert one.epsilon < many.epsilon < np.log(10)
    assert many.epsilon <= many.ceiling
    assert any("asymptotic" in assumption for assumption in many.assumptions)


def test_the_fourth_order_needs_four_canaries() -> None:
    """Its bound is a bound like the other; fewer canaries and other orders are refused."""
    rng = np.random.default_rng(0)
    hits, alarms = rng.random((500, 32)) < 0.5, rng.random((500, 32)) < 0.05
    common: Any = {"delta": 1e-5, "confidence": 0.95, "adjacency": "add-remove", "unit": "record"}
    assert 1.9 < MultiCanary(4)(hits, alarms, **common).epsilon < np.log(10)
    with pytest.raises(InputError, match="at least 4 canaries a run, got 3"):
        MultiCanary(4)(hits[:, :3], alarms[:, :3], **common)
    with pytest.raises(InputError, match="order must be 2 or 4"):
        MultiCanary(3)  # type: ignore[arg-type]


@pytest.mark.parametrize("bad", [np.full((3, 2), 0.5), np.ones((1, 2)), np.ones(4)])
def test_tables_must_be_tests(bad: Any) -> None:
    """0/1, runs by canaries, at least two runs."""
    with pytest.raises(InputError):
        MultiCanary()(bad, bad, delta=1e-5, confidence=0.95, adjacency="add-remove", unit="record")
