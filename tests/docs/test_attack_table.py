"""The example that makes the table of docs/attacks.md runs, on a small pool."""

import json
import runpy
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.tf
EXAMPLES = Path(__file__).parents[2] / "examples"

SMALL = """
seeds = [1, 2]
against = "rmia"
attacks = [{ name = "loss" }, { name = "lira", variance = "per-record" }, { name = "rmia" }]

[[pool]]
data = "breast-cancer"
population = 0.15
models = 8
references = [2, 6]
hidden = [8]
epochs = 30
batch_size = 32
learning_rate = 0.01
optimizer = "adam"
standardised = true
"""


def test_attack_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """One column per number of references, all models of all seeds as targets, "-" where an attack needs more of them.

    What rmia has less than itself is 0 on every target.
    """
    (tmp_path / "small.toml").write_text(SMALL)
    monkeypatch.setattr(sys, "argv", ["attack_table.py", str(tmp_path / "small.toml"), str(tmp_path / "pool")])
    runpy.run_path(str(EXAMPLES / "attack_table.py"), run_name="__main__")
    printed = capsys.readouterr().out
    assert "| lira, variance = per-record | - | 0." in printed
    assert "| rmia | +0.0 ± 0.0 | +0.0 ± 0.0 |" in printed
    numbers = json.loads((tmp_path / "pool" / "table.json").read_text())
    assert set(numbers) == {"breast-cancer, 2", "breast-cancer, 6"}
    assert 0.4 < numbers["breast-cancer, 6"]["rmia"][0][0] < 0.8


def test_differences_are_in_errors_of_both_sides() -> None:
    """0.01 apart with 0.003 on each side is 0.01/(0.003√2) = 2.36 errors, a little less for the other's rounding."""
    compared = runpy.run_path(str(EXAMPLES / "attack_table.py"))["compared"]
    found = {"digits, 4": {"loss": [[0.533, 0.003], [0.012, 0.001]]}}
    earlier = {
        "columns": ["digits, 4", "digits, 8"],
        "figures": {"loss": [[0.523, 0.012], [0.5, 0.5]], "base": [[], []]},
    }
    text = compared(found, earlier)
    assert "| loss | +2.4 / +0.0 |" in text
    assert "| base | - |" in text
    assert "all: 1 of 2 figures differ by more than two standard errors; chance alone would give about 0.1" in text
