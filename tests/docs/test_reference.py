"""The reference pages are those that `make reference` writes from the code."""

import runpy
from collections.abc import Callable
from typing import Any

import pytest

from tests.docs.pages import ROOT

REFERENCE: dict[str, Any] = runpy.run_path(str(ROOT / ".ci" / "reference.py"))


@pytest.mark.parametrize("name", ["cli.md", "plan.md", "results.md"])
def test_page_is_made_from_the_code(name: str) -> None:
    """Nobody edits a page of the reference, and nobody forgets to make it again: `make reference` does."""
    made: Callable[[], dict[str, str]] = REFERENCE["pages"]
    assert (ROOT / "docs" / name).read_text(encoding="utf-8") == made()[name]


def test_docstring_becomes_markdown() -> None:
    """Code and links of a docstring are those of the page, and its arguments are the meanings of the keys."""
    assert REFERENCE["prose"]("``a|b`` of `Hu (2021) <https://arxiv.org/abs/1>`_") == (
        "`a\\|b` of [Hu (2021)](https://arxiv.org/abs/1)"
    )
    text = "First.\n\nArgs:\n    one: its meaning,\n        and more.\n    two: another.\n\nRaises:\n    Error: never."
    assert REFERENCE["_arguments"](text) == {"one": "its meaning, and more.", "two": "another."}
    assert REFERENCE["_paragraphs"](text) == ["First."]
