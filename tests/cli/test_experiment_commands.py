"""`dpaudit split`, `dpaudit canaries` and `dpaudit attack --experiment` as they are typed: files, words, exit codes."""

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from dpaudit.audits.experiment.sealed import open_experiment
from dpaudit.cli.attack import attack
from dpaudit.cli.canaries import canaries
from dpaudit.cli.split import split
from dpaudit.runtime.errors import InputError
from tests.audits.experiment.small import experiment, predictions, table
from tests.docs.pages import typed


def test_split_says_what_to_do_next(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What was drawn, what to train on, what never, and the command for afterwards; nothing with --quiet."""
    table().to_csv(tmp_path / "d.csv", index=False)
    split(tmp_path / "d.csv", tmp_path / "e", user="who", seed=1)
    printed = capsys.readouterr().out
    made = open_experiment(tmp_path / "e")
    assert f"{made.units_included} of {made.manifest.units} users were included" in printed
    assert f"train on: {made.train} (dpaudit_id is no feature: leave it out)" in printed
    assert f"never train on: {made.heldout}" in printed
    assert f"dpaudit attack --experiment {tmp_path / 'e'} --predictions FILE" in printed
    table().drop(columns="label").to_csv(tmp_path / "n.csv", index=False)
    split(tmp_path / "n.csv", tmp_path / "n")
    assert "no labels are known: name their column with --label" in capsys.readouterr().out
    canaries(tmp_path / "d.csv", tmp_path / "c", kind="blank", count=20, quiet=True)
    assert capsys.readouterr().out == ""


def test_canaries_that_a_model_generated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The texts of --samples stand in the training or are held out; the option goes with its kind alone."""
    data, samples = tmp_path / "d.csv", tmp_path / "s.csv"
    pd.DataFrame({"text": [f"line {row} of a play" for row in range(40)]}).to_csv(data, index=False)
    pd.DataFrame({"text": [f"strange {row} words" for row in range(20)]}).to_csv(samples, index=False)
    canaries(data, tmp_path / "e", kind="sampled", samples=samples, count=20, seed=1)
    made = open_experiment(tmp_path / "e")
    assert "of 20 sampled canaries were included" in capsys.readouterr().out
    texts = pd.concat([pd.read_csv(made.train), pd.read_csv(made.heldout)])["text"]
    assert sorted(texts[texts.str.startswith("strange")]) == sorted(pd.read_csv(samples)["text"])
    with pytest.raises(InputError, match="--samples goes with --kind sampled, got --kind blank"):
        canaries(data, tmp_path / "f", kind="blank", samples=samples, count=20)


@pytest.mark.long
def test_from_split_to_verdict(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two files of predictions behind one option, a contradicted claim (exit 1), a report, and JSON on request."""
    made = experiment(tmp_path)
    given = predictions(made, leak=8.0)
    given[:300].to_csv(tmp_path / "a.csv", index=False)
    given[300:].to_csv(tmp_path / "b.csv", index=False)
    line = "dpaudit attack --experiment e --predictions a.csv b.csv --epsilon 1"
    assert typed(f"{line} --out audit", tmp_path) == 1
    assert "contradicted" in capsys.readouterr().out
    assert made.manifest.inclusion_sha256[:12] in (tmp_path / "audit" / "report.html").read_text()
    assert typed(f"{line} --json", tmp_path) == 1
    assert json.loads(capsys.readouterr().out)["membership"]["chosen"] == {"kind": "coin", "probability": 0.5}
    predictions(made, leak=0.0).to_csv(tmp_path / "p.csv", index=False)
    assert typed("dpaudit attack --experiment e --predictions p.csv --epsilon 1", tmp_path) == 0
    assert typed("dpaudit attack --predictions p.csv --experiment e", tmp_path) == 0  # nothing claimed


def test_options_that_contradict_the_experiment(tmp_path: Path) -> None:
    """Who was trained on is said once; files without an option, and one file without an experiment, are refused."""
    made = experiment(tmp_path)
    given = tmp_path / "p.csv"
    predictions(made, leak=0.0).to_csv(given, index=False)
    for changed in ({"members": given}, {"chosen_by": "split"}, {"probability": 0.5}, {"user": "who"}):
        with pytest.raises(InputError, match=r"--experiment says who was trained on .* leave out --members"):
            attack(experiment=made.folder, predictions=[given], **changed)  # type: ignore[arg-type]  # one of them
    with pytest.raises(InputError, match="has no option before it"):
        attack(files=[given], experiment=made.folder)
    with pytest.raises(InputError, match="takes two files, of members and of non-members, got 1"):
        attack(predictions=[given])
    with pytest.raises(InputError, match=r"\(--predictions FILE\) or a model \(--model FILE\)"):
        attack(experiment=made.folder)
    with pytest.raises(InputError, match="references go with a model"):
        attack(experiment=made.folder, predictions=[given], reference_data=given)


@pytest.mark.long
def test_works_without_tensorflow(tmp_path: Path, run_without_tensorflow: Callable[[str], str]) -> None:
    """All three commands where TensorFlow cannot even be imported."""
    made = experiment(tmp_path)
    predictions(made, leak=8.0).to_csv(tmp_path / "p.csv", index=False)
    code = (
        "import sys\nfrom dpaudit.cli import main\n"
        "for words in (['split', 'data.csv', '--out', 's'], ['canaries', 'data.csv', '--kind', 'blank', '--count', "
        "'20', '--out', 'c'], ['attack', '--experiment', 'e', '--predictions', 'p.csv', '--epsilon', '1']):\n"
        "    sys.argv = ['dpaudit', *words]\n"
        "    try: main()\n    except SystemExit as end: print('exit', end.code)\n"
    )
    printed = run_without_tensorflow(f"import os\nos.chdir({str(tmp_path)!r})\n{code}")
    assert [line for line in printed.splitlines() if line.startswith("exit")] == ["exit 0", "exit 0", "exit 1"]


def test_words_of_predictions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Ids with zeros in front are found again, though pandas reads them as numbers."""
    frame = table(200).assign(key=[f"{number:05d}" for number in range(200)])
    frame.to_csv(tmp_path / "d.csv", index=False)
    split(tmp_path / "d.csv", tmp_path / "e", identifier="key", seed=1, quiet=True)
    made = open_experiment(tmp_path / "e")
    pd.DataFrame({"key": frame["key"], "yes": 0.4, "no": 0.6}).to_csv(tmp_path / "p.csv", index=False)
    attack(experiment=made.folder, predictions=[tmp_path / "p.csv"], json=True)
    assert json.loads(capsys.readouterr().out)["data"]["records"] == 200
