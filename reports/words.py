"""Sentences and numbers in words, for the page, the Markdown and the terminal alike."""

import math
import re
from collections.abc import Sequence

import numpy as np

from dpaudit.accounting.claim import FixedSize, Poisson, Sampling, Shuffled, TruncatedPoisson
from dpaudit.bounds.lower_bound import LowerBound
from dpaudit.data.member_choice import Coins, NotRandom, RandomSplit
from dpaudit.data.text_canaries import AUDITED
from dpaudit.gate.compare import Change
from dpaudit.results.facts import why_void
from dpaudit.results.membership import AttackResult, ExposedRecords, PoolResult
from dpaudit.results.result import ModelResult, Result
from dpaudit.results.text import TextResult
from dpaudit.scores.roc import nonmembers_needed

SYMBOLS = {"contradicted": "✕", "consistent": "✓", "too weak": "?", "no verdict": "!", "no claim": "–"}
TURNING = re.compile("[\u202a-\u202e\u2066-\u2069]")
WITH_CANARY_RECORDS = (3, 4)  # rungs of the ladder whose attackers look for records made to be remembered
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)  # quantiles in sentences
OF_CANARIES = "The figures are about canaries, texts made to be remembered; ordinary texts usually leak less."
LISTED = 10  # exposed records on the page; the rest are in the file
SEVERITY = ("contradicted", "no verdict", "too weak", "consistent", "no claim")


def verdict(result: Result, model: str) -> str:
    """The verdict in one word, or that there is no claim to judge."""
    found = result.comparison(model)
    return found.verdict if found is not None else "no claim"


def by_severity(result: Result) -> list[ModelResult]:
    """Models with the worst verdict first, among those the most broken claim, otherwise in the plan's order."""
    return sorted(result.models, key=lambda model: _severity(result, model.name))


def ordered_subjects(result: Result) -> list[str]:
    """What has a verdict or could have one: models, and whatever else made a claim; ordered like the models."""
    names = [model.name for model in result.models] + [found.subject for found in result.comparisons]
    return sorted(dict.fromkeys(names), key=lambda name: _severity(result, name))


def _severity(result: Result, name: str) -> tuple[int, float]:
    found = result.comparison(name)
    excess = found.strongest.epsilon - found.claim.epsilon if found is not None and found.strongest else -math.inf
    word = verdict(result, name)
    return SEVERITY.index(word), -excess if word == "contradicted" else 0.0


def headline(result: Result) -> str:
    """The audit in one sentence, and a second where records were read off releases that nothing is claimed about."""
    return " ".join([_judged(result), *_read_without_claim(result)])


def _read_without_claim(result: Result) -> list[str]:
    if result.gradient is None:
        return []
    read = [(cell.recovered, len(cell.psnr), cell.name) for cell in result.gradient.cells if cell.epsilon is None]
    for text in result.gradient.texts:
        if text.epsilon is None and text.recovered is not None:
            read.append((sum(text.recovered), sum(text.texts), text.name))
    recovered, sent, name = max(read, key=lambda each: each[0] / max(each[1], 1), default=(0, 0, ""))
    if not recovered:
        return []
    return [f"Where nothing is claimed ({name}), an attacker reads {recovered} of {sent} records off what is sent."]


def _judged(result: Result) -> str:
    judged = result.comparisons
    broken = [found.subject for found in judged if found.verdict == "contradicted"]
    void = [found.subject for found in judged if found.verdict == "no verdict"]
    weak = [found.subject for found in judged if found.verdict == "too weak"]
    if broken:
        return f"{several(broken)} {'leaks' if len(broken) == 1 else 'leak'} more than claimed."
    if void:
        return f"Nothing that was measured says anything about the claim of {several(void)}."
    if weak:
        fine = [found.subject for found in judged if found.verdict == "consistent"]
        rest = f" Nothing contradicts {_claims_in_words(result, fine)}." if fine else ""
        return f"This audit was too weak to judge {several(weak)}.{rest}"
    if judged:
        return f"Nothing contradicts {_claims_in_words(result, [found.subject for found in judged])}."
    return "No claim was made; this is what an attacker can find out."


