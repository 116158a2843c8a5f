"""Annotations stand at the line of their claim, and nothing in a name or a sentence can end or forge one."""

import json
from dataclasses import replace

import pytest

from dpaudit.bounds.verdict import Verdict
from dpaudit.gate.claim_places import ClaimPlace
from dpaudit.gate.judge_claim import Judgement
from dpaudit.gate.verify import Gate
from dpaudit.reports.annotations import github_annotations, gitlab_code_quality

ONE = Judgement(
    "eps", "epsilon", "audit", "model", "contradicted", "ε ≤ 2", "ε ≥ 3", "It leaks more.", ClaimPlace("claims.toml", 7)
)


def gate(*verdicts: Verdict, **changed: object) -> Gate:
    """A gate of judgements with these verdicts."""
    return Gate(tuple(replace(ONE, verdict=each, **changed) for each in verdicts), 0.05)  # type: ignore[arg-type]


def unescaped(text: str) -> str:
    """As GitHub's runner reads a value (actions/runner, ActionCommand)."""
    for escaped, plain in (("%2C", ","), ("%3A", ":"), ("%0A", "\n"), ("%0D", "\r"), ("%25", "%")):
        text = text.replace(escaped, plain)
    return text


def test_the_line_of_the_claim_is_named() -> None:
    """The form that GitHub documents for workflow commands: properties with commas between them, then the message."""
    assert github_annotations(gate("contradicted")) == [
        "::error file=claims.toml,line=7,title=eps%3A contradicted::audit / model: It leaks more."
    ]


@pytest.mark.parametrize(
    ("verdict", "level", "with_power"),
    [
        ("contradicted", "error", "error"),
        ("no verdict", "error", "error"),
        ("too weak", "warning", "error"),
        ("consistent", None, None),
    ],
)
def test_levels_follow_the_exit_code(verdict: Verdict, level: str | None, with_power: str | None) -> None:
    """What fails the gate is an error; what is too weak warns, or errs with power required; the rest is silent."""
    for expected, power in ((level, False), (with_power, True)):
        lines = github_annotations(gate(verdict), require_power=power)
        assert [line.split()[0] for line in lines] == ([] if expected is None else [f"::{expected}"])
        entries = json.loads(gitlab_code_quality(gate(verdict), require_power=power))
        severity = {"error": "critical", "warning": "minor", None: None}[expected]
        assert [entry["severity"] for entry in entries] == ([] if severity is None else [severity])


def test_no_name_ends_or_forges_a_command() -> None:
    """Line breaks, percent signs, colons and commas come back as text: one line, one command, the same words."""
    nasty = "50 %: a,b::error file=x::\n::set-env name=PATH::evil\r%0A"
    held = replace(ONE, claim=nasty, model=nasty, sentence=nasty, place=ClaimPlace("a,b: 5%.toml", 1))
    (line,) = github_annotations(Gate((held,), 0.05))
    assert "\n" not in line
    assert "\r" not in line
    head, message = line.removeprefix("::error ").split("::", 1)
    properties = dict(part.split("=", 1) for part in head.split(","))
    assert unescaped(properties["file"]) == "a,b: 5%.toml"
    assert unescaped(properties["title"]).startswith("50 %: a,b::error file=x:: ::set-env")
    assert unescaped(properties["title"]).endswith("%0A: contradicted")
    assert unescaped(message).count("::set-env") == 2  # inside the message, which is not read as a command


def test_gitlab_has_what_it_needs_of_each_entry() -> None:
    """Description, name, fingerprint, severity, path and line, as GitLab documents its code quality report."""
    (entry,) = json.loads(gitlab_code_quality(gate("contradicted")))
    assert set(entry) == {"description", "check_name", "fingerprint", "severity", "location"}
    assert entry["location"] == {"path": "claims.toml", "lines": {"begin": 7}}
    assert "It leaks more." in entry["description"]


def test_a_fingerprint_is_of_the_claim_and_not_of_the_figures() -> None:
    """The same claim has the same one in the next run, another claim, model or result another."""
    (first,) = json.loads(gitlab_code_quality(gate("contradicted")))
    (later,) = json.loads(gitlab_code_quality(gate("contradicted", sentence="It leaks even more.")))
    assert first["fingerprint"] == later["fingerprint"]
    for changed in ({"claim": "other"}, {"model": "other"}, {"result": "other"}):
        (other,) = json.loads(gitlab_code_quality(gate("contradicted", **changed)))
        assert other["fingerprint"] != first["fingerprint"]


def test_a_claim_of_no_file_has_no_line() -> None:
    """Claims that were made in Python are annotated without a place."""
    (line,) = github_annotations(gate("contradicted", place=None))
    assert line.startswith("::error title=eps")
