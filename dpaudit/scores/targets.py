"""What an attack achieved over the models of a pool, each of them its target in turn."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dpaudit.runtime.errors import InputError
from dpaudit.runtime.out_of_core import require_finite
from dpaudit.scores.ordered import OrderedPool


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
        tpr_at_fpr: mean over the targets of the TPR at each of them, taken as a rate that new non-members have
            (`Roc.expected_tpr_at`); None at rates that a target has too few non-members to show.
        fpr_floor: one over the non-members of the target that has fewest.
        pooled_auc: of all targets' scores thrown together.
        pooled_tpr_at_fpr: likewise; not what an attacker with one target has, who knows nothing of a common threshold.
            None where ``tpr_at_fpr`` is.
    """

    targets: int
    auc: Mean
    advantage: Mean
    fprs: tuple[float, ...]
    tpr_at_fpr: tuple[Mean | None, ...]
    fpr_floor: float
    pooled_auc: float
    pooled_tpr_at_fpr: tuple[float | None, ...]


@dataclass(frozen=True)
class NullCheck:
    """The AUC of an attack on signals that cannot leak.

    Args:
        auc: mean over targets and shuffles.
        standard_error: of the mean.
        low: lowest mean that passes.
        high: highest mean that passes.
        targets: models attacked, over all shuffles.
    """

    auc: float
    standard_error: float
    low: float
    high: float
    targets: int


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
    values = require_finite("scores", scores)
    member = np.asarray(included)
    if member.shape != values.shape or len(values) < 2:
        raise InputError(
            f"scores and membership must have shape (models, records) with 2 models or more, got {values.shape} and "
            f"{member.shape}."
        )
    pool = OrderedPool.of(values, member)
    aucs, advantages, floors = [], [], []
    tprs: list[list[float | None]] = [[] for _ in fprs]
    for target in pool:
        aucs.append(target.auc)
        advantages.append(target.advantage)
        floors.append(1 / target.nonmember.size)
        for fpr, at in zip(fprs, tprs, strict=True):
            at.append(target.expected_tpr_at(fpr))
    pooled_auc, pooled_tprs = pool.pooled_rates(fprs)
    means = tuple(_mean_where_known(at) for at in tprs)
    return OverTargets(
        targets=len(aucs),
        auc=mean_over(aucs),
        advantage=mean_over(advantages),
        fprs=tuple(fprs),
        tpr_at_fpr=means,
        fpr_floor=max(floors),
        pooled_auc=pooled_auc,
        pooled_tpr_at_fpr=tuple(None if mean is None else tpr for mean, tpr in zip(means, pooled_tprs, strict=True)),
    )


def _mean_where_known(values: Sequence[float | None]) -> Mean | None:
    known = [value for value in values if value is not None]
    return mean_over(known) if len(known) == len(values) else None


def mean_over(values: Sequence[float]) -> Mean:
    """Mean and standard error of at least two values.

    >>> mean_over([1.0, 3.0])
    Mean(mean=2.0, standard_error=1.0)
    """
    if len(values) < 2:
        raise InputError(f"a standard error needs 2 values or more, got {len(values)}.")
    return Mean(float(np.mean(values)), float(np.std(values, ddof=1)) / math.sqrt(len(values)))
