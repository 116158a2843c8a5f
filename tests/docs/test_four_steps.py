"""The page of four steps, typed from the split to the verdict with each framework; its figures are what it gives."""

import json
import re
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, blocks, typed

FRAMEWORKS = [
    pytest.param("sklearn", "scikit-learn", "", id="sklearn"),
    pytest.param(
        "pytorch",
        "PyTorch",
        "--outputs logits",
        id="pytorch",
        marks=pytest.mark.skipif(find_spec("torch") is None, reason="pip install torch"),
    ),
    # The same steps in half a minute; that `attack` takes a Keras file is in test_commands.py.
    pytest.param("keras", "Keras", "", id="keras", marks=(pytest.mark.tf, pytest.mark.slow)),
]


def lines() -> list[str]:
    """What the page tells people to type."""
    return [line for block in blocks("four_steps") if block.language == "sh" for line in block.text.splitlines()]


def furnished(folder: Path) -> None:
    """Its scripts, as they stand, and its data."""
    for block in blocks("four_steps"):
        if block.title:
            (folder / block.title).write_text(block.text)
    assert typed("python my_data.py", folder) == 0


@pytest.mark.parametrize(("script", "name", "further"), FRAMEWORKS)
@pytest.mark.long
def test_four_steps(script: str, name: str, further: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A memorising model contradicts ε = 2, a regularised one does not; accuracy and ε are those of the table."""
    furnished(tmp_path)
    split, *judge = [line for line in lines() if re.match("dpaudit (split|attack)", line)]
    assert typed(split, tmp_path) == 0
    train = f"python train_{script}.py"
    assert train in lines()
    assert typed(train, tmp_path) == 0
    table = (ROOT / "docs" / "four_steps.md").read_text()
    rows = re.findall(
        rf"^\| (\w+) \| {name}.*?\| ([\d.]+) \| ([\d.]+) \| ε ≥ ([\d.]+) \| .*exit (\d)", table, flags=re.M
    )
    assert len(rows) == len(judge) == 2
    for line, (model, inside, outside, epsilon, code) in zip(judge, rows, strict=True):
        said = line.partition(" --out ")[0]
        assert f"--predictions {model}.csv" in said
        if script == "keras":
            said = said.replace(f"--predictions {model}.csv", f"--model {model}.keras --drop patient")
        capsys.readouterr()
        assert typed(f"{said} {further} --json", tmp_path) == int(code)
        found = json.loads(capsys.readouterr().out)
        utility = found["models"][0]["utility"]
        assert [utility["train"], utility["test"]] == pytest.approx([float(inside), float(outside)], abs=0.03)
        # The training is not the same on every machine; what is measured moves with it.
        assert found["comparisons"][0]["strongest"]["epsilon"] == pytest.approx(float(epsilon), abs=0.6)


@pytest.mark.long
def test_canaries_of_the_page(tmp_path: Path) -> None:
    """The command at its end, and the training with other folders: the forest contradicts, and says nothing else."""
    furnished(tmp_path)
    (line,) = [line for line in lines() if line.startswith("dpaudit canaries")]
    assert typed(line, tmp_path) == 0
    script = tmp_path / "train_sklearn.py"
    script.write_text(script.read_text().replace("experiment/", "planted/"))
    assert typed("python train_sklearn.py", tmp_path) == 0
    judge = "dpaudit attack --experiment planted --predictions"
    assert typed(f"{judge} memorising.csv --epsilon 2", tmp_path) == 1
    assert typed(f"{judge} regularised.csv --epsilon 2", tmp_path) == 0
