"""Sentences on what an audit looked at, how its members were chosen, what it assumes and what it did not test."""

import math

from dpaudit.data.member_choice import Coins, NotRandom, RandomSplit
from dpaudit.data.text_canaries import AUDITED
from dpaudit.reports.attack_words import deciding_score
from dpaudit.reports.verdict_words import ordered_subjects
from dpaudit.reports.words import count_of, percent, several, short
from dpaudit.results.facts import why_void
from dpaudit.results.result import ModelResult, Result

WITH_CANARY_RECORDS = (3, 4)  # rungs of the ladder whose attackers look for records made to be remembered
OF_CANARIES = "The figures are about canaries, texts made to be remembered; ordinary texts usually leak less."


def audited_units(result: Result) -> str:
    """What was audited, in numbers: records, or users where only users were.

    >>> count_of(2, "record")
    '2 records'
    """
    users = max((found.users for found in result.trace.users), default=0) if result.trace is not None else 0
    if users and not result.data.records:
        return count_of(users, "user")
    return count_of(result.data.records, "record")


def members(result: Result) -> int:
    """How many of those audited took part."""
    if result.trace is not None and result.trace.users and not result.data.records:
        return max(result.trace.users, key=lambda found: found.users).members
    return result.data.members


def utility_in_words(result: Result) -> str:
    """What privacy costs in accuracy; empty when there is nothing to compare."""
    classifiers = [m for m in result.models if m.utility is not None and m.utility.metric == "accuracy"]
    private = [m for m in classifiers if m.accounted is not None]
    plain = [m for m in classifiers if m.accounted is None]
    if not private or not plain:
        return ""
    best = max(private, key=_test_accuracy)
    other = max(plain, key=_test_accuracy)
    lost = _test_accuracy(other) - _test_accuracy(best)
    direction = "less" if lost >= 0 else "more"
    return (
        f"The best model with a claim, {short(best.name)}, classifies {percent(_test_accuracy(best))} of unseen "
        f"records rightly: {abs(100 * lost):.1f} points {direction} than the best without one."
    )


def describe_member_choice(result: Result) -> str:
    """How many members there are, how they were chosen, and what follows; empty where nobody was chosen.

    A choice that nobody stated is an assumption, and the sentence says so.
    """
    found = result.membership
    if found is None or found.chosen is None or not found.attacks:
        return ""
    members, trials = found.attacks[0].members, found.attacks[0].members + found.attacks[0].nonmembers
    what = f"{members:,} of {trials:,} {result.unit}s are members"
    match found.chosen:
        case Coins(probability):
            text = f"{what}, each chosen by its own coin of probability {probability:g}."
        case RandomSplit(stated=True):
            text = f"{what}, a random set of that size, so every bound is about replacing one {result.unit} by another."
        case RandomSplit():
            text = (
                f"{what}, and nobody said how they were chosen: the bound holds, for replacing one {result.unit} by "
                "another, if it was a random split; if it was by date, by source or by hand, it means nothing "
                "(--chosen-by)."
            )
        case NotRandom():
            text = f"{what}, not chosen at random: no bound on ε follows, and AUC and ROC only describe the scores."
    if result.unit == "user" and result.data.records != trials:
        text += f" A user's score is the mean of those of their records, {result.data.records:,} in all."
    return text + (" Lower scores were said to mean members, and were negated." if found.lower_is_member else "")


def holds_texts(result: Result) -> bool:
    """Whether raw texts were asked into the result."""
    text = result.membership.text if result.membership is not None else None
    return (text is not None and any(each.text for each in text.telling)) or any(
        found.records.texts or (found.reproduced and found.reproduced.shown) for found in result.extraction
    )


def first_screen(result: Result) -> list[str]:
    """What a reader must know beside the verdicts, the most important first.

    Coins and splits that were stated are as they should be; they are said further down.
    """
    found = result.membership
    judged = {comparison.subject for comparison in result.comparisons}  # whose verdict says it
    started = [model.start for model in result.models if model.start is not None and model.name not in judged]
    if found is None:
        return started
    unstated = found.chosen == RandomSplit(stated=False) and any(attack.bound is not None for attack in found.attacks)
    said = {note for comparison in result.comparisons for note in comparison.caveats}
    caveats = [caveat for caveat in found.caveats if caveat not in said]
    decides = [] if found.text is None else [deciding_score(found.text)]
    planted = [f"{note} {OF_CANARIES}" for note in result.data.notes if note.startswith(AUDITED)]
    return [
        *why_void(result),
        *planted,
        *([describe_member_choice(result)] if unstated else []),
        *decides,
        *caveats,
        *started,
    ]


def assumptions(result: Result) -> list[str]:
    """What must be true for the bounds to hold, each once."""
    found: list[str] = []
    for subject in ordered_subjects(result):
        for bound in result.bounds(subject):
            found += [text for text in bound.assumptions if text not in found]
    return found


def not_tested(result: Result) -> list[str]:
    """What this audit did not look at; no verdict speaks of it."""
    ran = {(rung.model, rung.rung) for rung in result.ladder.rungs if not rung.skipped} if result.ladder else set()
    claimed = [model.name for model in result.models if model.accounted is not None]
    unasked = [name for name in claimed if (name, 1) not in ran]
    gaps = []
    if result.models and (unasked or not claimed):
        whose = f"trained {several(unasked)}" if len(unasked) < len(claimed) else "trained the models"
        gaps.append(f"Whether the code that {whose} clips and adds noise as it says; only what leaks out.")
    gaps.append("Privacy of preprocessing and of choices made on private data before the training.")
    if not _steps_were_seen(result):
        gaps.append("Attackers who see gradients, updates or intermediate models.")
    if (
        result.membership is not None
        and result.membership.design == "one-run"
        and not any(rung in WITH_CANARY_RECORDS for _, rung in ran)
    ):
        gaps.append("The worst-case record: the audited records are ordinary ones, and an outlier may leak more.")
    if result.unlearning is not None:
        gaps.append("Whether unlearning exposes records that stay more than before; only forgotten ones were attacked.")
    if result.membership is not None and not result.membership.references:
        gaps.append("Attackers with reference models of their own, who are the strongest known.")
    return gaps


def _steps_were_seen(result: Result) -> bool:
    """Whether any attacker of the audit saw more than final models."""
    if result.gradient is not None or result.prior is not None or result.trace is not None:
        return True
    if result.ladder is not None and any(rung.rung == 2 and not rung.skipped for rung in result.ladder.rungs):
        return True
    federated = result.federated
    if federated is None:
        return False
    views = {found.view for found in federated.canaries} | {found.view for found in federated.users}
    return bool(federated.crafted or federated.sources or federated.properties or views - {"final-model"})


def _test_accuracy(model: ModelResult) -> float:
    return model.utility.test if model.utility is not None else math.nan
