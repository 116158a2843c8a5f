"""A gate's judgements for a terminal, for a pull request, and for a build server."""

import re
from xml.etree import ElementTree

from rich.table import Table

from dpaudit.gate.judge_claim import Judgement
from dpaudit.gate.verify import Gate
from dpaudit.reports.terminal import MARKS
from dpaudit.runtime.check import printable
from dpaudit.runtime.terminal import plain_text

SYMBOLS = {"contradicted": "❌", "consistent": "✅", "too weak": "❔", "no verdict": "⚠️"}
# XML 1.0 has no way to write these, not even escaped.
NOT_IN_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
LONGEST = 300  # of a name in a Markdown cell: a step summary holds one mebibyte


def tabulate_judgements(gate: Gate) -> Table:
    """One row for each judgement."""
    drawn = Table(box=None, header_style="bold", caption=gate.flakiness, caption_justify="left")
    for heading in ("claim", "result", "model", "claimed", "measured", "verdict"):
        drawn.add_column(heading, overflow="fold")
    for each in gate.judgements:
        words = (each.claim, each.result, each.model, each.claimed, each.measured)
        drawn.add_row(*map(plain_text, words), plain_text(each.verdict, MARKS[each.verdict]))
    return drawn


def gate_as_markdown(gate: Gate) -> str:
    """A short table that fits a CI step summary or a comment on a pull request."""
    lines = ["### Privacy claims", "", "| | claim | model | claimed | measured | |", "|---|---|---|---|---|---|"]
    lines += [
        f"| {SYMBOLS[each.verdict]} | {cell(each.claim)} | {cell(f'{each.result} / {each.model}')} "
        f"| {cell(each.claimed)} | {cell(each.measured)} | **{each.verdict}** |"
        for each in gate.judgements
    ]
    lines += [""] + [f"- {cell(each.claim)}: {cell(each.sentence)}" for each in gate.judgements]
    return "\n".join([*lines, "", gate.flakiness, ""])


def junit(gate: Gate, *, require_power: bool = False) -> str:
    """JUnit XML: one test case for each judgement.

    A contradicted claim is a failure, and so is one without a verdict. One that the audit was too weak to judge is
    skipped, never passed; it is a failure too when power is required.
    """
    suite = ElementTree.Element("testsuite", name="dpaudit", tests=str(len(gate.judgements)))
    counts = {"failure": 0, "skipped": 0}
    for each in gate.judgements:
        case = ElementTree.SubElement(
            suite, "testcase", classname=_xml(f"{each.result}.{each.model}"), name=_xml(each.claim), time="0"
        )
        tag = _tag(each, require_power)
        if tag is not None:
            counts[tag] += 1
            ElementTree.SubElement(case, tag, message=_xml(f"{each.verdict}: {each.sentence}"))
        ElementTree.SubElement(case, "system-out").text = _xml(each.sentence)
    suite.set("failures", str(counts["failure"]))
    suite.set("skipped", str(counts["skipped"]))
    suite.set("errors", "0")
    root = ElementTree.Element("testsuites")
    root.append(suite)
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _tag(each: Judgement, require_power: bool) -> str | None:
    if each.verdict in ("contradicted", "no verdict") or (each.verdict == "too weak" and require_power):
        return "failure"
    return "skipped" if each.verdict == "too weak" else None


def _xml(text: str) -> str:
    return NOT_IN_XML.sub("�", text)


def cell(text: str) -> str:
    """Text for a cell, as it is and cut to `LONGEST`."""
    return escape_text(text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…")


def escape_text(text: str) -> str:
    """Text as it is: no HTML, no link, no mention and no further column comes of it."""
    marked = re.sub(r"([\\`*_{}\[\]#|!~])", r"\\\1", printable(text).replace("&", "&amp;"))
    return marked.replace("<", "&lt;").replace(">", "&gt;").replace("@", "&#64;")
