"""The example that makes the table of docs/attacks.md runs, on a small pool."""

import json
import runpy
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.tf
EXAMPLES = Path(__file__).parents[1] / "examples"

SMALL = """
seed = 1
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
    """One column per number of references, all eight models as targets, "-" where an attack needs more of them."""
    (tmp_path / "small.toml").write_text(SMALL)
    monkeypatch.setattr(sys, "argv", ["attack_table.py", str(tmp_path / "small.toml"), str(tmp_path / "pool")])
    runpy.run_path(str(EXAMPLES / "attack_table.py"), run_name="__main__")
    assert "| lira, variance = per-record | - | 0." in capsys.readouterr().out
    numbers = json.loads((tmp_path / "pool" / "table.json").read_text())
    assert set(numbers) == {"breast-cancer, 2", "breast-cancer, 6"}
    assert 0.4 < numbers["breast-cancer, 6"]["rmia"][0][0] < 0.8
