"""Single records: which of them an attack calls members, and whose membership shows beyond chance."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dpaudit.runtime import check
from dpaudit.runtime.check import BoolArray, FloatArray
from dpaudit.runtime.errors import InputError
from dpaudit.runtime.out_of_core import over_records, releasing, require_finite

MOST_LISTED = 1000  # exposed records that a result names; a result must stay small however many there are


@dataclass(frozen=True)
class RecordRates:
    """How often an attack calls single records members, over all models of a pool as targets.

    Args:
        fpr: false-positive rate of the whole attack on each target; the threshold is where it is reached.
        models: targets trained with each record; as many were trained without it.
        tpr: share of the models trained with the record in which it is called a member.
        fprs: share of the models trained without it in which it is called a member all the same.
    """

    fpr: float
    models: int
    tpr: tuple[float, ...]
    fprs: tuple[float, ...]


def rates_of_records(scores: object, included: object, records: Sequence[int], *, fpr: float) -> RecordRates:
    """TPR and FPR of single records, each over the models with and without it.

    Args:
        scores: shape (models, records), each row with its own model as the target.
        included: which model was trained on which record, shape (models, records), in complementary pairs.
        records: which records to look at.
        fpr: false-positive rate of the whole attack on each target.

    >>> rates_of_records([[9.0, 1.0, 8.0], [2.0, 9.0, 3.0]], [[1, 0, 1], [0, 1, 0]], [0], fpr=0.5)
    RecordRates(fpr=0.5, models=1, tpr=(1.0,), fprs=(0.0,))
    """
    check.open_unit("fpr", fpr)
    values = require_finite("scores", scores)
    member = np.asarray(included, bool)
    if member.all(axis=1).any():
        raise InputError("every model needs a record it was not trained on: its false positives are counted there.")
    chosen = np.asarray(records, np.int64)
    with_record, called = member[:, chosen], np.empty((len(values), chosen.size), bool)
    for row, truth, out in releasing(zip(values, member, called, strict=True), values):
        others = np.sort(row[~truth])[::-1]
        # Above the first score that would make one false positive too many; ties with it are not called members.
        out[:] = row[chosen] > others[int(fpr * others.size + 1e-9)]
    count = len(values) // 2
    if not (with_record.sum(axis=0) == count).all():
        raise InputError("the models must come in complementary pairs: half of them trained with each record.")
    return RecordRates(
        fpr,
        count,
        tuple(((called & with_record).sum(axis=0) / count).tolist()),
        tuple(((called & ~with_record).sum(axis=0) / count).tolist()),
    )


@dataclass(frozen=True)
class Exposed:
    """Records whose membership shows, by identifier only.

    Args:
        records: identifiers, most exposed first.
        gaps: mean signal with the record minus mean without it, in the same order.
        p_values: of each, before the correction.
        fdr: expected share of wrongly listed records, at most.
        tested: how many records were tested.
        smallest_p: the smallest p-value this many pairs of models can give; when it is above ``fdr / tested``,
            a single exposed record could not have been listed.
        not_listed: how many more stand out, less than those listed: a result holds ``MOST_LISTED`` at most.
    """

    records: tuple[int, ...]
    gaps: tuple[float, ...]
    p_values: tuple[float, ...]
    fdr: float
    tested: int
    smallest_p: float
    not_listed: int = 0

    @property
    def found(self) -> int:
        """How many records stand out."""
        return len(self.records) + self.not_listed


def find_exposed(phi: object, included: object, *, fdr: float = 0.05) -> Exposed:
    """Which records a model reveals as members, from a pool in pairs, at a controlled false discovery rate.

    Of each pair of models exactly one was trained on the record, by a coin. If training on it made no difference the
    sign of the difference within a pair would be a fair coin too, so Wilcoxon's signed-rank test is exact. The list
    is cut where Benjamini and Hochberg (1995) put it. Of more than ``MOST_LISTED`` the most exposed are named and the
    others counted.

    Args:
        phi: signals, shape (models, records).
        included: which model was trained on which record, shape (models, records), pairs (2k, 2k + 1).
        fdr: false discovery rate.

    Raises:
        InputError: the models are not in complementary pairs.
    """
    from scipy.stats import false_discovery_control

    values = require_finite("φ of the pool", phi)
    member = np.asarray(included)
    if member.shape != values.shape or not all(
        np.array_equal(one, ~other) for one, other in zip(member[0::2], member[1::2], strict=True)
    ):
        raise InputError("the models must come in complementary pairs: of 2k and 2k + 1 one is trained on each record.")

    def block(phi: FloatArray, member: BoolArray) -> tuple[FloatArray, ...]:
        difference = np.where(member[0::2], phi[0::2] - phi[1::2], phi[1::2] - phi[0::2])
        return signed_rank_p_values(difference), difference.mean(axis=0)

    p, gaps = over_records(block, values, member)
    kept = np.flatnonzero(false_discovery_control(p) <= check.open_unit("fdr", fdr))
    order = kept[np.lexsort((-gaps[kept], p[kept]))][:MOST_LISTED]
    return Exposed(
        records=tuple(order.tolist()),
        gaps=tuple(gaps[order].tolist()),
        p_values=tuple(p[order].tolist()),
        fdr=fdr,
        tested=p.size,
        smallest_p=0.5 ** (len(values) // 2),
        not_listed=kept.size - order.size,
    )


def signed_rank_p_values(difference: FloatArray) -> FloatArray:
    """Exact one-sided p-values that differences (pairs, records) tend to be positive (Wilcoxon 1945), per record.

    Given their sizes the signs are fair coins, whatever order equal sizes are put in; a difference of 0 counts as
    negative, which can only make the p-value larger. Without equal sizes these are the p-values of
    `scipy.stats.wilcoxon`; with them its exact method is not exact, and may be too small.

    >>> signed_rank_p_values(np.array([[1.0], [2.0], [3.0]]))
    array([0.125])
    """
    from scipy.stats import rankdata

    pairs = len(difference)
    ranks = rankdata(np.abs(difference), method="ordinal", axis=0)
    positive = np.where(difference > 0, ranks, 0).sum(axis=0).astype(np.int64)
    ways = np.zeros(pairs * (pairs + 1) // 2 + 1)  # as probabilities: the counts overflow beyond 62 pairs
    ways[0] = 1.0
    for rank in range(1, pairs + 1):
        shifted = np.zeros_like(ways)
        shifted[rank:] = ways[:-rank]
        ways = (ways + shifted) / 2
    upper = np.cumsum(ways[::-1])[::-1]
    result: FloatArray = np.minimum(upper[positive], 1.0)
    return result
