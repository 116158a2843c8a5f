"""A gate's judgements beside the lines of the claims: annotations for GitHub, a code quality report for GitLab."""

import hashlib
import json
from collections.abc import Iterator

from dpaudit.gate.claim_places import ClaimPlace
from dpaudit.gate.judge_claim import Judgement
from dpaudit.gate.verify import Gate
from dpaudit.runtime.check import printable

SEVERITIES = {"error": "critical", "warning": "minor"}  # GitLab's words


def github_annotations(gate: Gate, *, require_power: bool = False) -> list[str]:
    """Workflow commands that GitHub shows at the line of each claim that is not consistent.

    A contradicted claim and one without a verdict are errors; one that the audit was too weak to judge is a warning,
    and an error where power is required.
    """
    found = []
    for each, level in _marked(gate, require_power):
        place = "" if each.place is None else f"file={_property(each.place.file)},line={each.place.line},"
        title = _property(f"{each.claim}: {each.verdict}")
        found.append(f"::{level} {place}title={title}::{_message(f'{each.result} / {each.model}: {each.sentence}')}")
    return found


def gitlab_code_quality(gate: Gate, *, require_power: bool = False) -> str:
    """GitLab's code quality report: a JSON list with one entry for each claim that is not consistent.

    The fingerprint of an entry is of the claim, the result and the model, so that it stays the same from one run to the
    next and GitLab can tell what is new.
    """
    entries = []
    for each, level in _marked(gate, require_power):
        place = each.place or ClaimPlace("claims.toml", 1)
        whose = "\n".join((place.file, each.claim, each.result, each.model))
        text = f"{each.claim}: {each.verdict}. {each.result} / {each.model}: {each.sentence}"
        entries.append(
            {
                "description": printable(text),
                "check_name": f"dpaudit {each.kind}",
                "fingerprint": hashlib.sha256(whose.encode()).hexdigest(),
                "severity": SEVERITIES[level],
                "location": {"path": place.file, "lines": {"begin": place.line}},
            }
        )
    return json.dumps(entries, indent=1, ensure_ascii=False) + "\n"


def _marked(gate: Gate, require_power: bool) -> Iterator[tuple[Judgement, str]]:
    for each in gate.judgements:
        if each.verdict in ("contradicted", "no verdict") or (each.verdict == "too weak" and require_power):
            yield each, "error"
        elif each.verdict == "too weak":
            yield each, "warning"


def _message(text: str) -> str:
    """A message as GitHub's runner reads it.

    >>> _message("5 % of all")
    '5 %25 of all'
    """
    return printable(text).replace("%", "%25")


def _property(text: str) -> str:
    """A value of ``file=`` or ``title=``, which ends at a comma or a colon.

    >>> _property("a,b: 5 %")
    'a%2Cb%3A 5 %25'
    """
    return _message(text).replace(":", "%3A").replace(",", "%2C")
