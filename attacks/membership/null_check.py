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

MOST_RECORDS = 20_000  # of a shuffle; a larger pool is shuffled more often, in smaller parts
PARTS = 4  # of such a shuffle: 40 observations give limits a third narrower than 10, for as much work


def null_check(
    attack: Attack, pool: PoolSignals, *, seed: int, shuffles: int = 10, false_alarms: float = 1e-4
) -> NullCheck:
    """Shuffle every record's signals among the models, attack as before, and demand an AUC of one half.

    Shuffling keeps the design, the records' difficulty and the shape of the signals, and breaks every tie between a
    signal and its model's training data. An AUC off one half means that the experiment itself shows membership (a
    count, an order, a label), and its results are worth nothing.

    **What it sees.** Up to `MOST_RECORDS` records, every shuffle is of all of them; of a larger pool four times as many
    shuffles are of a quarter of `MOST_RECORDS` each, drawn anew. Of 64 models it then finds an AUC that is off one half
    by 0.001 with probability 0.95 or more, and of 16 models by 0.002, however large the pool is. The AUC over all
    targets of 10⁶ records has a standard error of 0.0001 or less, so what is within 0.001 of one half there is not told
    from a fault of the experiment. No bound on ε rests on it: a shift of all scores by that much is a leak of ε = 0.01
    at δ = 1e-5. An AUC cannot rule out that two records in a thousand are given away, and hardly could if all were
    shuffled.

    Args:
        attack: the attack.
        pool: the signals of the real experiment.
        seed: of the shuffles.
        shuffles: how often (of a larger pool four times as often). The targets of one pool share their references, so
            their AUCs move together; only the mean over targets of one shuffle is an independent observation.
        false_alarms: probability that a sound experiment fails.

    Raises:
        AuditFailed: the AUC is not one half.
    """
    from scipy.stats import t as student

    check.open_unit("false_alarms", false_alarms)
    check.integer("shuffles", shuffles, at_least=2)
    rng = np.random.default_rng(seed)
    size = MOST_RECORDS
    if pool.phi.shape[1] > MOST_RECORDS:
        shuffles, size = PARTS * shuffles, MOST_RECORDS // PARTS
    means = []
    for _ in range(shuffles):
        shuffled = _shuffled(_some_records(pool, size, rng), rng)
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


def _some_records(pool: PoolSignals, size: int, rng: np.random.Generator) -> PoolSignals:
    records = pool.phi.shape[1]
    if records <= size:
        return pool
    drawn = np.zeros(records, bool)
    drawn[rng.choice(records, size, replace=False)] = True
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
