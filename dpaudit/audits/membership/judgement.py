"""What scores of an attack show, once they are joined to membership: metrics, curve and lower bound."""

from dataclasses import dataclass
from typing import ClassVar, Protocol, get_args

import numpy as np

from dpaudit.accounting.claim import Design, Protection
from dpaudit.audits.by_name import BoundSettings
from dpaudit.bounds.default import check_bound, default_bound
from dpaudit.data.member_choice import MemberChoice, NotRandom
from dpaudit.results.membership import AttackResult, RocCurve
from dpaudit.runtime import check
from dpaudit.scores.roc import Roc, auc_standard_error
from dpaudit.scores.scores import Scores

CURVE_POINTS = 400
FPRS = (0.1, 0.01, 0.001, 0.0001)


class Named(Protocol):
    """What a result records of an attack."""

    version: ClassVar[str]
    paper: ClassVar[str]


@dataclass(frozen=True)
class Terms:
    """On what terms scores are turned into a lower bound.

    ``chosen``: how members were chosen; of `NotRandom` there is no bound. ``bound``: None is the design's default.
    """

    design: Design
    protection: Protection
    confidence: float
    chosen: MemberChoice
    bound: BoundSettings | None = None

    def __post_init__(self) -> None:
        check.one_of("design", self.design, get_args(Design))
        check.open_unit("confidence", self.confidence)


def judge_attack(model: str, name: str, attack: Named, scores: Scores, *, terms: Terms, seed: int) -> AttackResult:
    """Metrics and lower bound of one attack's scores; ``seed`` is of all that the bound draws."""
    roc, bound, about = Roc.of(scores), None, terms.protection
    if not isinstance(terms.chosen, NotRandom):
        build = default_bound if terms.bound is None else terms.bound.build
        bound = build(terms.design, terms.chosen, seed=seed)(
            scores,
            delta=about.delta,
            confidence=terms.confidence,
            adjacency=about.adjacency,
            unit=about.unit,
        )
        check_bound(bound, delta=about.delta, unit=about.unit, confidence=terms.confidence)
    return AttackResult(
        model=model,
        attack=name,
        version=attack.version,
        paper=attack.paper,
        members=roc.members,
        nonmembers=roc.nonmembers,
        auc=roc.auc,
        auc_standard_error=auc_standard_error(scores),
        advantage=roc.advantage,
        tpr_at_fpr=[roc.tpr_at(fpr) for fpr in FPRS],
        bound=bound,
        curve=thin_curve(roc),
    )


def thin_curve(roc: Roc) -> RocCurve:
    """At most `CURVE_POINTS` points, dense where the false-positive rate is small."""
    if roc.fpr.size > CURVE_POINTS:
        wanted = np.concatenate(
            [np.geomspace(roc.fpr_floor, 1, CURVE_POINTS // 2), np.linspace(0, 1, CURVE_POINTS // 2)]
        )
        rows = np.unique(np.searchsorted(roc.fpr, np.sort(wanted), side="right") - 1)
    else:
        rows = np.arange(roc.fpr.size)
    low, high = roc.band(rows)  # of the points that are kept: an exact limit of each of a million costs half a minute
    drawn = {"fpr": roc.fpr[rows], "tpr": roc.tpr[rows], "low": low, "high": high}
    return RocCurve(**{name: np.round(values, 6).tolist() for name, values in drawn.items()})
