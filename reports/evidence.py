"""Tables that set a result beside what regulators and standards ask: requirement, answer, evidence, or "not tested".

The requirements are paraphrased, with their place and date. A table is evidence for whoever judges, and no statement of
compliance.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from dpaudit.reports import evidence_answers as answers
from dpaudit.reports.context import checked_context, context_of
from dpaudit.reports.evidence_answers import Answer
from dpaudit.reports.gate import escape_text
from dpaudit.results.result import Result
from dpaudit.runtime import check


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


STANDARDS = {
    "edpb": Standard(
        "EDPB Opinion 28/2024 of 17 December 2024, paragraphs 43 to 58: is the model anonymous?",
        (
            Requirement(
                "release and use (46)",
                "who may use the model, and how: it decides what is tested",
                answers.stated("deployment"),
            ),
            Requirement(
                "threat model (58)", "which attackers were considered, and what they know", answers.who_attacks
            ),
            Requirement("tests: membership inference (55 i)", "whether a person's data was used", answers.membership),
            Requirement(
                "tests: attribute inference (55 i)",
                "whether attributes of a person can be inferred",
                answers.never("no plan or command runs attribute inference"),
            ),
            Requirement(
                "tests: exfiltration and regurgitation (55 ii, iii)",
                "whether training data come out again",
                answers.extraction,
            ),
            Requirement(
                "tests: model inversion and reconstruction (55 iv, v)",
                "whether records can be made again",
                answers.reconstruction,
            ),
            Requirement(
                "each data subject (43)",
                "the likelihood is insignificant for everyone, not on average",
                answers.single_records,
            ),
            Requirement(
                "measures (49 to 58)",
                "privacy-preserving training, such as differential privacy, and its strength",
                answers.claims,
            ),
            Requirement("effectiveness of measures (49 to 58)", "what was measured of it", answers.measured),
            Requirement(
                "documentation (55, 58)",
                "what was tested, and what was not: a test speaks of the attacks that it ran",
                answers.gaps,
            ),
        ),
    ),
    "nist-800-226": Standard(
        "NIST SP 800-226 of March 2025: evaluating a differential privacy guarantee",
        (
            Requirement("privacy parameters (section 2)", "ε and δ", answers.claims),
            Requirement("unit of privacy (section 2)", "whose privacy: an event, a record or a person", answers.unit),
            Requirement("auditing (section 2)", "whether measured leakage agrees with the guarantee", answers.verdicts),
            Requirement(
                "strength of the audit (section 2)",
                "what was measured, and what would have been seen",
                answers.measured,
            ),
            Requirement("members of the audit (section 2)", "how they were chosen", answers.choice),
            Requirement("algorithms (section 3)", "noise, steps and sampling that were accounted", answers.sampling),
            Requirement("correctness (section 3)", "whether the code does what was accounted", answers.implementation),
            Requirement(
                "trust model (section 4)", "who sees the data, and who adds the noise", answers.stated("trust_model")
            ),
            Requirement(
                "side channels, access control (section 4)",
                "timing, randomness, storage of the raw data",
                answers.never("outside what an audit of leakage sees"),
            ),
            Requirement(
                "data collection exposure (section 4)",
                "who holds the raw data, and for how long",
                answers.stated("population"),
            ),
            Requirement("purpose", "what the model is for", answers.stated("purpose")),
            Requirement("hazards that remain", "what was not tested", answers.gaps),
        ),
    ),
    "aisvs": Standard(
        "OWASP AISVS 1.0, chapter C11 (development text of 2026): membership inference and model inversion",
        (
            Requirement(
                "11.3.1 (level 2)",
                "outputs are calibrated so that confidence does not reveal members",
                answers.never("dpaudit measures what outputs reveal, not how they were calibrated"),
            ),
            Requirement("11.3.2 (level 2)", "training with differential privacy and a documented ε", answers.claims),
            Requirement(
                "11.3.3 (level 3)",
                "simulated membership inference is not meaningfully better than guessing",
                answers.membership,
            ),
            Requirement("11.3.3, beside it", "bounds on ε from the simulation", answers.measured),
            Requirement(
                "11.4.1 (level 1)",
                "inferred sensitive attributes are not returned as they are",
                answers.never("a property of the service, not of the model"),
            ),
            Requirement(
                "11.4.2 (level 1)",
                "repeated adaptive queries are throttled",
                answers.never("a property of the service, not of the model"),
            ),
            Requirement("what was not tested", "gaps of this audit", answers.gaps),
        ),
    ),
}
