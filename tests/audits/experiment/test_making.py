"""Experiments are made whole or not at all, and every record is on one side, found again by its id."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dpaudit.audits.experiment.planted import plant_canaries
from dpaudit.audits.experiment.sealed import open_experiment
from dpaudit.audits.experiment.split import split_data, with_ids
from dpaudit.data.formats.opening import open_records
from dpaudit.data.inclusion import included_by_name
from dpaudit.runtime.errors import InputError
from tests.audits.experiment.small import experiment, table


def test_every_record_is_on_one_side(tmp_path: Path) -> None:
    """The two files together are the data, cell by cell, and who is where is what the sealed file says."""
    made = experiment(tmp_path)
    sides = [pd.read_csv(path, dtype=str) for path in (made.train, made.heldout)]
    both = pd.concat(sides).sort_values("dpaudit_id")
    source = pd.read_csv(tmp_path / "data.csv", dtype=str)
    assert (both.drop(columns="dpaudit_id").to_numpy() == source.to_numpy()).all()  # ids count the rows
    sealed = pd.read_csv(made.folder / "inclusion.csv", dtype=str).set_index("id")["included"]
    assert (sealed[sides[0]["dpaudit_id"]] == "1").all()
    assert (sealed[sides[1]["dpaudit_id"]] == "0").all()
    assert (included_by_name(made.ids.tolist(), 0.5, seed=1) == made.included).all()


@pytest.mark.long
def test_ids_are_no_numbers(tmp_path: Path) -> None:
    """A training that takes them for a feature fails: no id is a number, whatever the data."""
    for seed in range(20):
        table(30, seed=seed).to_csv(tmp_path / "d.csv", index=False)
        made = split_data(tmp_path / "d.csv", tmp_path / f"e{seed}")
        assert pd.read_csv(made.train)["dpaudit_id"].dtype.kind not in "iuf"
    for tag in ("123456", "12345e", "1e3456"):  # digits, and the beginning of a number with an exponent
        _, records = with_ids(open_records(tmp_path / "d.csv"), None, tag)
        records.write(tmp_path / "ids.csv")
        assert pd.read_csv(tmp_path / "ids.csv")["dpaudit_id"].dtype.kind not in "iuf"


def test_ids_that_are_there(tmp_path: Path) -> None:
    """A column of ids is used as it stands: numbers, zeros in front, in any format; it must name every record once."""
    frame = table(40).assign(key=np.arange(1000, 1040))
    frame.to_parquet(tmp_path / "d.parquet")
    made = split_data(tmp_path / "d.parquet", tmp_path / "e", identifier="key", seed=1)
    assert "dpaudit_id" not in pd.read_parquet(made.train)
    assert set(pd.read_parquet(made.train)["key"].astype(str)) == set(made.ids[made.included])
    frame.assign(key=7).to_csv(tmp_path / "d.csv", index=False)
    with pytest.raises(InputError, match=r"1 id\(s\) more than once, such as '7' \(40 times\)"):
        split_data(tmp_path / "d.csv", tmp_path / "f", identifier="key")
    with pytest.raises(InputError, match="no column 'kee'"):
        split_data(tmp_path / "d.csv", tmp_path / "f", identifier="kee")
    assert not (tmp_path / "f").exists()


def test_refusals_leave_nothing_behind(tmp_path: Path) -> None:
    """A folder that is there, a share, a user without a name, data that all fall on one side."""
    made = experiment(tmp_path)
    before = sorted(path.name for path in tmp_path.iterdir())
    data = tmp_path / "data.csv"
    with pytest.raises(InputError, match="is there already"):
        split_data(data, made.folder)
    with pytest.raises(InputError, match="share"):
        split_data(data, tmp_path / "f", share=1.0)
    with pytest.raises(InputError, match="cannot say whose a record is and be its label"):
        split_data(data, tmp_path / "f", user="label")
    with pytest.raises(InputError, match="no column 'whom'"):
        split_data(data, tmp_path / "f", user="whom")
    with pytest.raises(InputError, match=r"no column 'lable'.*Did you mean 'label'"):
        split_data(data, tmp_path / "f", label="lable")
    table(8)[:1].to_csv(tmp_path / "one.csv", index=False)
    with pytest.raises(InputError, match="all 1 records fell on one side"):
        split_data(tmp_path / "one.csv", tmp_path / "f")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*before, "one.csv"])


def test_seeds(tmp_path: Path) -> None:
    """The same seed draws the same inclusions; without one, two experiments on the same data differ."""
    table().to_csv(tmp_path / "d.csv", index=False)
    found = [split_data(tmp_path / "d.csv", tmp_path / f"e{n}", seed=s) for n, s in enumerate([3, 3, None, None])]
    assert (found[0].included == found[1].included).all()
    assert (found[0].ids == found[1].ids).all()
    assert (found[2].included != found[3].included).any()


def test_canaries_among_the_data(tmp_path: Path) -> None:
    """All records are trained on, canaries that were included stand among them, and the others are held out."""
    table().to_csv(tmp_path / "d.csv", index=False)
    made = plant_canaries(tmp_path / "d.csv", tmp_path / "e", kind="blank", count=100, seed=1)
    train, heldout = pd.read_csv(made.train), pd.read_csv(made.heldout)
    canary = train["dpaudit_id"].str.startswith("canary-").to_numpy()
    assert (~canary).sum() == 600
    assert set(train["dpaudit_id"][canary]) == set(made.ids[made.included])
    assert set(heldout["dpaudit_id"]) == set(made.ids[~made.included])
    assert 100 < np.flatnonzero(canary).mean() < 560  # nowhere in particular: a mean of 50 places of 650 has sd 27
    assert made.manifest.kind == "blank"
    assert made.manifest.classes == 2
    assert made.sentence.startswith(f"{canary.sum()} of 100 blank canaries were included, each independently")
    assert open_experiment(made.folder).ids.tolist() == made.ids.tolist()


def test_new_tokens_are_listed_whoever_was_included(tmp_path: Path) -> None:
    """The vocabulary gets all of them, so that it tells nothing."""
    lines = "\n".join(f'{{"text": "some words and {number}"}}' for number in range(50))
    (tmp_path / "d.jsonl").write_text(lines)
    made = plant_canaries(tmp_path / "d.jsonl", tmp_path / "e", kind="new-token", count=20, seed=1)
    tokens = (made.folder / "new_tokens.txt").read_text().split()
    assert len(tokens) == 20
    said = [line.split()[-1] for path in (made.train, made.heldout) for line in open_records(path).values("text")]
    assert sorted(word for word in said if word.startswith("<|canary-")) == sorted(tokens)


def test_numeric_ids_become_words_beside_canaries(tmp_path: Path) -> None:
    """A column of whole numbers cannot hold the name of a canary: it is text in what is written."""
    table(60).assign(key=np.arange(60)).to_parquet(tmp_path / "d.parquet")
    made = plant_canaries(
        tmp_path / "d.parquet", tmp_path / "e", kind="out-of-distribution", count=10, identifier="key", seed=1
    )
    assert {"0", "59"} <= set(pd.read_parquet(made.train)["key"])
    np.savez(tmp_path / "d.npz", features=np.random.default_rng(0).normal(size=(60, 3)), labels=np.arange(60) % 2)
    for kind in ("mislabelled", "out-of-distribution", "blank"):
        arrays = np.load(plant_canaries(tmp_path / "d.npz", tmp_path / kind, kind=kind, count=10, seed=1).train)
        assert {name: len(arrays[name]) for name in arrays} == dict.fromkeys(arrays, len(arrays["id"]))
