"""What a result answers to the questions of a standard: text, and where it is shown; or that it was not tested."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from dpaudit.bounds.power import POWER
from dpaudit.data.member_choice import Coins, RandomSplit
from dpaudit.reports import attack_words, scope_words, verdict_words, words
from dpaudit.reports.attackers import attackers
from dpaudit.reports.summary import plain_verdict, risk, summary_row
from dpaudit.reports.tables.extraction import extraction_in_words
from dpaudit.results.result import Result

NOT_TESTED = "not tested"
OPEN = "open: to be stated by the controller, in [report.context] of the plan or with --context FILE"


@dataclass(frozen=True)
class Answer:
    """What a result says to one requirement; ``evidence`` says where it is shown."""

    text: str
    evidence: str = ""


def stated(key: str) -> Callable[[Result, Mapping[str, str]], Answer]:
    """What the controller stated under a key of the context, or that it is open."""

    def answer(result: Result, context: Mapping[str, str]) -> Answer:
        return Answer(context[key], "stated by the controller") if key in context else Answer(OPEN)

    return answer


def never(why: str) -> Callable[[Result, Mapping[str, str]], Answer]:
    """That it is not tested, and why."""

    def answer(result: Result, context: Mapping[str, str]) -> Answer:
        return Answer(f"{NOT_TESTED}: {why}")

    return answer


def verdicts(result: Result, context: Mapping[str, str]) -> Answer:
    """The verdict on each claim."""
    subjects = verdict_words.ordered_subjects(result)
    return Answer(
        " ".join(f"{words.short(name)}: {plain_verdict(result, name)}" for name in subjects),
        "report.html, Verdicts; result.json, comparisons",
    )


def membership(result: Result, context: Mapping[str, str]) -> Answer:
    """What the strongest membership attack reached."""
    found = result.membership
    if found is None or not found.attacks:
        return Answer(NOT_TESTED)
    parts = []
    for model in result.models:
        row = risk(result, model)
        if row is None or row.right is None:
            continue
        parts.append(
            f"{words.short(model.name)}: the strongest attack ({row.attack}) is right about {row.right} of 1,000 "
            f"{result.unit}s of which half are members (guessing: 500); advantage {row.advantage:.3f}"
            + (f"; true-positive rate {row.found} false positives" if row.found else "")
        )
    shadow = f"{found.references} reference models" if found.references else "no reference models"
    return Answer(
        ". ".join([*parts, f"Attacks with {shadow}"]) + ".", "report.html, Attacks; dpaudit attack, dpaudit run"
    )


def single_records(result: Result, context: Mapping[str, str]) -> Answer:
    """Which single records are identified."""
    listed = [] if result.membership is None else result.membership.exposed
    if not listed:
        return Answer(f"{NOT_TESTED}: no reference models looked at single records")
    return Answer(" ".join(attack_words.exposed_in_words(each) for each in listed), "report.html, Who is exposed")


def extraction(result: Result, context: Mapping[str, str]) -> Answer:
    """What was extracted from a language model."""
    if not result.extraction:
        return Answer(f"{NOT_TESTED}: this result holds no extraction; dpaudit extracts from language models")
    said = [f"{each.model}: ".removeprefix(": ") + " ".join(extraction_in_words(each)) for each in result.extraction]
    return Answer(" ".join(said), "report.html, Extraction; dpaudit extract")


def reconstruction(result: Result, context: Mapping[str, str]) -> Answer:
    """How often records were made again."""
    if not result.reconstructions:
        return Answer(NOT_TESTED)
    parts = [
        f"{words.short(name)}: {found.successes} of {found.trials} reconstructions succeeded "
        f"(guessing: {words.percent(found.kappa)} each)"
        for name, found in result.reconstructions.items()
    ]
    return Answer("; ".join(parts) + ".", "report.html, Gradient leakage, Reconstruction")


def who_attacks(result: Result, context: Mapping[str, str]) -> Answer:
    """The attackers and what they know."""
    sentences = attackers(result)
    return Answer(" ".join(sentences), "report.html, For the decision") if sentences else Answer(NOT_TESTED)


def gaps(result: Result, context: Mapping[str, str]) -> Answer:
    """What was not tested."""
    return Answer(" ".join(scope_words.not_tested(result)), "report.html, Not tested")


def claims(result: Result, context: Mapping[str, str]) -> Answer:
    """The documented ε of each model."""
    parts = []
    for model in result.models:
        if model.accounted is None:
            parts.append(f"{words.short(model.name)}: no ε is documented")
            continue
        claim = model.accounted.claim
        parts.append(
            f"{words.short(model.name)}: ε = {claim.epsilon:.3g} at δ = {claim.delta:g} per {claim.unit}, "
            f"{claim.adjacency} adjacency, by {model.accounted.accountant}"
        )
    return Answer("; ".join(parts) + ".", "result.json, models.accounted") if parts else Answer(NOT_TESTED)


def unit(result: Result, context: Mapping[str, str]) -> Answer:
    """Whose data the audit is about."""
    return Answer(
        f"The audit is about one {result.unit} under {result.adjacency} adjacency. Whether a person has more than one "
        f"{result.unit} is for the controller to say.",
        "report.html, Method",
    )


def measured(result: Result, context: Mapping[str, str]) -> Answer:
    """The measured ε and the power of the audit."""
    parts = []
    for subject in verdict_words.ordered_subjects(result):
        row = summary_row(result, subject)
        if row.general is None and row.family is None:
            continue
        reach = "" if row.reach is None else f", minimum detectable ε {row.reach:.3g} (power {POWER:g})"
        family = "" if row.family is None else f", ≥ {row.family.epsilon:.3g} within {row.family.family}"
        general = "" if row.general is None else f" ≥ {row.general.epsilon:.3g} for any mechanism"
        parts.append(f"{words.short(subject)}: measured ε{general}{family}{reach}")
    if not parts:
        return Answer(NOT_TESTED)
    sure = words.percent(result.level.confidence)
    return Answer(
        "; ".join(parts) + f". All bounds hold together with {sure} confidence.", "report.html, Claim and measurement"
    )


def implementation(result: Result, context: Mapping[str, str]) -> Answer:
    """What the checks of the code found."""
    ran = (
        []
        if result.ladder is None
        else [rung for rung in result.ladder.rungs if not rung.skipped and rung.rung in (0, 1, 2)]
    )
    if not ran:
        return Answer(f"{NOT_TESTED}: dpaudit inspect asks the mechanism itself")
    found = [finding.check for rung in ran for finding in rung.findings]
    rungs = ", ".join(sorted({str(rung.rung) for rung in ran}))
    return Answer(
        f"Rungs {rungs} of the ladder ran; findings: {', '.join(found) if found else 'none'}.",
        "report.html, The audit ladder",
    )


def sampling(result: Result, context: Mapping[str, str]) -> Answer:
    """The mechanism that was accounted."""
    told = [
        f"{words.short(model.name)}: {words.sampling(model.mechanism.sampling)}, noise multiplier "
        f"{model.mechanism.noise_multiplier:.4g}, {model.mechanism.steps} steps"
        for model in result.models
        if model.mechanism is not None
    ]
    return Answer("; ".join(told) + ".", "result.json, models.mechanism") if told else Answer("no mechanism is stated")


def choice(result: Result, context: Mapping[str, str]) -> Answer:
    """How members were chosen."""
    text = scope_words.describe_member_choice(result)
    if not text:
        return Answer("no members were chosen in this audit")
    chosen = result.membership.chosen if result.membership is not None else None
    random = isinstance(chosen, Coins) or (isinstance(chosen, RandomSplit) and chosen.stated)
    return Answer(text, "report.html, How members were chosen" if random else "")
