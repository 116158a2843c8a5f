"""Intervals for many canaries in many runs, against the released code of their authors and by simulation."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dpaudit.bounds.lidp import MultiCanary, lower_mean, upper_mean
from dpaudit.errors import InputError

REFERENCE: list[dict[str, Any]] = json.loads((Path(__file__).parent / "reference.json").read_text())["E_lidp_xbern_CIs"]


@pytest.mark.parametrize("case", REFERENCE, ids=lambda case: f"{case['n']}x{case['k']}")
def test_intervals_are_those_of_the_authors(case: dict[str, Any]) -> None:
    """First order (Wilson) for one canary, second order for many, on the same deterministic table."""
    i, j = np.meshgrid(np.arange(case["n"]), np.arange(case["k"]), indexing="ij")
    x = ((i * 7919 + j * 104729) % 1000 < case["p"] * 1000).astype(np.float64)
    order = "1st-Order Wilson" if case["k"] == 1 else "2nd-Order Wilson"
    assert lower_mean(x, case["beta"]) == pytest.approx(case["left"][order], abs=1e-12)
    assert upper_mean(x, case["beta"]) == pytest.approx(case["right"][order], abs=1e-12)


@pytest.mark.parametrize("strength", [0.5, 4.0, 50.0])
def test_intervals_hold_for_dependent_canaries(strength: float) -> None:
    """Canaries of a run share a random rate (beta-binomial): 2,000 simulated audits of 400 runs, nominal 5 %.

    The interval is asymptotic: the allowance is 5 % plus three standard errors plus one point.
    """
    rng = np.random.default_rng(0)
    below = above = 0
    for _ in range(2000):
        rates = rng.beta(0.1 * strength, 0.9 * strength, (400, 1))
        x = (rng.random((400, 8)) < rates).astype(np.float64)
        below += upper_mean(x, 0.05) < 0.1
        above += lower_mean(x, 0.05) > 0.1
    assert max(below, above) / 2000 < 0.05 + 3 * (0.05 * 0.95 / 2000) ** 0.5 + 0.01


def test_more_canaries_say_more() -> None:
    """With nearly independent canaries, 16 in each run certify more than one does."""
    rng = np.random.default_rng(0)
    hits, alarms = rng.random((500, 16)) < 0.5, rng.random((500, 16)) < 0.05
    common: Any = {"delta": 1e-5, "confidence": 0.95, "adjacency": "add-remove", "unit": "record"}
    many, one = MultiCanary()(hits, alarms, **common), MultiCanary()(hits[:, :1], alarms[:, :1], **common)
    assert one.epsilon < many.epsilon < np.log(10)
    assert many.epsilon <= many.ceiling
    assert any("asymptotic" in assumption for assumption in many.assumptions)


@pytest.mark.parametrize("bad", [np.full((3, 2), 0.5), np.ones((1, 2)), np.ones(4)])
def test_tables_must_be_tests(bad: Any) -> None:
    """0/1, runs by canaries, at least two runs."""
    with pytest.raises(InputError):
        MultiCanary()(bad, bad, delta=1e-5, confidence=0.95, adjacency="add-remove", unit="record")
