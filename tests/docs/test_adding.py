"""The guide to adding an attack, a bound and a trainer is followed literally."""

import json
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest

from dpaudit.audits.plan import load_plan
from dpaudit.data.member_choice import Coins
from dpaudit.runtime import plugins as registry
from dpaudit.runtime.errors import InputError
from dpaudit.runtime.files import parse_toml
from dpaudit.scores.scores import Scores
from dpaudit.scores.signals import Signals
from tests.docs.pages import blocks, typed


@pytest.mark.long
def test_guide_to_adding_things_can_be_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The package of the guide, made from its blocks and nothing else, is found, listed, and runs a plan."""
    files: dict[str, str] = {}
    for block in blocks("adding"):
        if block.title:
            files[block.title] = files.get(block.title, "") + "\n\n" * (block.title in files) + block.text
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    project = parse_toml(files["pyproject.toml"], "pyproject.toml")["project"]
    installed = tmp_path / f"{project['name']}-{project['version']}.dist-info"  # what pip makes of the pyproject.toml
    installed.mkdir()
    (installed / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    groups = "".join(
        f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in table.items())
        for group, table in project["entry-points"].items()
    )
    (installed / "entry_points.txt").write_text(groups)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert [point.name for point in metadata.entry_points(group="dpaudit.membership") if point.value == "leaks:Margin"]

    attack = registry.build("membership", "margin", {"power": 2.0}, where="here")
    signals = Signals.from_logits([[3.0, 0.0], [0.0, 1.0], [0.5, 0.0]], [0, 0, 0])
    assert attack(signals).argsort().tolist() == [1, 2, 0]
    bound = registry.build("bounds", "hoeffding", {}, where="here")
    rng = np.random.default_rng(1)
    scores = Scores(rng.normal(1.5, 1, 4000), rng.normal(-1.5, 1, 4000))
    found = bound(scores, delta=1e-5, confidence=0.95, adjacency="add-remove", unit="record")
    assert 1 < found.epsilon < found.ceiling
    with pytest.raises(InputError, match="holds for many-runs only"):
        load_plan(tmp_path / "plan.toml", ["audit.bound=hoeffding"])
    planned = load_plan(
        tmp_path / "plan.toml", ["audit.design=many-runs", 'audit.bound={ name = "hoeffding", threshold = 1.0 }']
    ).audit.bound
    assert planned is not None
    assert planned.build("many-runs", Coins(), seed=0).threshold == 1.0  # type: ignore[attr-defined]  # a field of its own
    for block in blocks("adding"):
        if block.language == "python" and not block.title:
            fewer = block.text.replace("trials=100", "trials=10")
            exec(compile(fewer, "adding", "exec"), {"__name__": "page"})
    lines = next(block.text for block in blocks("adding") if block.language == "sh").strip().splitlines()
    for line in [*lines, *lines]:  # the second run restores the trained model
        assert typed(line, tmp_path) == 0, line
    printed = capsys.readouterr().out
    assert "margin" in printed
    assert "'one run, sometimes everything leaks'" in printed
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert [each["version"] for each in result["membership"]["attacks"]] == ["loss/1", "margin/1"]
    assert result["models"][0]["trainer"] == "nearest-mean"
