"""Leakage over releases: every result below a folder, in the order of time."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dpaudit.bounds.lower_bound import LowerBound
from dpaudit.gate.metric_intervals import Interval, auc_interval
from dpaudit.gate.plan_changes import PlanChange, plan_changes
from dpaudit.gate.same_conditions import count_references, other_data
from dpaudit.results.result import Result, Utility, load_result
from dpaudit.runtime.errors import InputError
from dpaudit.scores.vulnerable_records import Exposed

TAIL = 0.025  # each point's interval holds with 95 %


@dataclass(frozen=True)
class ModelRelease:
    """One model of one result.

    Args:
        result: the result.
        path: where it was read from.
        folder: its folder, as seen from the folder that was searched.
        model: name of the model.
        verdict: on its claim, or ``no claim``.
        claimed: ε claimed; None when nothing is.
        general: the largest lower bound on ε that holds for every mechanism; None when none was computed.
        within: the largest that holds within a family of mechanisms only; the two are never compared.
        auc: of the attack that separates best, with its interval; None when there was none.
        reach: the minimum detectable ε: the smallest that would have been reported as a violation of its claim with
            probability 0.8; None when there is none, or nothing is claimed.
        exposed: records that its reference models identify; None when none were trained.
        utility: how good the model is; None when that was not measured.
        before: folder of the release before it; empty for the first.
        changed: what changed in the plan since then.
        apart: why it cannot be compared with the release before it: other data, another number of reference models.
    """

    result: Result
    path: Path
    folder: str
    model: str
    verdict: str
    claimed: float | None
    general: LowerBound | None
    within: LowerBound | None
    auc: Interval | None
    reach: float | None
    exposed: Exposed | None
    utility: Utility | None
    apart: tuple[str, ...] = ()
    before: str = ""
    changed: tuple[PlanChange, ...] = ()


def releases(folder: Path) -> list[ModelRelease]:
    """Every model of every ``result.json`` below a folder, oldest first; of one moment in the order of their folders.

    A release is held against the one before it of the same model, a model's first against the row above.

    Raises:
        InputError: there is none, or one cannot be read.
    """
    paths = sorted(folder.rglob("result.json"))
    if not paths:
        raise InputError(f"there is no result.json below {folder}.")
    results = sorted(((load_result(path), path) for path in paths), key=lambda pair: pair[0].provenance.created)
    found: list[ModelRelease] = []
    for result, path in results:
        for model in result.models:
            release = _release(result, path, folder, model.name)
            before = next((each for each in reversed(found) if each.model == model.name), found[-1] if found else None)
            found.append(release if before is None else _after(before, release))
    return found


def runs(found: Sequence[ModelRelease], model: str) -> list[list[ModelRelease]]:
    """The releases of one model, cut wherever one cannot be compared with the one before it."""
    parts: list[list[ModelRelease]] = []
    for each in found:
        if each.model == model:
            if each.apart or not parts:
                parts.append([])
            parts[-1].append(each)
    return parts


def _after(before: ModelRelease, release: ModelRelease) -> ModelRelease:
    """The release with what sets it apart from the one before it."""
    was, now = before.result, release.result
    changed = plan_changes(was, now) if before.path != release.path else ()
    return replace(release, apart=_apart(was, now), before=before.folder, changed=changed)


def _apart(before: Result, after: Result) -> tuple[str, ...]:
    reasons = [other_data(before, after)]
    if (was := count_references(before)) != (now := count_references(after)):
        reasons.append(f"{now} reference models against {was}")
    return tuple(reason for reason in reasons if reason)


def _release(result: Result, path: Path, folder: Path, model: str) -> ModelRelease:
    attacks = [attack for attack in result.membership.attacks if attack.model == model] if result.membership else []
    best = max(attacks, key=lambda attack: attack.auc, default=None)
    found, bounds = result.comparison(model), result.bounds(model)
    listed = result.membership.exposed if result.membership else []
    where = path.parent.relative_to(folder).as_posix()
    return ModelRelease(
        result=result,
        path=path,
        folder=folder.resolve().name if where == "." else where,
        model=model,
        verdict=found.verdict if found is not None else "no claim",
        claimed=found.claim.epsilon if found is not None else None,
        general=max((bound for bound in bounds if not bound.family), key=_epsilon, default=None),
        within=max((bound for bound in bounds if bound.family), key=_epsilon, default=None),
        auc=auc_interval(best, tail=TAIL) if best is not None else None,
        reach=found.reach if found is not None and math.isfinite(found.reach) else None,
        exposed=next((each.exposed for each in listed if each.model == model), None),
        utility=next(each.utility for each in result.models if each.name == model),
    )


def _epsilon(bound: LowerBound) -> float:
    return bound.epsilon
