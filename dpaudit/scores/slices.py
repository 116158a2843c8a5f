"""What an attack achieved in slices of the records: by class, by loss, by a column."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from dpaudit.runtime import check
from dpaudit.runtime.check import FloatArray
from dpaudit.runtime.errors import InputError
from dpaudit.scores.roc import Roc, auc_standard_error
from dpaudit.scores.scores import Scores


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


def judge_slices(scores: object, member: object, groups: Mapping[str, object], *, fpr: float) -> Slices:
    """Judge an attack within parts of the records, with one error level for all parts together.

    Args:
        scores: shape (records,).
        member: membership, shape (records,).
        groups: what to slice by -> the value of every record, shape (records,).
        fpr: the false-positive rate to read the TPR at.

    >>> result = judge_slices([3, 2, 1, 0, 1], [1, 1, 0, 0, 1], {"class": [0, 0, 0, 0, 1]}, fpr=0.1)
    >>> result.found[0].auc, result.left_out
    (1.0, ('class = 1',))
    """
    values = check.vector("scores", scores)
    truth = check.flags("membership", member, length=values.size)
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
            tpr, p = roc.tpr_at(fpr).tpr, _above_half(joined)
            found.append(Slice(by, str(value), roc.members, roc.nonmembers, roc.auc, error, tpr, p))
    adjusted = holm([one.p_value for one in found])
    corrected = tuple(replace(one, p_value=p) for one, p in zip(found, adjusted, strict=True))
    return Slices(fpr, corrected, tuple(left_out))


def _above_half(scores: Scores) -> float:
    """One-sided p-value that members score higher: Mann-Whitney with ties; 1 when all scores are the same."""
    from scipy.stats import mannwhitneyu

    if np.ptp(scores.values) == 0:
        return 1.0
    test = mannwhitneyu(
        scores.member, scores.nonmember, alternative="greater", method="asymptotic", use_continuity=False
    )
    return float(test.pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values adjusted so that all together raise a false alarm as rarely as one would (Holm 1979).

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order, count = np.argsort(p_values), len(p_values)
    adjusted = np.empty(count)
    adjusted[order] = np.maximum.accumulate(np.minimum(1.0, np.arange(count, 0, -1) * np.asarray(p_values)[order]))
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
        groups["loss"] = quantile_groups(check.vector("loss", loss), bins=bins)
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
