"""The self-test of an attack on a pool that cannot leak: a sound one passes, one that sees the design is caught."""

from dataclasses import replace

import numpy as np
import pytest

from dpaudit.attacks.membership.base import Base
from dpaudit.attacks.membership.null_check import null_check
from dpaudit.runtime.errors import AuditFailed
from dpaudit.scores.signals import PoolSignals
from tests.attacks.membership.pool import synthetic


def test_null_check_passes_a_sound_attack_on_a_leaking_pool() -> None:
    """The pool leaks, the shuffled one cannot: 0.5 within the limits, which a sound attack misses once in 10,000."""
    result = null_check(Base(), synthetic(8, 200, shift=2.0), seed=0)
    assert result.low < result.auc < result.high
    assert result.targets >= 64


def test_null_check_catches_an_attack_that_sees_the_design() -> None:
    """Broken on purpose: an attack that scores each model's own column of the design fails the self-test."""
    pool = synthetic(8, 200)

    class Cheat:
        version, paper = "cheat", ""

        def leave_pair_out(self, pool: PoolSignals) -> np.ndarray:  # type: ignore[type-arg]
            rng = np.random.default_rng(0)
            return pool.included * 0.5 + rng.normal(size=pool.included.shape)

    with pytest.raises(AuditFailed, match="null self-test failed"):
        null_check(Cheat(), pool, seed=0)  # type: ignore[arg-type]


def test_a_large_pool_is_tested_on_records_drawn_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four times as many shuffles hold a quarter of the records allowed, with their signals, and others every time.

    Every record has one value of φ for all models here, so shuffling moves nothing and tells which were drawn.
    """
    monkeypatch.setattr("dpaudit.attacks.membership.null_check.MOST_RECORDS", 120)
    pool = synthetic(8, 200)
    pool = replace(pool, phi=np.broadcast_to(np.arange(200.0), (8, 200)).copy())
    drawn = []

    class Watch:
        def leave_pair_out(self, seen: PoolSignals) -> np.ndarray:  # type: ignore[type-arg]
            rows = seen.phi[0].astype(int)
            np.testing.assert_array_equal(seen.phi, np.broadcast_to(rows, (8, 30)))
            np.testing.assert_array_equal(seen.included, pool.included[:, rows])
            assert pool.labels is not None
            assert seen.labels is not None
            np.testing.assert_array_equal(seen.labels, pool.labels[rows])
            drawn.append(tuple(rows))
            return np.random.default_rng(len(drawn)).normal(size=seen.phi.shape)

    null_check(Watch(), pool, seed=0, shuffles=6)  # type: ignore[arg-type]
    assert len(set(drawn)) == 24
    assert all(len(set(rows)) == 30 for rows in drawn)


@pytest.mark.long
def test_what_a_large_pool_can_show_is_as_stated() -> None:
    """16 models, more than 20,000 records: an AUC of 0.5028 is found, one half passes, and the limits are ±0.0014.

    Missed once in 10,000 by its own standard error of 0.00032; one half fails once in 10,000. The limits are 4.3
    (Student, 39 degrees of freedom) times an error that is estimated from 40 shuffles: within a half, never missed.
    """
    pool = synthetic(16, 20_001)

    class Shifted:
        def __init__(self, by: float) -> None:
            self.by, self.rng = by, np.random.default_rng(5)

        def leave_pair_out(self, pool: PoolSignals) -> np.ndarray:  # type: ignore[type-arg]
            return self.rng.normal(size=pool.included.shape) + self.by * pool.included

    found = null_check(Shifted(0.0), pool, seed=1)  # type: ignore[arg-type]
    assert found.targets == 640
    assert 0.0007 < (found.high - found.low) / 2 < 0.0021
    with pytest.raises(AuditFailed, match="null self-test failed"):
        null_check(Shifted(2 * np.sqrt(np.pi) * 0.0028), pool, seed=1)  # type: ignore[arg-type]
