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
    """Each shuffle holds as many records as allowed, with the signals of each among the models, and others every time.

    Every record has one value of φ for all models here, so shuffling moves nothing and tells which were drawn.
    """
    monkeypatch.setattr("dpaudit.attacks.membership.null_check.MOST_RECORDS", 30)
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
    assert len(set(drawn)) == 6
    assert all(len(set(rows)) == 30 for rows in drawn)
