"""RMIA against its definition over all pairs."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit

from dpaudit.attacks.membership.base import Base
from dpaudit.attacks.membership.informia import InfoRmia
from dpaudit.attacks.membership.rmia import Rmia, RmiaOffline
from tests.attacks.membership.one_target import TARGET


@pytest.mark.parametrize("gamma", [1.0, 1.5, 2.0])
def test_rmia_by_sort_and_search_is_the_direct_form(gamma: float) -> None:
    """#{z : ratio(x) ≥ γ ratio(z)} counted over every pair (x, z), online and offline."""
    assert TARGET.population is not None
    z = TARGET.population
    p, p_z = expit(TARGET.phi), expit(z.phi)
    references, references_z = expit(TARGET.reference), expit(z.reference)
    online = np.array([(r[i].mean() + r[~i].mean()) / 2 for r, i in zip(references.T, TARGET.included.T, strict=True)])
    out = np.array([r[~i].mean() for r, i in zip(references.T, TARGET.included.T, strict=True)])
    for attack, mean, mean_z in (
        (Rmia(gamma), online, references_z.mean(0)),
        (RmiaOffline(0.3, gamma), (1.3 * out + 0.7) / 2, (1.3 * references_z.mean(0) + 0.7) / 2),
    ):
        ratio, ratio_z = p / mean, p_z / mean_z
        beaten = (ratio[:, None] >= gamma * ratio_z[None, :]).sum(axis=1)
        scores = attack(TARGET) * (len(z) + 1)
        np.testing.assert_array_equal(np.floor(scores), beaten)
        np.testing.assert_allclose(scores - beaten, ratio / (1 + ratio), atol=1e-9)
        np.testing.assert_array_equal(replace(attack, ties_by_ratio=False)(TARGET), beaten / len(z))


def test_rmia_ties_are_broken_by_the_ratio() -> None:
    """For one target the order is that of p(x)/Pr(x) alone, which is BASE's order with balanced references."""
    np.testing.assert_array_equal(np.argsort(Rmia()(TARGET)), np.argsort(Base()(TARGET)))


def test_informia_is_base_and_the_divergence_of_the_target_on_the_population() -> None:
    """log p(x)/Pr(x) + mean log Pr(z)/p(z), by hand; so the order under one target is BASE's."""
    assert TARGET.population is not None
    p, p_z = expit(TARGET.phi), expit(TARGET.population.phi)
    mean, mean_z = expit(TARGET.reference).mean(0), expit(TARGET.population.reference).mean(0)
    np.testing.assert_allclose(InfoRmia()(TARGET), np.log(p / mean) + np.log(mean_z / p_z).mean(), rtol=1e-9)
    np.testing.assert_array_equal(np.argsort(InfoRmia()(TARGET)), np.argsort(Base()(TARGET)))
