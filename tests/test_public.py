"""The public surface is a list with a test, and importing it loads no TensorFlow. A name says one thing everywhere."""

import ast
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import dpaudit

ROOT = Path(__file__).parents[1]


def test_every_public_name_is_there_sorted_and_documented() -> None:
    """`__all__` is what the stub lists, and nothing in it is without a docstring."""
    names = [name for name in vars(dpaudit)["__all__"] if name != "__version__"]
    assert names == sorted(names)
    for name in names:
        assert getattr(dpaudit, name).__doc__, name


@pytest.mark.long
def test_the_doors_on_numpy_alone(run_without_tensorflow: Callable[[str], str]) -> None:
    """Everything that trains nothing works where TensorFlow cannot even be imported."""
    printed = run_without_tensorflow(
        "import numpy as np, dpaudit\nfrom dpaudit.reports.html import page\n"
        "for name in dpaudit.__all__: getattr(dpaudit, name)\n"
        "rng = np.random.default_rng(1); member = rng.random(1000) < 0.5\n"
        "logits = rng.normal(size=(1000, 3)); labels = rng.integers(0, 3, 1000)\n"
        "logits[np.arange(1000), labels] += 4.0 * member\n"
        "result = dpaudit.audit_predictions(logits, labels, member, epsilon=0.1)\n"
        "print(result.contradicted, len(page(result)) > 10_000)\n"
    )
    assert printed.split() == ["True", "True"]


@pytest.mark.long
def test_public_functions_are_not_hidden_by_modules(run_without_tensorflow: Callable[[str], str]) -> None:
    """Importing a submodule must not replace a public function of the same name."""
    printed = run_without_tensorflow(
        "import pkgutil, importlib, dpaudit\n"
        "for module in pkgutil.iter_modules(dpaudit.__path__):\n"
        "    importlib.import_module('dpaudit.' + module.name)\n"
        "print([name for name in dpaudit.__all__ if type(getattr(dpaudit, name)).__name__ == 'module'])"
    )
    assert printed.strip() == "[]"


def test_importing_dpaudit_loads_little(run_without_tensorflow: Callable[[str], str]) -> None:
    """The pytest plugin lives in this package, so its import must cost nothing."""
    printed = run_without_tensorflow(
        "import sys, dpaudit\n"
        "print([name for name in ('numpy', 'scipy', 'pandas', 'pydantic', 'matplotlib') if name in sys.modules])"
    )
    assert printed.strip() == "[]"


@pytest.mark.long
def test_types_have_names_of_their_own() -> None:
    """No two modules define a type of one name, so that none is renamed on import and a search finds the one meant."""
    names = Counter(name for file in _modules() for name in _types(file.read_text(encoding="utf-8")))
    assert len(names) > 300
    assert [name for name, times in names.items() if times > 1] == []


def test_types_of_one_name_would_be_seen() -> None:
    """Classes, private ones and aliases of types count; constants and values do not."""
    text = "class One: ...\nclass _Two: ...\nThree = int | str\nFour: TypeAlias = int\nFIVE = 5\nsix = 6\nOne = str\n"
    assert sorted(_types(text)) == ["Four", "One", "One", "Three", "_Two"]


def _modules() -> list[Path]:
    return [file for folder in ("dpaudit", "attacks", "reports") for file in (ROOT / folder).rglob("*.py")]


def _types(text: str) -> Iterator[str]:
    """Names of the classes and aliases of types in the outermost block of a module."""
    for node in ast.parse(text).body:
        if isinstance(node, ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            named = [target.id for target in targets if isinstance(target, ast.Name)]
            yield from (name for name in named if name[0].isupper() and not name.isupper())
