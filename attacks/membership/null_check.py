"""Self-test of a membership experiment: without a leak, does it find none?"""

import math
from dataclasses import replace

import numpy as np

from dpaudit.attacks.membership.pools import Attack, leave_pair_out
from dpaudit.runtime import check
from dpaudit.runtime.check import FloatArray, IntArray
from dpaudit.runtime.errors import AuditFailed
from dpaudit.runtime.out_of_core import filled, over_records, releasing
from dpaudit.scores.ordered import OrderedScores
from dpaudit.scores.signals import PoolSignals
from dpaudit.scores.targets import NullCheck

MOST_RECORDS = 20_000  # of a shuffle: ten of them find an AUC that is off by 0.002 under 64 models


def null_check(
    attack: Attack, pool: PoolSignals, *, seed: int, shuffles: int = 10, false_alarms: float = 1e-4
) -> NullCheck:
    """Shuffle every record's signals among the models, attack as before, and demand an AUC of one half.

    Shuffling keeps the design, the records' difficulty and the shape of the signals, and breaks every tie between a
    signal and its model's training data. An AUC off one half means that the experiment itself shows membership (a
    count, an order, a label), and its results are worth nothing. Each shuffle is of records drawn anew, `MOST_RECORDS`
    at the most.

    Args:
        attack: the attack.
        pool: the signals of the real experiment.
        seed: of the shuffles.
        shuffles: how often. The targets of one pool share their references, so their AUCs move together; only the
            mean over targets of one shuffle is an independent observation.
        false_alarms: probability that a sound experiment fails.

    Raises:
        AuditFailed: the AUC is not one half.
    """
    from scipy.stats import t as student

    check.open_unit("false_alarms", false_alarms)
    check.integer("shuffles", shuffles, at_least=2)
    rng = np.random.default_rng(seed)
    means = []
    for _ in range(shuffles):
        shuffled = _shuffled(_some_records(pool, rng), rng)
        scores = leave_pair_out(attack, shuffled)
        pairs = zip(scores, shuffled.included, strict=True)
        means.append(float(np.mean([OrderedScores.of(row, truth).auc for row, truth in releasing(pairs, scores)])))
    mean, error = float(np.mean(means)), float(np.std(means, ddof=1)) / math.sqrt(shuffles)
    width = float(student.ppf(1 - false_alarms / 2, shuffles - 1)) * error
    if abs(mean - 0.5) > width:
        raise AuditFailed(
            f"the null self-test failed: on signals that cannot leak the attack has an AUC of {mean:.4f}, expected "
            f"0.5 ± {width:.4f}. The experiment itself shows membership; nothing it finds can be trusted."
        )
    return NullCheck(mean, error, 0.5 - width, 0.5 + width, len(pool) * shuffles)


def _some_records(pool: PoolSignals, rng: np.random.Generator) -> PoolSignals:
    records = pool.phi.shape[1]
    if records <= MOST_RECORDS:
        return pool
    drawn = np.zeros(records, bool)
    drawn[rng.choice(records, MOST_RECORDS, replace=False)] = True
    return pool.take(drawn)


def _shuffled(pool: PoolSignals, rng: np.random.Generator) -> PoolSignals:
    models, records = pool.phi.shape
    keys = filled((models, records), ((model, rng.random((1, records))) for model in range(models)))
    order = over_records(lambda keys: (np.argsort(keys, axis=0).astype(np.int32),), keys)[0]
    del keys  # may be large

    def block(order: IntArray, values: FloatArray) -> tuple[FloatArray, ...]:
        return (values[order, np.arange(order.shape[1])],)

    def moved(values: FloatArray) -> FloatArray:
        return over_records(block, order, values)[0]

    return replace(
        pool,
        phi=moved(pool.phi),
        queries=tuple(moved(query) for query in pool.queries),
        query_log_probabilities=tuple(moved(query) for query in pool.query_log_probabilities),
        checkpoints=tuple(moved(checkpoint) for checkpoint in pool.checkpoints),
        log_probabilities=None if pool.log_probabilities is None else moved(pool.log_probabilities),
    )
