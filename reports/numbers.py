"""Every number of a result as one list: for one table, and for the dashboards that take one number at a time."""

import csv
import io
import math
from collections.abc import Iterator
from dataclasses import dataclass

from dpaudit.reports.summary import risk, summary_row
from dpaudit.reports.verdict_words import ordered_subjects
from dpaudit.results.frames import FrameRow, bound_rows
from dpaudit.results.membership import AttackResult, PoolResult
from dpaudit.results.result import ModelResult, Result
from dpaudit.scores.intervals import interval

HEAD = ("subject", "source", "quantity", "value", "low", "high", "confidence")


@dataclass(frozen=True)
class ReportedNumber:
    """One number of a result.

    Args:
        subject: the model or release that it is about; the audit's name for numbers on all of it.
        source: claim, bound, attack or experiment that it is from.
        quantity: what was measured, with its parameters.
        value: the number; infinite where it is.
        low: lower end of its interval; None without one.
        high: upper end.
        confidence: of the interval, or of a lower bound on ε; None without one.
    """

    subject: str
    source: str
    quantity: str
    value: float
    low: float | None = None
    high: float | None = None
    confidence: float | None = None


def numbers(result: Result) -> list[ReportedNumber]:
    """All numbers of a result but the scores of single records, curves and times.

    The order is that of the report: models with the worst verdict first.

    >>> import dpaudit
    >>> result = dpaudit.audit_scores([3.0, 2.0, 1.0, 0.0], [True, True, False, False])
    >>> [(each.quantity, each.value) for each in numbers(result) if each.quantity == "auc"]
    [('auc', 1.0)]
    """
    models = {model.name: model for model in result.models}
    found: list[ReportedNumber] = []
    for subject in ordered_subjects(result):
        found += _of_subject(result, subject)
        if subject in models:
            found += _of_model(result, models[subject])
    for release, tried in result.reconstructions.items():
        share = tried.successes / tried.trials
        low, high = interval(tried.successes, tried.trials, 0.95)
        ends = float(low.item()), float(high.item())
        found.append(ReportedNumber(release, "reconstruction", "share picked out", share, *ends, 0.95))
        found.append(ReportedNumber(release, "reconstruction", "share by guessing", tried.kappa))
    return [*found, *_of_extraction(result)]


def as_csv(result: Result) -> str:
    """All numbers as one table, with every digit; what was not measured is empty."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(HEAD)
    for each in numbers(result):
        ends = ("" if part is None else repr(float(part)) for part in (each.low, each.high, each.confidence))
        writer.writerow([each.subject, each.source, each.quantity, repr(float(each.value)), *ends])
    return stream.getvalue()


def _of_subject(result: Result, subject: str) -> Iterator[ReportedNumber]:
    row = summary_row(result, subject)
    if row.claimed is not None:
        yield ReportedNumber(subject, "claim", "epsilon claimed", row.claimed)
    for quantity, bound in (("any mechanism", row.general), ("a family", row.family)):
        if bound is not None:
            yield ReportedNumber(
                subject, "summary", f"epsilon at least, {quantity}", bound.epsilon, confidence=bound.confidence
            )
    for name, value in (("largest certifiable epsilon", row.ceiling), ("minimum detectable epsilon", row.reach)):
        if value is not None:
            yield ReportedNumber(subject, "summary", name, value)
    for found in bound_rows(result):
        if found["model"] == subject:
            yield from _of_bound(found)


def _of_bound(bound: FrameRow) -> Iterator[ReportedNumber]:
    subject, source = bound["model"], bound["attack"] or bound["source"]
    within = f" within {bound['family']}" if bound["family"] else ""
    at = f"at delta={bound['delta']:g}, {bound['adjacency']}, {bound['unit']}"
    yield ReportedNumber(
        subject, source, f"epsilon at least{within} {at}", bound["epsilon"], confidence=bound["confidence"]
    )
    yield ReportedNumber(subject, source, f"largest certifiable epsilon{within}", bound["ceiling"])
    yield ReportedNumber(subject, source, f"trials{within}", bound["trials"])


def _of_model(result: Result, model: ModelResult) -> Iterator[ReportedNumber]:
    if model.accounted is not None:
        claim = model.accounted.claim
        yield ReportedNumber(model.name, "accountant", f"epsilon at delta={claim.delta:g}", claim.epsilon)
    if model.mechanism is not None:
        yield ReportedNumber(model.name, "mechanism", "noise multiplier", model.mechanism.noise_multiplier)
        yield ReportedNumber(model.name, "mechanism", "steps", model.mechanism.steps)
    if model.utility is not None:
        for part, value in (("training", model.utility.train), ("unseen", model.utility.test)):
            yield ReportedNumber(model.name, "utility", f"{model.utility.metric}, {part} records", value)
    told = risk(result, model)
    if told is not None:
        for name, told_value in (("chance of picking 1 of 10", told.picked), ("mu", told.mu)):
            if told_value is not None:
                yield ReportedNumber(model.name, "claim", name, told_value)
    for name, attack in () if result.membership is None else result.membership.by_name(model.name).items():
        yield from _of_attack(name, attack)
    for pool in () if result.membership is None else result.membership.pools:
        if pool.model == model.name:
            yield from _of_pool(pool)
    for listed in () if result.membership is None else result.membership.exposed:
        if listed.model == model.name:
            yield ReportedNumber(model.name, "exposed records", "found", listed.exposed.found)
            yield ReportedNumber(model.name, "exposed records", "tested", listed.exposed.tested)


def _of_attack(name: str, attack: AttackResult) -> Iterator[ReportedNumber]:
    model = attack.model
    yield ReportedNumber(model, name, "auc", attack.auc)
    yield ReportedNumber(model, name, "auc standard error", attack.auc_standard_error)
    yield ReportedNumber(model, name, "advantage", attack.advantage)
    yield ReportedNumber(model, name, "members", attack.members)
    yield ReportedNumber(model, name, "nonmembers", attack.nonmembers)
    for at in attack.tpr_at_fpr:
        if math.isfinite(at.threshold):  # otherwise there are too few non-members to show that rate
            yield ReportedNumber(model, name, f"tpr at fpr={at.fpr:g}", at.tpr, at.low, at.high, at.confidence)
    if attack.slices is not None:
        for part in attack.slices.found:
            yield ReportedNumber(model, name, f"auc of {part.by} {part.value}", part.auc)


def _of_pool(pool: PoolResult) -> Iterator[ReportedNumber]:
    over, source = pool.over_targets, f"{pool.attack} over {pool.over_targets.targets} models"
    yield ReportedNumber(pool.model, source, "auc, mean", over.auc.mean)
    yield ReportedNumber(pool.model, source, "advantage, mean", over.advantage.mean)
    for fpr, mean in zip(over.fprs, over.tpr_at_fpr, strict=True):
        if mean is not None:
            yield ReportedNumber(pool.model, source, f"tpr at fpr={fpr:g}, mean", mean.mean)


def _of_extraction(result: Result) -> Iterator[ReportedNumber]:
    sides = (
        (each.model or result.name, side, found)
        for each in result.extraction
        for side, found in (("records", each.records), ("others", each.others))
    )
    for model, side, found in sides:
        for point in () if found is None else found.points:
            yield ReportedNumber(
                model, f"extraction of {side}", f"share at n={point.n}, p={point.p:g}", point.share, point.low,
                point.high, 0.95,
            )  # fmt: skip
