"""The pages people read: their fenced blocks, the commands they tell people to type, and typing them."""

import contextlib
import os
import re
import runpy
import shlex
import sys
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

from typer.main import get_command

from dpaudit.cli import app

ROOT = Path(__file__).parent.parent.parent
# Run from top to bottom by test_pages.py; adding and four_steps by tests of their own.
WHOLE = ("index", "any_framework", "language_model", "table", "gate", "adding", "four_steps")
PAGES = [*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md"]
TOOLS = "dpaudit|python|make|pip|dask"
FENCE = re.compile(r'^```(\w*)(?: title="([^"]*)")?\n(.*?)^```', flags=re.S | re.M)


class Block(NamedTuple):
    """A fenced block: its language, its title, its text."""

    language: str
    title: str
    text: str


@lru_cache(maxsize=64)
def blocks(page: str) -> list[Block]:
    """Fenced blocks of a page of the documentation."""
    text = (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")
    return [Block(*each) for each in FENCE.findall(text)]


def commands(page: Path, *, fences: bool = True) -> list[str]:
    """Lines of shell in the blocks of a page, and what stands between its backticks and starts with a tool and a word.

    A bare name such as `dpaudit` is no command. Without ``fences`` the blocks are left out.
    """
    text = page.read_text(encoding="utf-8")
    lines = []
    for language, _, block in FENCE.findall(text):
        if fences and language in ("", "sh"):
            lines += block.replace("\\\n", " ").splitlines()
    lines += re.findall(r"(?<!`)`([^`]+)`(?!`)", FENCE.sub("", text))
    typed = (" ".join(line.partition(" #")[0].split()) for line in lines)
    return [line for line in typed if re.match(rf"({TOOLS}) \S", line)]


@lru_cache(maxsize=1)
def command_line() -> Any:
    """The tool as a process has it: Typer reads the signatures of all its commands once."""
    return get_command(app)


def typed(line: str, cwd: Path) -> int:
    """Exit code of a line as it is typed in a folder: ``dpaudit ...`` or ``python SCRIPT ...``, in this process."""
    tool, *words = shlex.split(line)
    with inside(cwd):
        if tool == "dpaudit":
            code = command_line().main(words, standalone_mode=False)
            return code if isinstance(code, int) else 0
        assert tool == "python"
        with (
            mock.patch.object(sys, "argv", words),
            mock.patch.object(sys, "path", [str(Path(words[0]).parent), *sys.path]),
        ):
            runpy.run_path(words[0], run_name="__main__")
        return 0


@contextlib.contextmanager
def inside(folder: Path) -> Iterator[None]:
    """Work in a folder; `contextlib.chdir` is of Python 3.11."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
