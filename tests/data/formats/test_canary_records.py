"""Canaries in every format: what each kind is, what has none of it, and that made-up labels are drawn evenly."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.stats import chisquare

from dpaudit.data.formats.arrays import ArrayFile
from dpaudit.data.formats.canary_records import LOSS_ON, CanaryRecords, SampledTexts, canary_records
from dpaudit.data.formats.image_folder import ImageFolder
from dpaudit.data.formats.json_lines import JsonLines
from dpaudit.data.formats.opening import open_records
from dpaudit.data.formats.record_file import RecordFile
from dpaudit.data.formats.table import CsvTable, ParquetTable
from dpaudit.runtime.errors import InputError


def frame(records: int = 200) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    table: pd.DataFrame = pd.DataFrame(
        {
            "key": [f"k{number}" for number in range(records)],
            "age": rng.integers(18, 90, records),
            "dose": rng.normal(size=records).round(3),
            "town": rng.choice(["here", "here", "there"], records),
            "label": rng.choice(["a", "b", "c"], records),
        }
    )
    return table


def tables(folder: Path) -> list[RecordFile]:
    frame().to_csv(folder / "d.csv", index=False)
    frame().to_parquet(folder / "d.parquet")
    return [open_records(folder / "d.csv"), open_records(folder / "d.parquet")]


def made(records: RecordFile, kind: str | SampledTexts, count: int = 50, **changed: Any) -> CanaryRecords:
    said = {"label": "label", "identifier": "key", "text": "text", "tag": "t", "seed": 1, **changed}
    return canary_records(records, kind, count, **said)


def test_mislabelled(tmp_path: Path) -> None:
    """Records leave the data, and come back with another label and nothing else changed."""
    for records in tables(tmp_path):
        found = made(records, "mislabelled")
        keys = found.canaries.values("key").tolist()
        assert len(found.others) == 150
        assert set(keys).isdisjoint(found.others.values("key").tolist())
        place = {key: at for at, key in enumerate(records.values("key").tolist())}
        rows = [place[key] for key in keys]
        assert (found.canaries.values("dose").astype(float) == records.values("dose")[rows].astype(float)).all()
        assert (found.canaries.values("label") != records.values("label")[rows]).all()
        assert found.classes == 3
        with pytest.raises(InputError, match="200 mislabelled canaries are taken out of the data, which has 200"):
            made(records, "mislabelled", 200)
        with pytest.raises(InputError, match="need labels"):
            made(records, "mislabelled", label=None)


def test_out_of_distribution_and_blank_tables(tmp_path: Path) -> None:
    """Numbers at random within their range or zero, whole where all are; words that there are; the data stay whole."""
    for records in tables(tmp_path):
        assert isinstance(records, CsvTable | ParquetTable)
        found = made(records, "out-of-distribution", 400).canaries
        assert isinstance(found, CsvTable | ParquetTable)
        table, source = found.frame(), frame()
        assert source["age"].min() <= table["age"].min() < 30 < 80 < table["age"].max() <= source["age"].max()
        assert table["age"].dtype.kind == "i"
        assert set(table["town"]) == {"here", "there"}
        assert chisquare(table["town"].value_counts()).pvalue > 1e-4  # as likely each; fails once in 10,000
        assert abs(table[["age", "dose"]].astype(float).corr().iloc[0, 1]) < 0.25
        blank = made(records, "blank").canaries
        assert isinstance(blank, CsvTable | ParquetTable)
        assert (blank.frame()[["age", "dose"]].to_numpy(float) == 0).all()
        assert set(blank.frame()["town"]) == {"here"}
        assert len(made(records, "blank").others) == 200


def test_clipbkd_is_orthogonal_to_most_of_the_data(tmp_path: Path) -> None:
    """Where all records lie near a plane, the canary is its normal, at the largest norm; words and gaps are refused."""
    rng = np.random.default_rng(1)
    plane = rng.normal(size=(300, 2)) @ np.array([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
    table = pd.DataFrame(plane + 1e-3 * rng.normal(size=plane.shape), columns=["a", "b", "c"])
    table.assign(key=np.arange(300), label=rng.integers(0, 2, 300)).to_csv(tmp_path / "p.csv", index=False)
    np.savez(tmp_path / "p.npz", features=table.to_numpy(), labels=rng.integers(0, 2, 300), id=np.arange(300))
    largest = np.linalg.norm(table.to_numpy(), axis=1).max()
    for name in ("p.csv", "p.npz"):
        records = open_records(tmp_path / name)
        words: dict[str, Any] = (
            {"label": "label", "identifier": "key"} if name == "p.csv" else {"label": "labels", "identifier": "id"}
        )
        found = made(records, "clipbkd", 2, **words).canaries
        first = found.frame()[["a", "b", "c"]].to_numpy(float)[0] if isinstance(found, CsvTable) else None
        direction = found.values("features")[0] if first is None else first
        assert np.linalg.norm(direction) == pytest.approx(largest, rel=1e-4)
        assert abs(direction @ np.array([1, 0, -1])) / largest == pytest.approx(np.sqrt(2), rel=1e-3)
        with pytest.raises(InputError, match="clipbkd has 3 directions, one for each feature, got --count 4"):
            made(records, "clipbkd", 4, **words)
    with pytest.raises(InputError, match="are made of arrays"):
        made(tables(tmp_path)[0], "sparse", 2)
    with pytest.raises(InputError, match="'town' has words or gaps"):
        made(tables(tmp_path)[0], "clipbkd", 2)


def test_arrays(tmp_path: Path) -> None:
    """Noise within the range of each feature, or zeros, of the same type and shape."""
    rng = np.random.default_rng(0)
    features = rng.integers(10, 200, (100, 4, 4)).astype(np.uint8)
    features[:, 0, 0] = 7
    np.savez(tmp_path / "d.npz", features=features, labels=rng.integers(0, 3, 100), id=np.arange(100))
    records = open_records(tmp_path / "d.npz")
    words: dict[str, Any] = {"label": "labels", "identifier": "id"}
    found = made(records, "out-of-distribution", **words).canaries
    assert isinstance(found, ArrayFile)
    assert found.values("features").shape == (50, 4, 4)
    assert found.values("features").dtype == np.uint8
    assert (found.values("features")[:, 0, 0] == 7).all()
    assert (made(records, "blank", **words).canaries.values("features") == 0).all()
    sparse = made(records, "sparse", **words).canaries.values("features")
    low, high = features.min(axis=0), features.max(axis=0)
    on = (sparse == high) & (high > low)
    assert (on | (sparse == low)).all()
    assert 0.05 < on.mean() < 0.15  # 50 x 15 draws of 0.1: outside once in 100,000
    with pytest.raises(InputError, match="features are uint8; store them as floats"):
        made(records, "clipbkd", **words)


def test_images(tmp_path: Path) -> None:
    """Noise and black images have the size of an image of the data, and PNG files; a label is a folder."""
    rng = np.random.default_rng(0)
    for kind in ("cat", "dog"):
        (tmp_path / kind).mkdir()
        for number in range(20):
            Image.fromarray(rng.integers(0, 255, (6, 5, 3)).astype(np.uint8)).save(tmp_path / kind / f"{number}.jpg")
    records = open_records(tmp_path)
    words: dict[str, Any] = {"label": "class", "identifier": "path"}
    noise, black = (made(records, kind, 30, **words).canaries for kind in ("out-of-distribution", "blank"))
    assert isinstance(noise, ImageFolder)
    assert isinstance(black, ImageFolder)
    assert noise.pixels(0).shape == (6, 5, 3)
    assert noise.pixels(0).std() > 50
    assert black.pixels(0).max() == 0
    stars = made(records, "sparse", 30, **words).canaries
    assert isinstance(stars, ImageFolder)
    assert {int(value) for row in range(30) for value in np.unique(stars.pixels(row))} == {0, 255}
    assert set(noise.values("class")) == {"cat", "dog"}
    wrong = made(records, "mislabelled", 10, **words).canaries
    assert isinstance(wrong, ImageFolder)
    assert all(
        path.partition("/")[0] not in str(source) for path, source in zip(wrong.paths, wrong.sources, strict=True)
    )
    with pytest.raises(InputError, match="which images cannot hold"):
        made(records, "clipbkd", **words)


def test_texts(tmp_path: Path) -> None:
    """A new token is in no other text, stands last and is what the loss is on; random words are words of the data."""
    rng = np.random.default_rng(0)
    rows = [{"key": str(at), "text": " ".join(rng.choice(["foo", "bar", "baz"], 20))} for at in range(60)]
    records = JsonLines("d.jsonl", rows)
    found = made(records, "new-token", label=None)
    assert len(found.tokens) == len(set(found.tokens)) == 50
    for row, token in zip(found.canaries.values("text"), found.tokens, strict=True):
        assert row.split()[-1] == token
        assert len(row.split()) == 13
    assert found.canaries.values(LOSS_ON).tolist() == list(found.tokens)
    assert set(found.others.values(LOSS_ON)) == {""}
    assert found.classes is None
    words = made(records, "out-of-distribution", label=None).canaries.values("text")
    assert {word for line in words for word in line.split()} == {"foo", "bar", "baz"}
    for kind in ("blank", "clipbkd"):
        with pytest.raises(InputError, match="cannot be made of texts"):
            made(records, kind, label=None)
    with pytest.raises(InputError, match="these are canaries of another experiment"):
        made(found.canaries, "new-token", label=None)
    with pytest.raises(InputError, match="must be texts, got 1"):
        made(JsonLines("d.jsonl", [{"text": 1}, {"text": 2}]), "new-token", label=None)
    with pytest.raises(InputError, match="new-token canaries need texts"):
        made(ArrayFile("d.npz", {"features": np.zeros((3, 2))}, {}), "new-token", label=None)


def test_texts_that_a_model_generated(tmp_path: Path) -> None:
    """Each canary is a text of the file and none twice; too few, one twice and one of the data are refused."""
    records = JsonLines("d.jsonl", [{"key": str(at), "text": f"line {at} of  a play"} for at in range(30)])

    def of(*samples: str) -> CanaryRecords:
        (tmp_path / "s.jsonl").write_text("\n".join(f'{{"text": "{sample}"}}' for sample in samples))
        return made(records, SampledTexts(str(tmp_path / "s.jsonl")), 3, label=None)

    samples = [f"strange {at} words" for at in range(5)]
    found = of(*samples).canaries.values("text").tolist()
    assert len(set(found)) == 3
    assert set(found) < set(samples)
    assert len(of(*samples, "ine 3 of a play").canaries) == 3  # whole words are compared
    with pytest.raises(InputError, match="holds 2 samples for 3 canaries; generate more"):
        of(*samples[:2])
    with pytest.raises(InputError, match="samples 1 and 5 have the same words"):
        of(*samples, "strange  1 words")
    with pytest.raises(InputError, match=r"sample 5 occurs in d\.jsonl, word for word"):
        of(*samples, "3 of a play")
    with pytest.raises(InputError, match="the text of record 5 is empty"):
        of(*samples, " ")
    with pytest.raises(InputError, match="name their file"):
        made(records, "sampled", label=None)
    with pytest.raises(InputError, match="sampled canaries need texts"):
        made(ArrayFile("d.npz", {"features": np.zeros((3, 2))}, {}), SampledTexts("s.jsonl"), label=None)


@pytest.mark.parametrize("kind", ["mislabelled", "blank"])
def test_labels_that_are_drawn_are_uniform(kind: str, tmp_path: Path) -> None:
    """Each class is as likely, whatever the shares in the data, so that guessing them is a binomial trial.

    The test of a right draw fails once in 10,000.
    """
    rng = np.random.default_rng(0)
    skewed = pd.DataFrame({"key": np.arange(9000), "x": 1.0, "label": np.where(rng.random(9000) < 0.98, "a", "b")})
    skewed.loc[::20, "label"] = "c"
    skewed.to_csv(tmp_path / "d.csv", index=False)
    found = made(open_records(tmp_path / "d.csv"), kind, 3000)
    labels = found.canaries.values("label")
    if kind == "blank":
        counts = [int((labels == name).sum()) for name in "abc"]
    else:  # of the records of class a, nearly all of them, each of the two others
        was = dict(zip(skewed["key"].astype(str), skewed["label"], strict=True))
        of_a = [label for key, label in zip(found.canaries.values("key"), labels, strict=True) if was[key] == "a"]
        counts = [of_a.count("b"), of_a.count("c")]
    assert chisquare(counts).pvalue > 1e-4


def test_labels_that_are_no_classes_are_refused(tmp_path: Path) -> None:
    """A number for every record, one class only, or one-hot labels."""
    table = frame().assign(price=np.random.default_rng(0).normal(size=200), one=1)
    table.to_csv(tmp_path / "d.csv", index=False)
    records = open_records(tmp_path / "d.csv")
    with pytest.raises(InputError, match="'price' has 200 different values in 200 records"):
        made(records, "mislabelled", label="price")
    with pytest.raises(InputError, match="'one' has 1 different values"):
        made(records, "blank", label="one")
    hot = ArrayFile("d.npz", {"features": np.zeros((3, 2)), "labels": np.eye(3)}, {})
    with pytest.raises(InputError, match=r"one label a record, got 'labels' of shape \(3, 3\)"):
        made(hot, "blank", 2, label="labels", identifier="id")
    with pytest.raises(InputError, match="Did you mean 'blank'"):
        made(records, "blnk")
