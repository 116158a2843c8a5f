"""Sentences on what attackers find: members, rates that so many records can show, and exposed records."""

from collections.abc import Sequence

import numpy as np

from dpaudit.reports.words import percent, share, short
from dpaudit.results.membership import AttackResult, ExposedRecords, PoolResult
from dpaudit.results.result import Result
from dpaudit.results.text import TextResult
from dpaudit.scores.roc import nonmembers_needed

SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)  # quantiles in sentences
LISTED = 10  # exposed records on the page; the rest are in the file


def in_words(attack: AttackResult) -> str:
    """What an attacker can do, for a reader who knows no ROC curve."""
    point = min((point for point in attack.tpr_at_fpr if point.measurable), key=lambda point: point.fpr, default=None)
    if point is None:
        return f"Too few records ({attack.nonmembers} non-members) to say how many members an attacker finds."
    return (
        f"At a false-positive rate of {share(point.fpr)} an attacker finds {percent(point.tpr)} "
        f"({percent(point.low)} to {percent(point.high)}) of the real members; guessing finds {percent(point.fpr)}."
    )


def resolves_fpr(nonmembers: int, fpr: float) -> bool:
    """Whether so many non-members can show a false-positive rate.

    >>> resolves_fpr(719, 0.01), resolves_fpr(719, 0.0001)
    (True, False)
    """
    return nonmembers >= nonmembers_needed(fpr)


def why_unresolved(nonmembers: int, fpr: float) -> str:
    """Why a true-positive rate is not shown.

    >>> why_unresolved(719, 0.0001)
    'needs 9,999 non-members; there are 719'
    """
    return f"needs {nonmembers_needed(fpr):,} non-members; there are {nonmembers:,}"


def smallest_target(pool: PoolResult) -> int:
    """Non-members of the model of a pool that has fewest."""
    return round(1 / pool.over_targets.fpr_floor)


def pool_rates(pools: Sequence[PoolResult]) -> list[tuple[int, float]]:
    """False-positive rates that any of the pools can show, each with its place among all of them."""
    return [
        (place, fpr)
        for place, fpr in enumerate(pools[0].over_targets.fprs)
        if any(resolves_fpr(smallest_target(pool), fpr) for pool in pools)
    ]


def exposed_in_words(listed: ExposedRecords) -> str:
    """How many records are identified, and how many of them were in the training data of the model itself."""
    found = listed.exposed
    are = "is" if found.found == 1 else "are"
    sentence = (
        f"{found.found:,} of {found.tested:,} records {are} identified as members "
        f"of models trained like {short(listed.model)} (false discovery rate {percent(found.fdr)})"
    )
    if listed.trained_on is None:
        return f"{sentence}. This result does not say which of them were in its own training data."
    inside = sum(listed.trained_on)
    whose = f"of the {len(found.records):,} most exposed, " if found.not_listed else ""
    them = "" if found.not_listed else " of them"
    return (
        f"{sentence}: {whose}{inside:,}{them} {'was' if inside == 1 else 'were'} in its training data, "
        f"{len(listed.trained_on) - inside:,} {'was' if len(listed.trained_on) - inside == 1 else 'were'} not."
    )


def exposed_parts(listed: ExposedRecords, most: int) -> list[tuple[str, list[int]]]:
    """The first records of a list, by whether the model was trained on them; in one part where that is not known."""
    records = listed.exposed.records[:most]
    if listed.trained_on is None:
        return [("", list(records))]
    inside = listed.trained_on[:most]
    return [
        (title, rows)
        for title, wanted in (("In its training data", True), ("Not in its training data", False))
        if (rows := [row for row, member in zip(records, inside, strict=True) if member == wanted])
    ]


def found_shares(listed: ExposedRecords) -> str:
    """How the shares of models in which exposed records are found are distributed; empty where they are not known."""
    if listed.rates is None or not listed.rates.tpr:
        return ""
    low, quarter, middle, upper, high = (percent(float(at)) for at in np.quantile(listed.rates.tpr, SHARES))
    return (
        f"The attack finds half of the {len(listed.rates.tpr):,} listed records in {quarter} to {upper} of the "
        f"reference models trained with them (median {middle}, least {low}, most {high})."
    )


def trials_used(result: Result) -> str:
    """How many membership coins the bounds rest on; empty where there is no bound."""
    found = [] if result.membership is None else result.membership.attacks
    counts = sorted({attack.bound.trials for attack in found if attack.bound is not None})
    if not counts:
        return ""
    return f"{counts[0]:,}" if len(counts) == 1 else f"{counts[0]:,} to {counts[-1]:,}"


def deciding_score(found: TextResult) -> str:
    """Which score of texts has the bound, and that it was fixed beforehand."""
    if found.decides == "all":
        return "Every score has a bound on ε, and they share the error level."
    how = "named by the caller" if found.stated else "by the rule that is fixed beforehand"
    return f"The score {found.decides} decides, {how}: it alone has a bound on ε, the others are shown for comparison."
