"""Predictions are read by the names of their columns; every reading is checked against each label's own column."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import rankdata

from dpaudit.audits.predictions import attack_predictions, audit_predictions
from dpaudit.cli.attack import attack
from dpaudit.data.class_columns import class_columns
from dpaudit.data.predictions import by_class
from dpaudit.results.result import result_from_json
from dpaudit.runtime.errors import InputError


def side(boost: float, classes: list[Any], columns: list[str], *, seed: int, rows: int = 400) -> Any:
    """Probabilities in columns of some names, the labels, and log-odds of each label read from its own column."""
    rng = np.random.default_rng(seed)
    place, logits = rng.integers(0, len(classes), rows), rng.normal(size=(rows, len(classes)))
    logits[np.arange(rows), place] += boost
    p = np.exp(logits)
    p /= p.sum(axis=1, keepdims=True)
    own = p[np.arange(rows), place]
    return pd.DataFrame(p, columns=columns), np.array([classes[i] for i in place]), np.log(own / (1 - own))


def right_auc(members: Any, nonmembers: Any) -> float:
    """By ranks of the log-odds of the true class."""
    ranks = rankdata(np.concatenate([members, nonmembers]))
    m, n = len(members), len(nonmembers)
    return float((ranks[:m].sum() - m * (m + 1) / 2) / (m * n))


CASES: dict[str, tuple[list[Any], list[str]]] = {
    "from one": ([1, 2, 3], ["1", "2", "3"]),
    "gap": ([0, 2, 3], ["0", "2", "3"]),
    "lexicographic": (list(range(12)), [str(i) for i in range(12)]),
    "prefix": ([0, 1, 2], ["class_0", "class_1", "class_2"]),
    "words": (["cat", "dog", "a b"], ["cat", "dog", "a b"]),
    "words with prefix": (["cat", "dog", "cow"], ["p_cat", "p_dog", "p_cow"]),
    "in brackets": ([0, 1], ["P(y=0)", "P(y=1)"]),
    "floats": ([1.0, 2.0, 3.0], ["1.0", "2.0", "3.0"]),
    "floats and whole names": ([1.0, 2.0, 3.0], ["1", "2", "3"]),
    "bools": ([False, True], ["False", "True"]),
    "bools by number": ([False, True], ["0", "1"]),
    "plus minus one": ([-1, 1], ["-1", "1"]),
    "negative with prefix": ([-1, 1], ["class_-1", "class_1"]),
    "negative names": ([-2, -1, 0], ["-2", "-1", "0"]),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("how", ["as it is", "reversed in one file", "shuffled", "index in one file", "blank column"])
def test_columns_are_classes_by_their_names(case: str, how: str) -> None:
    """The AUC of the loss attack is that of each label's own column, whatever the order and whatever lies beside."""
    classes, names = CASES[case]
    (mine, truth, own), (theirs, other, its) = (side(b, classes, names, seed=s) for b, s in ((3.0, 1), (1.0, 2)))
    if how == "reversed in one file":
        theirs = theirs[theirs.columns[::-1]]
    elif how == "shuffled":
        order = np.random.default_rng(5).permutation(len(names))
        mine, theirs = mine.iloc[:, order], theirs.iloc[:, order]
    elif how == "index in one file":
        mine.insert(0, "Unnamed: 0", np.arange(len(mine)) + 7)
    elif how == "blank column":
        theirs["Unnamed: 9"] = np.nan
    result = attack_predictions((mine, truth), (theirs, other), attacks=["loss"])
    assert result.membership is not None
    assert result.membership.attacks[0].auc == pytest.approx(right_auc(own, its), abs=1e-9)
    said = " ".join(result.membership.caveats)
    assert ("numbers the rows" in said) == (how == "index in one file")
    assert ("is blank" in said) == (how == "blank column")


def test_a_class_in_one_file_only_and_a_class_without_records() -> None:
    """Of four columns three have labels in one file and two in the other: the reading is the same."""
    frame, truth, own = side(3.0, [1, 2, 3, 4], ["1", "2", "3", "4"], seed=1)
    other, labels, its = side(1.0, [1, 2, 3, 4], ["1", "2", "3", "4"], seed=2)
    kept, left = truth < 4, labels < 3
    result = attack_predictions((frame[kept], truth[kept]), (other[left], labels[left]), attacks=["loss"])
    assert result.membership is not None
    assert result.membership.attacks[0].auc == pytest.approx(right_auc(own[kept], its[left]), abs=1e-9)
    found = result.membership.attacks[0].slices
    assert found is not None
    assert {part.value for part in found.found if part.by == "class"} <= {"1", "2", "3", "4"}


def test_words_without_a_record_are_classes_when_the_rows_need_them() -> None:
    """Columns cat, cow, dog and no cow: probabilities sum to one only with it; of logits it is doubtful."""
    frame, truth, _ = side(2.0, ["cat", "dog", "cow"], ["cat", "dog", "cow"], seed=1)
    kept = truth != "cow"
    read = by_class(frame[kept], truth[kept], task="multiclass", kind="probabilities")
    assert read.classes == ("cat", "cow", "dog")
    assert read.outputs[:, 2].tolist() == frame["dog"][kept].tolist()
    with pytest.raises(InputError, match="'cow' is named like no class"):
        by_class(frame[kept], truth[kept], task="multiclass", kind="logits")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.rename(columns={"2": "two"}), "'2' only in members; 'two' only in nonmembers"),
        (lambda t: t.drop(columns="1"), "'1' only in members"),
    ],
)
def test_other_columns_are_refused_by_name(change: Any, message: str) -> None:
    """A renamed column, and one that is missing."""
    frame, truth, _ = side(2.0, [0, 1, 2], ["0", "1", "2"], seed=1)
    with pytest.raises(InputError, match=message):
        attack_predictions((frame, truth), (change(frame), truth))


