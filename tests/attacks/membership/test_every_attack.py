"""What holds for every attack with references: no leak, no advantage; a leak is seen; what is missing is named."""

import numpy as np
import pytest
from scipy.special import log_softmax

from dpaudit.attacks.membership.base import Base
from dpaudit.attacks.membership.lira import Lira
from dpaudit.attacks.membership.lira_offline import LiraOffline
from dpaudit.attacks.membership.multi_signal import MultiSignalLira
from dpaudit.attacks.membership.pools import audited_part, leave_pair_out
from dpaudit.attacks.membership.rmia import Rmia
from dpaudit.runtime import plugins as registry
from dpaudit.runtime.check import FloatArray, IntArray
from dpaudit.runtime.errors import InputError
from dpaudit.scores.logit_scaled import logit_scaled_confidence
from dpaudit.scores.roc import Roc
from dpaudit.scores.scores import Scores
from dpaudit.scores.signals import PoolSignals, Signals
from tests.attacks.membership.pool import pairs, synthetic

ONLINE = ["attack-r", "auto", "base", "base-offline", "bavaria", "calibrated", "informia", "lira", "lira-offline",
          "lira-offline-density", "loss", "offset", "rmia", "rmia-offline", "attack-p", "risk-score",
          "classifier"]  # fmt: skip
TRAINED = {"risk-score", "classifier"}  # slow, and the number of references plays no part in them
# Need classes, queries, checkpoints, records or spent truth: φ alone is not enough for them.
FULL = ["classifier-on-target", "confidence", "entropy", "gap", "hinge", "label-only", "modified-entropy",
        "multi-signal-lira", "ranges", "robustness", "trajectory", "quantile"]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "models"),
    [
        (name, models)
        for name in ONLINE
        for models in (4, 6, 8, 10, 16)
        if models == 6 or name not in TRAINED
        if models > 4 or name != "lira-offline-density"  # fits a variance to two models on a side
    ],
)
@pytest.mark.long
def test_null_signals_give_an_auc_of_one_half(name: str, models: int) -> None:
    """φ without any leak: the mean AUC over all targets is 0.5, judged by its spread over 12 independent pools.

    The targets of one pool share references, so a pool is one observation. |t| > 5 with 11 degrees of freedom has a
    probability of 4 in 10,000 for a fresh seed; the seeds are fixed. A count of members that shows through the design
    (leaving out one model instead of its pair) moves the AUC to 0.43 at 8 models and fails this.
    """
    attack = registry.resolve("membership", name)()
    means = []
    for seed in range(12):
        pool = synthetic(models, 90, 60, seed=1000 + seed, shift=0.0)
        scores = leave_pair_out(attack, pool)
        means.append(np.mean([Roc.of(Scores.join(scores[t], pool.included[t])).auc for t in range(models)]))
    assert abs(np.mean(means) - 0.5) < 5 * np.std(means, ddof=1) / np.sqrt(12)


def exchangeable(models: int, *, seed: int) -> PoolSignals:
    """Logits, queries, checkpoints and records that have nothing to do with membership."""
    rng = np.random.default_rng(seed)
    records, population = 90, 210
    y, yz = rng.integers(0, 3, records), rng.integers(0, 3, population)

    def seen(labels: IntArray) -> tuple[FloatArray, FloatArray]:
        logits = rng.normal(0, 1, (models, labels.size, 3)) + 2 * np.eye(3)[labels]
        return logit_scaled_confidence(logits, labels), log_softmax(logits, axis=-1)

    (phi, log_p), (again, log_again), (early, _), (z, log_z) = seen(y), seen(y), seen(y), seen(yz)
    return PoolSignals(
        phi, pairs(models, records, rng), y, log_p, z, yz, (again,), rng.normal(size=(records, 2)),
        rng.normal(size=(population, 2)), log_z, (log_again,), (early,),
    )  # fmt: skip


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name == "quantile" else name for name in FULL]
)
def test_exchangeable_outputs_give_every_other_attack_an_auc_of_one_half(name: str) -> None:
    """As above, for the attacks that look at more than φ, on two targets; all of them take 4 references."""
    attack = registry.resolve("membership", name)()
    means = []
    for seed in range(12):
        pool, aucs = exchangeable(6, seed=2000 + seed), []
        for t in range(2):
            signals, kept = audited_part(attack, pool.target(t), pool.included[t])
            aucs.append(Roc.of(Scores.join(attack(signals), pool.included[t][kept])).auc)
        means.append(np.mean(aucs))
    assert abs(np.mean(means) - 0.5) < 5 * np.std(means, ddof=1) / np.sqrt(12)


def test_no_attack_escapes_the_null() -> None:
    """A new name in the registry is in one of the two lists."""
    assert sorted(ONLINE + FULL) == sorted(registry.KINDS["membership"])


@pytest.mark.long
def test_a_leak_is_seen_by_every_attack_with_references() -> None:
    """Broken on purpose: members one unit higher. Every attack's mean AUC is clearly above one half."""
    pool = synthetic(16, 300, 100, seed=5, shift=1.5)
    for name in set(ONLINE) - {"lira-offline-density"}:
        scores = leave_pair_out(registry.resolve("membership", name)(), pool)
        aucs = [Roc.of(Scores.join(scores[t], pool.included[t])).auc for t in range(len(pool))]
        assert np.mean(aucs) > 0.6, name


@pytest.mark.parametrize(
    ("attack", "signals", "message"),
    [
        (Lira(), Signals(np.zeros(2)), "needs at least 1 reference"),
        (Lira("per-record"), synthetic(4).target(0), "needs at least 2 reference"),
        (LiraOffline(), Signals(np.zeros(1), None, None, np.zeros((3, 1)), np.ones((3, 1), bool)), "trained with and"),
        (Lira(), Signals(np.zeros(2), None, None, np.zeros((4, 2)), pairs(4, 2, np.random.default_rng(0))), "vary"),
        (Rmia(), Signals(np.zeros(2), None, None, np.zeros((2, 2)), np.eye(2, dtype=bool)), "needs a population"),
        (Base(), Signals(np.zeros(2)), "no reference model"),
        (MultiSignalLira(), Signals(np.zeros(2)), "needs queries"),
    ],
)
def test_missing_references_are_named(attack: object, signals: Signals, message: str) -> None:
    """An attack never weakens silently: what it lacks is an InputError."""
    with pytest.raises(InputError, match=message):
        attack(signals)  # type: ignore[operator]
