"""Tables that set a result beside what regulators and standards ask: requirement, answer, evidence, or "not tested".

The requirements are paraphrased, with their place and date. A table is evidence for whoever judges, and no statement of
compliance.
"""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from dpaudit.bounds.power import POWER
from dpaudit.data.member_choice import Coins, RandomSplit
from dpaudit.reports import words
from dpaudit.reports.gate import escape_text
from dpaudit.reports.summary import attackers, plain_verdict, risk, summary_row
from dpaudit.reports.tables.extraction import extraction_in_words
from dpaudit.results.result import Result
from dpaudit.runtime import check
from dpaudit.runtime.errors import InputError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

NOT_TESTED = "not tested"
OPEN = "open: to be stated by the controller, in [report.context] of the plan or with --context FILE"
CONTEXT = ("purpose", "population", "deployment", "trust_model")


@dataclass(frozen=True)
class Answer:
    """What a result says to one requirement; ``evidence`` says where it is shown."""

    text: str
    evidence: str = ""


@dataclass(frozen=True)
class Requirement:
    """One thing that a standard asks.

    Args:
        clause: where it stands.
        asks: what it asks, paraphrased.
        answer: from a result and what was said about its context.
    """

    clause: str
    asks: str
    answer: Callable[[Result, Mapping[str, str]], Answer]


@dataclass(frozen=True)
class Standard:
    """A text that asks for evidence, with its date."""

    title: str
    requirements: tuple[Requirement, ...]


def evidence_table(result: Result, standard: str, context: Mapping[str, object] | None = None) -> str:
    """A standard's requirements and what a result answers, as Markdown.

    Args:
        result: of an audit.
        standard: ``edpb``, ``nist-800-226`` or ``aisvs``.
        context: what dpaudit cannot know, by ``purpose``, ``population``, ``deployment`` and ``trust_model``; None
            takes ``[report.context]`` of the plan in the result.

    Raises:
        InputError: another standard, a key of the context that is not known.
    """
    asked = STANDARDS[check.one_of("evidence", standard, tuple(STANDARDS))]
    known = context_of(result) if context is None else checked_context(context)
    lines = [
        f"# {asked.title}",
        "",
        f"Beside the audit *{escape_text(result.title)}* of {escape_text(result.provenance.created[:10])} "
        f"(dpaudit {result.provenance.versions.get('dpaudit', '')}). Requirements are paraphrased; the text itself "
        "decides. This table is evidence for whoever judges, and no statement of compliance.",
        "",
        "| requirement | answer | evidence |",
        "|---|---|---|",
    ]
    for each in asked.requirements:
        found = each.answer(result, known)
        lines.append(
            f"| **{each.clause}**: {each.asks} | {escape_text(found.text)} | {escape_text(found.evidence) or '–'} |"
        )
    return "\n".join(lines) + "\n"


def context_of(result: Result) -> Mapping[str, str]:
    """``[report.context]`` of the plan that a result holds; empty without one."""
    if result.provenance.plan is None:
        return {}
    stated = tomllib.loads(result.provenance.plan).get("report", {}).get("context", {})
    return checked_context({key: value for key, value in stated.items() if value})


def checked_context(context: Mapping[str, object]) -> Mapping[str, str]:
    """The context with known keys and texts.

    Raises:
        InputError: another key, or a value that is no text.
    """
    for key, value in context.items():
        check.one_of("a key of the context", key, CONTEXT)
        if not isinstance(value, str) or not value.strip():
            raise InputError(f"{key} of the context must be text, got {value!r}.")
    return {key: str(value) for key, value in context.items()}


def _stated(key: str) -> Callable[[Result, Mapping[str, str]], Answer]:
    def answer(result: Result, context: Mapping[str, str]) -> Answer:
        return Answer(context[key], "stated by the controller") if key in context else Answer(OPEN)

    return answer


def _never(why: str) -> Callable[[Result, Mapping[str, str]], Answer]:
    def answer(result: Result, context: Mapping[str, str]) -> Answer:
        return Answer(f"{NOT_TESTED}: {why}")

    return answer


def _verdicts(result: Result, context: Mapping[str, str]) -> Answer:
    subjects = words.ordered_subjects(result)
    return Answer(
        " ".join(f"{words.short(name)}: {plain_verdict(result, name)}" for name in subjects),
        "report.html, Verdicts; result.json, comparisons",
    )


def _membership(result: Result, context: Mapping[str, str]) -> Answer:
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


def _single_records(result: Result, context: Mapping[str, str]) -> Answer:
    listed = [] if result.membership is None else result.membership.exposed
    if not listed:
        return Answer(f"{NOT_TESTED}: no reference models looked at single records")
    return Answer(" ".join(words.exposed_in_words(each) for each in listed), "report.html, Who is exposed")


def _extraction(result: Result, context: Mapping[str, str]) -> Answer:
    if not result.extraction:
        return Answer(f"{NOT_TESTED}: this result holds no extraction; dpaudit extracts from language models")
    said = [f"{each.model}: ".removeprefix(": ") + " ".join(extraction_in_words(each)) for each in result.extraction]
    return Answer(" ".join(said), "report.html, Extraction; dpaudit extract")


def _reconstruction(result: Result, context: Mapping[str, str]) -> Answer:
    if not result.reconstructions:
        return Answer(NOT_TESTED)
    parts = [
        f"{words.short(name)}: {found.successes} of {found.trials} reconstructions succeeded "
        f"(guessing: {words.percent(found.kappa)} each)"
        for name, found in result.reconstructions.items()
    ]
    return Answer("; ".join(parts) + ".", "report.html, Gradient leakage, Reconstruction")