def test_columns_that_are_no_class_are_refused_by_name() -> None:
    """An identifier, a running number, gaps, and names that say nothing about which class is which."""
    frame, truth, _ = side(2.0, [0, 1, 2], ["0", "1", "2"], seed=1)
    rng = np.random.default_rng(0)
    for name, values, message in (
        ("user_id", rng.integers(0, 10**6, 400), "'user_id' is named like no class"),
        ("row", np.arange(400), "'row' counts the rows"),
        ("Unnamed: 0", rng.normal(size=400), "'Unnamed: 0' has no name"),
        ("note", ["x"] * 400, "'note' holds words"),
        ("3", [np.nan, *[0.1] * 399], "'3' lacks 1 of 400 values"),
    ):
        with pytest.raises(InputError, match=message):
            by_class(frame.assign(**{name: values}), truth, task="multiclass", kind="logits")
    with pytest.raises(InputError, match="name each column like its class"):
        by_class(frame.set_axis(["low", "mid", "high"], axis=1), truth, task="multiclass", kind="logits")
    with pytest.raises(InputError, match="both named like class 1"):
        by_class(frame.set_axis(["0", "1", "1.0"], axis=1), truth % 2, task="multiclass", kind="logits")
    with pytest.raises(InputError, match="which column is which class is not known"):
        by_class(frame.to_numpy(), np.array(["a", "c"])[truth % 2], task="multiclass", kind="logits")


def test_a_name_is_not_cut_within_a_number_or_word() -> None:
    """class_10 and class_11 are no classes 0 and 1; scat is not cat."""
    with pytest.raises(InputError):
        class_columns(["class_10", "class_11"], ["0", "1"])
    with pytest.raises(InputError):
        class_columns(["scat", "sdog"], ["cat", "dog"])
    assert class_columns(["-1", "1"], ["1"]).columns == ("-1", "1")


def test_one_column_of_two_classes() -> None:
    """Named words: the second in sorted order is the class of the column; a column named like the first is refused."""
    rng = np.random.default_rng(0)
    p, truth = rng.random(300), rng.choice(["no", "yes"], 300)
    member = np.arange(300) < 150
    one = audit_predictions(
        pd.DataFrame({"p_yes": p}), truth, member, task="binary", kind="probabilities", attacks=["loss"]
    )
    codes = (truth == "yes").astype(int)
    two = audit_predictions(np.c_[1 - p, p], codes, member, kind="probabilities", attacks=["loss"])
    assert one.membership is not None
    assert two.membership is not None
    assert one.membership.attacks[0].auc == pytest.approx(two.membership.attacks[0].auc, abs=1e-12)
    with pytest.raises(InputError, match="named like class no; a binary task needs the output for class yes"):
        by_class(pd.DataFrame({"p_no": p}), truth, task="binary", kind="probabilities")
    with pytest.raises(InputError, match="task 'binary' or 'regression'"):
        by_class(pd.DataFrame({"p_yes": p}), truth, task="multiclass", kind="probabilities")


def test_the_command_reads_them_alike(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """CSV files with the index that pandas writes, one Parquet file, and a label of another name."""
    import json

    classes, names = CASES["words"]
    parts = [side(boost, classes, names, seed=seed) for boost, seed in ((3.0, 1), (1.0, 2))]
    for (frame, truth, _), name in zip(parts, ("in", "out"), strict=True):
        frame.assign(animal=truth).iloc[:, ::-1].to_csv(tmp_path / f"{name}.csv")
    parts[1][0].assign(animal=parts[1][1]).to_parquet(tmp_path / "out.parquet")
    for other in ("out.csv", "out.parquet"):
        attack(predictions=[tmp_path / "in.csv", tmp_path / other], label=["animal"], attacks=["loss"], json=True)
        found = json.loads(capsys.readouterr().out)["membership"]
        assert found["attacks"][0]["auc"] == pytest.approx(right_auc(parts[0][2], parts[1][2]), abs=1e-9)
    with pytest.raises(InputError, match=r"no column 'label'.*--label COLUMN"):
        attack(predictions=[tmp_path / "in.csv", tmp_path / "out.csv"])


@pytest.mark.long
def test_several_labels_of_a_record(tmp_path: Path) -> None:
    """Label columns are matched to output columns by name; the AUC is that of summed cross-entropies by numpy."""
    rng = np.random.default_rng(5)
    truth = rng.integers(0, 2, (400, 3))
    outputs = np.where(truth == 1, rng.beta(3, 1, (400, 3)), rng.beta(1, 2, (400, 3)))
    names = ["sad", "new york", "happy"]
    table = pd.DataFrame(outputs, columns=[f"p_{name}" for name in names]).join(pd.DataFrame(truth, columns=names))
    table[:200].to_csv(tmp_path / "in.csv")
    table[200:][list(reversed(table.columns))].to_csv(tmp_path / "out.csv", index=False)
    files = [tmp_path / "in.csv", tmp_path / "out.csv"]
    attack(predictions=files, label=["happy", "sad", "new york"], attacks=["loss"], out=tmp_path / "o", quiet=True)
    found = result_from_json((tmp_path / "o" / "result.json").read_text(), where="out")
    loss = -np.log(np.where(truth == 1, outputs, 1 - outputs)).sum(axis=1)
    expected = (loss[:200, None] < loss[200:]).mean()
    assert found.membership is not None
    assert found.membership.attacks[0].auc == pytest.approx(expected, abs=1e-6)
    with pytest.raises(InputError, match="'new york', 'p_new york' are outputs of no label"):
        attack(predictions=files, label=["happy", "sad"])
