"""What an attack achieved over the targets of a pool, in slices of the records, and on single records."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import false_discovery_control, norm, rankdata

from dpaudit import _check
from dpaudit._check import BoolArray, FloatArray
from dpaudit.blocks import finite, over_records, release
from dpaudit.errors import InputError
from dpaudit.roc import Roc, auc_standard_error, pooled_rates
from dpaudit.scores import Scores

MOST_LISTED = 1000  # exposed records that a result names; a result must stay small however many there are


@dataclass(frozen=True)
class Mean:
    """Mean over targets with its standard error: models are the unit, records of one model are not independent.

    Targets of one pool share references, which makes the error of attacks that fit them a little too small.
    """

    mean: float
    standard_error: float


@dataclass(frozen=True)
class OverTargets:
    """An attack on every model of a pool in turn.

    Args:
        targets: number of models attacked.
        auc: area under each target's ROC.
        advantage: largest TPR - FPR of each target.
        fprs: false-positive rates.
        tpr_at_fpr: TPR at each of them, per target and averaged.
        fpr_floor: smallest false-positive rate above 0 that one target can show.
        pooled_auc: of all targets' scores thrown together.
        pooled_tpr_at_fpr: likewise; not what an attacker with one target has, who knows nothing of a common threshold.
    """

    targets: int
    auc: Mean
    advantage: Mean
    fprs: tuple[float, ...]
    tpr_at_fpr: tuple[Mean, ...]
    fpr_floor: float
    pooled_auc: float
    pooled_tpr_at_fpr: tuple[float, ...]


def over_targets(scores: object, included: object, *, fprs: Sequence[float]) -> OverTargets:
    """Join the truth to the scores of every target and average.

    Args:
        scores: shape (models, records), each row with its own model as the target.
        included: which model was trained on which record, shape (models, records).
        fprs: false-positive rates to read the TPR at.

    Raises:
        InputError: shapes differ, fewer than two targets, or a target without members or non-members.

    >>> result = over_targets([[2.0, 1.0], [1.0, 2.0]], [[1, 0], [0, 1]], fprs=(0.1,))
    >>> result.auc
    Mean(mean=1.0, standard_error=0.0)
    """
    values = finite("scores", scores)
    member = np.asarray(included)
    if member.shape != values.shape or len(values) < 2:
        raise InputError(
            f"scores and membership must have shape (models, records) with 2 models or more, got {values.shape} and "
            f"{member.shape}."
        )
    aucs, advantages, floors = [], [], []
    tprs: list[list[float]] = [[] for _ in fprs]
    for row, truth in zip(values, member, strict=True):
        roc = Roc.of(Scores.join(row, truth))
        aucs.append(roc.auc)
        advantages.append(roc.advantage)
        floors.append(roc.fpr_floor)
        for fpr, at in zip(fprs, tprs, strict=True):
            at.append(roc.tpr_at(fpr).tpr)
        release(values)
    pooled_auc, pooled_tprs = pooled_rates(values, np.asarray(member, bool), fprs)
    return OverTargets(
        targets=len(aucs),
        auc=mean_over(aucs),
        advantage=mean_over(advantages),
        fprs=tuple(fprs),
        tpr_at_fpr=tuple(mean_over(at) for at in tprs),
        fpr_floor=max(floors),
        pooled_auc=pooled_auc,
        pooled_tpr_at_fpr=pooled_tprs,
    )


def mean_over(values: Sequence[float]) -> Mean:
    """Mean and standard error of at least two values.

    >>> mean_over([1.0, 3.0])
    Mean(mean=2.0, standard_error=1.0)
    """
    if len(values) < 2:
        raise InputError(f"a standard error needs 2 values or more, got {len(values)}.")
    return Mean(float(np.mean(values)), float(np.std(values, ddof=1)) / math.sqrt(len(values)))


@dataclass(frozen=True)
class Slice:
    """An attack on part of the records.

    Args:
        by: what the records were sliced by.
        value: which part.
        members: members in it.
        nonmembers: non-members in it.
        auc: of the attack within the slice.
        auc_standard_error: over records.
        tpr_at_fpr: TPR at `Slices.fpr` within the slice.
        p_value: one-sided, that the AUC is above one half, adjusted for all slices looked at (Holm 1979).
    """

    by: str
    value: str
    members: int
    nonmembers: int
    auc: float
    auc_standard_error: float
    tpr_at_fpr: float
    p_value: float


@dataclass(frozen=True)
class Slices:
    """An attack in every slice that could be judged.

    Args:
        fpr: the false-positive rate of `Slice.tpr_at_fpr`.
        found: the slices, in order.
        left_out: ``by = value`` of slices with fewer than two members or two non-members: an AUC over a single one
            has no standard error.
    """

    fpr: float
    found: tuple[Slice, ...]
    left_out: tuple[str, ...]


def sliced(scores: object, member: object, groups: Mapping[str, object], *, fpr: float) -> Slices:
    """Judge an attack within parts of the records, with one error level for all parts together.

    Args:
        scores: shape (records,).
        member: membership, shape (records,).
        groups: what to slice by -> the value of every record, shape (records,).
        fpr: the false-positive rate to read the TPR at.

    >>> result = sliced([3, 2, 1, 0, 1], [1, 1, 0, 0, 1], {"class": [0, 0, 0, 0, 1]}, fpr=0.1)
    >>> result.found[0].auc, result.left_out
    (1.0, ('class = 1',))
    """
    values = _check.vector("scores", scores)
    truth = _check.flags("membership", member, length=values.size)
    found: list[Slice] = []
    left_out: list[str] = []
    for by, labels in groups.items():
        column = np.asarray(labels)
        if column.shape != values.shape:
            raise InputError(f"slices by {by} must have one value for each of {values.size} records.")
        for value in np.unique(column):
            rows = column == value
            if min(truth[rows].sum(), (~truth[rows]).sum()) < 2:
                left_out.append(f"{by} = {value}")
                continue
            joined = Scores.join(values[rows], truth[rows])
            roc, error = Roc.of(joined), auc_standard_error(joined)
            found.append(
                Slice(
                    by,
                    str(value),
                    roc.members,
                    roc.nonmembers,
                    roc.auc,
                    error,
                    roc.tpr_at(fpr).tpr,
                    _above_half(joined, roc.auc),
                )
            )
    adjusted = holm([one.p_value for one in found])
    corrected = tuple(Slice(**{**one.__dict__, "p_value": p}) for one, p in zip(found, adjusted, strict=True))
    return Slices(fpr, corrected, tuple(left_out))


def _above_half(scores: Scores, auc: float) -> float:
    """One-sided p-value of the Mann-Whitney test with ties; exact permutation variance, normal approximation."""
    m, n = scores.member.size, scores.nonmember.size
    _, ties = np.unique(scores.values, return_counts=True)
    total = m + n
    variance = (total + 1 - float((ties**3 - ties).sum()) / (total * (total - 1))) / (12 * m * n)
    return 1.0 if variance <= 0 else float(norm.sf((auc - 0.5) / math.sqrt(variance)))


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values adjusted so that all together raise a false alarm as rarely as one would (Holm 1979).

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = np.argsort(p_values)
    adjusted = np.empty(len(p_values))
    running = 0.0
    for rank, index in enumerate(order):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = running
    return [round(float(p), 15) for p in adjusted]


def standard_groups(
    *, labels: object = None, loss: object = None, correct: object = None, bins: int = 5
) -> dict[str, npt.NDArray[np.generic]]:
    """The usual slices: true class, quantile of the loss, whether the model is right.

    >>> standard_groups(loss=[0.1, 0.2, 0.3, 0.4], bins=2)["loss"].tolist()
    ['0-50 %', '0-50 %', '50-100 %', '50-100 %']
    """
    groups: dict[str, npt.NDArray[np.generic]] = {}
    if labels is not None:
        groups["class"] = np.asarray(labels)
    if correct is not None:
        groups["classified"] = np.where(np.asarray(correct), "right", "wrong")
    if loss is not None:
        groups["loss"] = quantile_groups(_check.vector("loss", loss), bins=bins)
    return groups


def column_groups(values: npt.NDArray[np.generic], *, bins: int = 5, at_most: int = 20) -> npt.NDArray[np.generic]:
    """Slices by a column of one's own: its values as words, or fifths of a number with more than ``at_most`` values.

    A missing value is a slice of its own.

    >>> column_groups(np.array(["f", None, "m"], object)).tolist()
    ['f', 'None', 'm']
    >>> np.unique(column_groups(np.arange(100.0))).tolist()
    ['0-20 %', '20-40 %', '40-60 %', '60-80 %', '80-100 %']
    """
    if np.issubdtype(values.dtype, np.number) and np.unique(values).size > at_most:
        known = np.isfinite(values.astype(np.float64))
        groups = np.full(values.shape, "nan", object)
        groups[known] = quantile_groups(values[known].astype(np.float64), bins=bins)
        return groups.astype(str)
    return values.astype(str)


def quantile_groups(values: FloatArray, *, bins: int) -> npt.NDArray[np.str_]:
    """Which of ``bins`` equally large parts of the values each one falls into, by name, shape (values,)."""
    edges = np.quantile(values, np.linspace(0, 1, bins + 1)[1:-1])
    index = np.searchsorted(edges, values, side="left")
    names = [f"{100 * i / bins:g}-{100 * (i + 1) / bins:g} %" for i in range(bins)]
    return np.array(names)[index]


@dataclass(frozen=True)
class Accused:
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


def accused(scores: object, included: object, records: Sequence[int], *, fpr: float) -> Accused:
    """TPR and FPR of single records, each over the models with and without it.

    Args:
        scores: shape (models, records), each row with its own model as the target.
        included: which model was trained on which record, shape (models, records), in complementary pairs.
        records: which records to look at.
        fpr: false-positive rate of the whole attack on each target.

    >>> accused([[9.0, 1.0, 8.0], [2.0, 9.0, 3.0]], [[1, 0, 1], [0, 1, 0]], [0], fpr=0.5)
    Accused(fpr=0.5, models=1, tpr=(1.0,), fprs=(0.0,))
    """
    _check.open_unit("fpr", fpr)
    values = finite("scores", scores)
    member = np.asarray(included, bool)
    if member.all(axis=1).any():
        raise InputError("every model needs a record it was not trained on: its false accusations are counted there.")
    chosen = np.asarray(records, np.int64)
    with_record, called = member[:, chosen], np.empty((len(values), chosen.size), bool)
    for row, truth, out in zip(values, member, called, strict=True):
        others = np.sort(row[~truth])[::-1]
        # Above the first score that would make one false accusation too many; ties with it are not accused.
        out[:] = row[chosen] > others[int(fpr * others.size + 1e-9)]
        release(values)
    count = len(values) // 2
    if not (with_record.sum(axis=0) == count).all():
        raise InputError("the models must come in complementary pairs: half of them trained with each record.")
    return Accused(
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


def exposed(phi: object, included: object, *, fdr: float = 0.05) -> Exposed:
    """Which records a model gives away, from a pool in complementary pairs, at a controlled false discovery rate.

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
    values = finite("φ of the pool", phi)
    member = np.asarray(included)
    if member.shape != values.shape or not all(
        np.array_equal(one, ~other) for one, other in zip(member[0::2], member[1::2], strict=True)
    ):
        raise InputError("the models must come in complementary pairs: of 2k and 2k + 1 one is trained on each record.")

    def block(phi: FloatArray, member: BoolArray) -> tuple[FloatArray, ...]:
        difference = np.where(member[0::2], phi[0::2] - phi[1::2], phi[1::2] - phi[0::2])
        return signed_rank_p_values(difference), difference.mean(axis=0)

    p, gaps = over_records(block, values, member)
    kept = np.flatnonzero(false_discovery_control(p) <= _check.open_unit("fdr", fdr))
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
    negative, which can only make the p-value larger.

    >>> signed_rank_p_values(np.array([[1.0], [2.0], [3.0]]))
    array([0.125])
    """
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