def _attackers(result: Result, context: Mapping[str, str]) -> Answer:
    sentences = attackers(result)
    return Answer(" ".join(sentences), "report.html, For the decision") if sentences else Answer(NOT_TESTED)


def _gaps(result: Result, context: Mapping[str, str]) -> Answer:
    return Answer(" ".join(words.not_tested(result)), "report.html, Not tested")


def _claims(result: Result, context: Mapping[str, str]) -> Answer:
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


def _unit(result: Result, context: Mapping[str, str]) -> Answer:
    return Answer(
        f"The audit is about one {result.unit} under {result.adjacency} adjacency. Whether a person has more than one "
        f"{result.unit} is for the controller to say.",
        "report.html, Method",
    )


def _measured(result: Result, context: Mapping[str, str]) -> Answer:
    parts = []
    for subject in words.ordered_subjects(result):
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


def _implementation(result: Result, context: Mapping[str, str]) -> Answer:
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


def _sampling(result: Result, context: Mapping[str, str]) -> Answer:
    told = [
        f"{words.short(model.name)}: {words.sampling(model.mechanism.sampling)}, noise multiplier "
        f"{model.mechanism.noise_multiplier:.4g}, {model.mechanism.steps} steps"
        for model in result.models
        if model.mechanism is not None
    ]
    return Answer("; ".join(told) + ".", "result.json, models.mechanism") if told else Answer("no mechanism is stated")


def _choice(result: Result, context: Mapping[str, str]) -> Answer:
    text = words.describe_member_choice(result)
    if not text:
        return Answer("no members were chosen in this audit")
    chosen = result.membership.chosen if result.membership is not None else None
    random = isinstance(chosen, Coins) or (isinstance(chosen, RandomSplit) and chosen.stated)
    return Answer(text, "report.html, How members were chosen" if random else "")


STANDARDS = {
    "edpb": Standard(
        "EDPB Opinion 28/2024 of 17 December 2024: is the model anonymous?",
        (
            Requirement("purpose and deployment", "who may use the model, and how", _stated("deployment")),
            Requirement(
                "means reasonably likely to be used", "which attackers were considered, and what they know", _attackers
            ),
            Requirement(
                "resistance to attacks: membership inference", "tests of whether a person's data was used", _membership
            ),
            Requirement(
                "resistance to attacks: attribute inference",
                "tests of whether attributes of a person can be inferred",
                _never("no plan or command runs attribute inference"),
            ),
            Requirement(
                "resistance to attacks: exfiltration and regurgitation",
                "tests of whether training data come out again",
                _extraction,
            ),
            Requirement(
                "resistance to attacks: model inversion and reconstruction",
                "tests of whether records can be made again",
                _reconstruction,
            ),
            Requirement(
                "each data subject", "the likelihood is insignificant for everyone, not on average", _single_records
            ),
            Requirement(
                "measures", "privacy-preserving training, such as differential privacy, and its strength", _claims
            ),
            Requirement("effectiveness of measures", "what was measured of it", _measured),
            Requirement("documentation", "what was tested, and what was not", _gaps),
        ),
    ),
    "nist-800-226": Standard(
        "NIST SP 800-226 of March 2025: evaluating a differential privacy guarantee",
        (
            Requirement("privacy parameters", "ε and δ", _claims),
            Requirement("unit of privacy (2.4)", "whose privacy: an event, a record or a person", _unit),
            Requirement("trust model", "who sees the data, and who adds the noise", _stated("trust_model")),
            Requirement("mechanism and its composition", "noise, steps and sampling that were accounted", _sampling),
            Requirement(
                "correctness of the implementation", "whether the code does what was accounted", _implementation
            ),
            Requirement("empirical check", "whether measured leakage agrees with the guarantee", _verdicts),
            Requirement("strength of the check", "what was measured, and what would have been seen", _measured),
            Requirement("members of the check", "how they were chosen", _choice),
            Requirement(
                "side channels, security and access control",
                "timing, randomness, storage of the raw data",
                _never("outside what an audit of leakage sees"),
            ),
            Requirement("data collection exposure", "who holds the raw data, and for how long", _stated("population")),
            Requirement("purpose", "what the model is for", _stated("purpose")),
            Requirement("hazards that remain", "what was not tested", _gaps),
        ),
    ),
    "aisvs": Standard(
        "OWASP AISVS 1.0, chapter C11 (development text of 2026): membership inference and model inversion",
        (
            Requirement(
                "11.3.1 (level 2)",
                "outputs are calibrated so that confidence does not reveal members",
                _never("dpaudit measures what outputs reveal, not how they were calibrated"),
            ),
            Requirement("11.3.2 (level 2)", "training with differential privacy and a documented ε", _claims),
            Requirement(
                "11.3.3 (level 3)",
                "simulated membership inference is not meaningfully better than guessing",
                _membership,
            ),
            Requirement("11.3.3, beside it", "bounds on ε from the simulation", _measured),
            Requirement(
                "11.4.1 (level 1)",
                "inferred sensitive attributes are not returned as they are",
                _never("a property of the service, not of the model"),
            ),
            Requirement(
                "11.4.2 (level 1)",
                "repeated adaptive queries are throttled",
                _never("a property of the service, not of the model"),
            ),
            Requirement("what was not tested", "gaps of this audit", _gaps),
        ),
    ),
}
