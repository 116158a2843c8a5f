"""Text of a user or of a file on a terminal: shown as it is, whatever Rich would read into it."""

import contextlib
import io
import logging
import re
from dataclasses import replace

import pytest
import typer
from rich.console import Console

from dpaudit.cli.output import finish
from dpaudit.gate.compare import Change
from dpaudit.gate.metric_intervals import Interval
from dpaudit.reports.terminal import changes_table, tabulate_models
from dpaudit.runtime.progress import Bars, Lines
from dpaudit.runtime.terminal import console, log_handler, plain_text
from tests.reports.results import audit_of

# Markup that opens, closes and does neither, a variable's name, a backslash before a tag or at the end, a picture.
HOSTILE = ["[bold]x", "a[/]", "[/red]", "dense[0]", "[link=http://a]b", r"C:\[red]", "end\\", ":key:"]


def stock() -> Console:
    """Rich's own console, as somebody who prints a table in a notebook has it."""
    return Console(file=io.StringIO(), width=400)


def written(target: Console) -> str:
    """What was printed on it."""
    assert isinstance(target.file, io.StringIO)
    return target.file.getvalue()


@pytest.mark.parametrize("text", HOSTILE)
def test_rich_shows_plain_text_and_our_console_shows_any(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    """`plain_text` on a console of Rich's own, a bare string on ours."""
    target = stock()
    target.print(plain_text(text, "bold"))
    assert written(target) == f"{text}\n"
    console().print(text)
    assert capsys.readouterr().out == f"{text}\n"


def test_escape_codes_do_not_reach_the_terminal() -> None:
    """Nor does a line break: a name cannot write a line of its own."""
    assert plain_text("a\x1b[31m\nb").plain == "a\ufffd[31m b"


@pytest.mark.parametrize("text", HOSTILE)
def test_result_with_hostile_names_is_printed_as_it_is(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A title (a file's name), a model, the family of a bound in the table; a claim's subject and sentence below it."""
    result = audit_of(("unclaimed", text), attacks=1, slices=0)
    assert result.membership is not None
    attack = result.membership.attacks[1]
    assert attack.bound is not None
    attack = attack.model_copy(update={"bound": replace(attack.bound, family=text)})
    claimed = replace(result.comparisons[0], subject=text, sentence=f"it is {text}")
    hostile = result.model_copy(
        update={
            "title": f"Privacy audit of {text}",
            "membership": result.membership.model_copy(update={"attacks": [attack]}),
            "comparisons": [claimed],
        }
    )
    target = stock()
    target.print(tabulate_models(hostile))
    shown = written(target)
    assert f"Privacy audit of {text} " in shown
    assert re.search(rf"^{re.escape(text)} ", shown, flags=re.M)
    assert f"within: {text}." in re.sub(r"\s+", " ", shown)
    with contextlib.suppress(typer.Exit):  # exit 1: the claim is contradicted
        finish(hostile, folder=None, json=False, quiet=False)
    assert f"{text}: it is {text}\n" in capsys.readouterr().out


@pytest.mark.parametrize("text", HOSTILE)
def test_changes_between_results_with_hostile_names_are_printed_as_they_are(text: str) -> None:
    """Model, attack and metric."""
    names = (f"m {text}", f"a {text}", f"t {text}")
    target = stock()
    found = Interval(0.5, 0.4, 0.6, 0.05)
    target.print(changes_table([Change(*names, found, found, found)]))
    assert all(f"{name} " in written(target) for name in names)


@pytest.mark.parametrize("text", HOSTILE)
def test_progress_says_what_is_done_as_it_is(text: str) -> None:
    """As a bar on a terminal, as a line elsewhere."""
    target = stock()
    with Lines(target, first=0.0, every=0.0).task(f"training {text}", 2) as advance:
        advance(1)
    assert written(target).startswith(f"training {text}: 1 of 2")
    target = Console(file=io.StringIO(), width=400, force_terminal=True, color_system=None)
    with Bars(target).task(f"training {text}", 2) as advance:
        advance(1)
    assert f"training {text} " in written(target)


def test_two_steps_at_once_have_a_bar_each() -> None:
    """Reference models are trained beside the models under audit; what is done first disappears first."""
    target = Console(file=io.StringIO(), width=400, force_terminal=True, color_system=None)
    bars = Bars(target)
    with bars.task("training", 2) as advance, bars.task("references", 4) as other:
        advance(1)
        other(3)
    assert "training " in written(target)
    assert "references " in written(target)
    assert "0/4" in written(target)
    with bars.task("attacking", 2):
        pass
    assert "attacking " in written(target)


@pytest.mark.parametrize("text", [*HOSTILE, "a\x1b[31mb"])
def test_what_is_logged_cannot_drive_the_terminal(text: str) -> None:
    """A stored result names the version that wrote it, and its file may come from anybody."""
    target = stock()
    log_handler(target).handle(logging.LogRecord("dpaudit", logging.WARNING, "", 0, "from %s;", (text,), None))
    assert f" from {text.replace(chr(27), chr(0xFFFD))};" in written(target)
