"""The federated one-shot estimate is that of its authors, and the bound stays below it."""

import math

import numpy as np
import pytest

from dpaudit.bounds.one_shot import OneShot, OneShotBound, two_normals
from dpaudit.runtime.errors import InputError
from dpaudit.scores.scores import Scores
from tests.bounds.claimed import REFERENCE


@pytest.mark.parametrize("case", [c for c in REFERENCE["D_one_shot_epe"] if "std" in c], ids=str)
def test_one_shot_is_that_of_its_authors(case: dict[str, float]) -> None:
    """Closed form of google-research/federated for normals of different standard deviation."""
    std = 1 / math.sqrt(case["dim"])
    found = two_normals(0.0, std, case["mu"], case["std"], delta=case["delta"])
    assert found == pytest.approx(case["eps_closed_form_null_gaussian_alt"], rel=1e-7)


@pytest.mark.parametrize("difference", [0.0, 2.3e-16, 1e-15, 1e-13, 1e-12, 1e-10, 1e-8])
def test_one_shot_is_stable_for_nearly_equal_normals(difference: float) -> None:
    """The authors' form gives 31.2 instead of 42.836 when the standard deviations differ by one float step."""
    assert two_normals(0.0, 1.0, 6.0, 1.0 + difference, delta=1e-5) == pytest.approx(42.83601, abs=1e-5)


def test_two_normals_by_brute_force() -> None:
    """δ(ε) by numerical integration, in the worse direction."""
    x = np.linspace(-40, 40, 800_001)
    for mean, std in ((1.0, 1.5), (1.0, 0.6), (0.0, 2.0)):
        found = two_normals(0.0, 1.0, mean, std, delta=1e-3)
        p = np.exp(-(((x - mean) / std) ** 2) / 2) / std / math.sqrt(2 * math.pi)
        q = np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)
        deltas = [np.maximum(a - math.exp(found) * b, 0).sum() * 1e-4 for a, b in ((p, q), (q, p))]
        assert max(deltas) == pytest.approx(1e-3, rel=1e-5)


def test_one_shot_estimate_and_bound_from_the_same_cosines() -> None:
    """The bound pairs every canary with a fresh one, is halved for add-remove, and stays below the estimate."""
    rng = np.random.default_rng(0)
    seen, fresh = rng.normal(0.004, 0.001, 1000), rng.normal(0.0, 0.001, 1000)
    estimate = OneShot(1_000_000)(seen, delta=1e-6)
    replaced, added = (
        OneShotBound(seed=0)(Scores(seen, fresh), delta=1e-6, confidence=0.95, adjacency=adjacency, unit="user")
        for adjacency in ("replace-one", "add-remove")
    )
    assert 0 < added.epsilon < replaced.epsilon < estimate.epsilon
    assert added.epsilon == pytest.approx(replaced.epsilon / 2, rel=0.02)
    with pytest.raises(InputError, match="one fresh canary"):
        OneShotBound(seed=0)(Scores(seen, fresh[:5]), delta=1e-6, confidence=0.95, adjacency="replace-one", unit="user")
    with pytest.raises(InputError, match="cosines must be"):
        OneShot(10)(np.array([2.0, 0.1]), delta=1e-6)