def _claims_in_words(result: Result, subjects: Sequence[str]) -> str:
    """So many claims of models, of unlearning, and about what was released."""
    models = {model.name for model in result.models}
    forgetting = {each.subject for each in result.unlearning.found} if result.unlearning is not None else set()
    of_models = sum(subject in models for subject in subjects)
    of_unlearning = sum(subject in forgetting for subject in subjects)
    if of_models == len(subjects):
        return "the claim that was examined" if of_models == 1 else f"the {of_models} claims that were examined"
    kinds = {
        "of a model" if of_models == 1 else "of models": of_models,
        "about unlearning": of_unlearning,
        "about what was released": len(subjects) - of_models - of_unlearning,
    }
    parts: list[str] = []
    for kind, number in kinds.items():
        if number:
            one, several = ("one", f"{number}") if parts else ("claim", f"{number} claims")
            parts.append(f"the {one if number == 1 else several} {kind}")
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def describe_verdict(result: Result, subject: str) -> str:
    """The verdict on one model, or on another claim, in a sentence or two."""
    found = result.comparison(subject)
    if found is not None:
        return short(found.sentence, 1000)
    sentence = "It claims nothing, so there is nothing to contradict."
    general = max((bound for bound in result.bounds(subject) if not bound.family), key=_epsilon, default=None)
    if general is not None and general.epsilon > 0:
        sentence += f" It leaks at least ε = {general.epsilon:.3g} ({general.confidence:.4g} confidence)."
    return sentence


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


def other_differences(changes: Sequence[Change]) -> list[str]:
    """What two results differ in beside their numbers, each difference once, with the models it is about."""
    found: dict[str, list[str]] = {}
    for change in changes:
        for text in ([f"not comparable: {change.refused}"] if change.refused else []) + list(change.said):
            whose = found.setdefault(text, [])
            if change.model not in whose:
                whose.append(change.model)
    return [f"{several(whose)}: {short(text, 300)}." for text, whose in found.items()]


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


def percent(value: float) -> str:
    """A share with as many digits as it deserves.

    >>> percent(0.0084), percent(0.214), percent(0.0)
    ('0.84 %', '21 %', '0 %')
    """
    number = 100 * value
    if number in (0, 100):
        return f"{number:.0f} %"
    digits = 0 if 10 <= number < 99.5 else 1 if 1 <= number < 10 or number >= 99.5 else 2
    return f"{number:.{digits}f} %"


def figure(value: float | None) -> str:
    """A number for a table: three significant digits, ∞ when infinite.

    Zeros at the end stay, so that numbers below each other can be compared.

    >>> figure(3.14159), figure(6.0), figure(float("inf")), figure(None), figure(1e-5), figure(0.0), figure(1234.0)
    ('3.14', '6.00', '∞', '–', '1e-5', '0', '1234')
    """
    if value is None:
        return "–"
    if value == math.inf:
        return "∞"
    if 1e-3 <= abs(value) < 100:
        return f"{value:#.3g}"
    if 100 <= abs(value) < 1e6:
        return f"{value:.0f}"
    return re.sub(r"e([+-])0*", lambda found: "e" + found[1].strip("+"), f"{value:.3g}")


def share(fpr: float) -> str:
    """A rate as one in so many.

    >>> share(0.001)
    '1 in 1,000'
    """
    return f"1 in {round(1 / fpr):,}"


def short(name: str, longest: int = 60) -> str:
    """A name cut to a length, without the marks that would turn round the text after it.

    >>> short("a\u202eb" + "c" * 9, 5)
    'abcc…'
    """
    name = TURNING.sub("", name)
    return name if len(name) <= longest else f"{name[: longest - 1]}…"


def several(names: Sequence[str]) -> str:
    """Names in a sentence, at most three of them; a name with a comma in it is quoted.

    >>> several(["a", "b", "c", "d"])
    'a, b, c and 1 more'
    """
    shown = [f"“{short(name)}”" if "," in name else short(name) for name in names]
    if len(shown) > 3:
        return f"{', '.join(shown[:3])} and {len(shown) - 3} more"
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)


def count_of(number: int, noun: str) -> str:
    """So many of something.

    >>> count_of(1, "slice"), count_of(3, "slice")
    ('1 slice', '3 slices')
    """
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def sampling(design: Sampling) -> str:
    """How batches were drawn.

    >>> sampling(Poisson(0.1))
    'Poisson, each record with probability 0.100'
    """
    match design:
        case Poisson(rate) if rate == 1:
            return "all records in every step"
        case Poisson(rate):
            return f"Poisson, each record with probability {figure(rate)}"
        case TruncatedPoisson(rate, largest_batch):
            return f"Poisson, each record with probability {figure(rate)}, at most {largest_batch} in a batch"
        case FixedSize(batch_size, records):
            return f"batches of {batch_size} out of {records} records"
        case Shuffled(batches):
            return f"shuffled, batches an epoch: {batches}"


def _epsilon(bound: LowerBound) -> float:
    return bound.epsilon


def _test_accuracy(model: ModelResult) -> float:
    return model.utility.test if model.utility is not None else math.nan
