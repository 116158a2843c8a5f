"""Tables are read by name: an index is left out and said, columns are aligned, words are encoded as stated."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dpaudit import Dataset
from dpaudit.data.encode import encoded
from dpaudit.data.given import aligned, as_dataset, concatenate_datasets, refuse_overlap
from dpaudit.data.load import load
from dpaudit.data.source import Source
from dpaudit.runtime.errors import InputError


@pytest.fixture
def mixed() -> Any:
    """Numbers with a gap, words with a gap, codes, flags, dates, and an identifier."""
    rng = np.random.default_rng(0)
    rows = 300
    frame = pd.DataFrame(
        {
            "age": rng.normal(40, 10, rows),
            "town": rng.choice(["north", "south", "west"], rows),
            "grade": rng.integers(1, 6, rows),
            "smokes": rng.integers(0, 2, rows),
            "since": (pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 900, rows), "D")).strftime(
                "%Y-%m-%d"
            ),
            "name": [f"person {i}" for i in range(rows)],
            "label": rng.choice(["no", "yes"], rows),
        }
    )
    frame.loc[3, "age"] = np.nan
    frame.loc[5, "town"] = None
    return frame


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_everything_wrong_with_a_file_is_said_at_once(mixed: pd.DataFrame, tmp_path: Path, suffix: str) -> None:
    """Four columns and the labels in one message, with counts and the mend."""
    path = tmp_path / f"t.{suffix}"
    mixed.loc[0, "label"] = None
    mixed.to_csv(path, index=False) if suffix == "csv" else mixed.to_parquet(path)
    with pytest.raises(InputError) as error:
        load(str(path))
    for said in (
        "'age' lacks 1 of 300 values",
        "'town' holds words (3 different) and lacks 1 of 300 values",
        "'since' holds dates",
        "'name' holds words (300 different)",
        "labels of t are missing in 1 of 300 records",
        'encode = "auto"',
        "drop = [...]",
    ):
        assert said in str(error.value)
    assert "'grade'" not in str(error.value)


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_mixed_table_is_encoded_as_stated(mixed: pd.DataFrame, tmp_path: Path, suffix: str) -> None:
    """Every output, made by hand with pandas from what the steps state."""
    path = tmp_path / f"t.{suffix}"
    mixed.to_csv(path, index=False) if suffix == "csv" else mixed.to_parquet(path)
    data = load(str(path), encode="auto", drop=["name"])
    age = mixed["age"].fillna(mixed["age"].median())
    days = (pd.to_datetime(mixed["since"]) - pd.Timestamp("1970-01-01")).dt.days
    by_hand = {
        "age": (age - age.mean()) / age.std(ddof=0),
        "age missing": mixed["age"].isna(),
        **{f"town = {town}": mixed["town"].fillna("missing") == town for town in ("missing", "north", "south", "west")},
        **{f"grade = {grade}": mixed["grade"] == grade for grade in range(1, 6)},
        "smokes": mixed["smokes"],
        "since": (days - days.mean()) / days.std(ddof=0),
    }
    assert data.columns == tuple(by_hand)
    np.testing.assert_allclose(data.features, np.stack([np.asarray(v, float) for v in by_hand.values()], 1), atol=1e-5)
    assert data.classes.tolist() == (mixed["label"] == "yes").astype(int).tolist()
    assert "Labels are classes in sorted order: 0 = no, 1 = yes." in data.reading
    assert any(note.startswith("'grade': one output each for 5 codes: 1, 2, 3, 4, 5") for note in data.notes)
    with pytest.raises(InputError, match=r"'name' is text or an identifier.*drop"):
        load(str(path), encode="auto")
    chosen = load(str(path), features=["grade", "smokes"])
    np.testing.assert_array_equal(chosen.features, mixed[["grade", "smokes"]])


def test_rarer_words_share_an_output_and_large_numbers_are_scaled() -> None:
    """Of 80 words 50 have an output of their own; a column in millions comes out with deviation 1."""
    rng = np.random.default_rng(1)
    words = np.array([f"w{i:02d}" for i in range(80)])[np.minimum(rng.geometric(0.05, 4000) - 1, 79)]
    made = encoded(pd.DataFrame({"word": words, "pay": rng.normal(5e6, 1e6, 4000)}), "t")
    assert len(made.names) == 52
    common = set(pd.Series(words).value_counts().index[:45])
    assert {f"word = {word}" for word in common} < set(made.names)
    np.testing.assert_allclose(made.features[:, :51].sum(axis=1), 1)
    assert made.features[:, 51].std() == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_an_index_is_left_out_and_said(tmp_path: Path, suffix: str) -> None:
    """The column that pandas writes, in order or shuffled; a named column that counts the rows is doubtful."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"x": rng.normal(size=40), "label": rng.integers(0, 2, 40)})
    path = tmp_path / f"t.{suffix}"

    def write(table: pd.DataFrame) -> None:
        table.to_csv(path, index=False) if suffix == "csv" else table.to_parquet(path)

    for name, values in (("Unnamed: 0", rng.permutation(40)), ("index", np.arange(40))):
        write(frame.assign(**{name: values}))
        data = load(str(path))
        assert data.columns == ("x",)
        assert "it is left out" in " ".join(data.notes)
    write(frame.assign(row=np.arange(1, 41)))
    with pytest.raises(InputError, match="'row' counts the rows, as an index does"):
        load(str(path))
    assert load(str(path), drop=["row"]).columns == ("x",)
    assert load(str(path), features=["x", "row"]).columns == ("x", "row")
    write(frame.assign(index=rng.normal(size=40)))  # a price index is a feature
    assert load(str(path)).columns == ("x", "index")


def test_a_name_twice_is_refused(tmp_path: Path) -> None:
    """Pandas would call the second one a.1 and go on."""
    (tmp_path / "t.csv").write_text("a,a,label\n1,2,0\n2,3,1\n")
    with pytest.raises(InputError, match="two columns called 'a'"):
        load(str(tmp_path / "t.csv"))


def test_data_sets_are_aligned_by_name() -> None:
    """Another order is put right; another set, a missing name and a common running number are refused."""
    rng = np.random.default_rng(0)
    x: Any = rng.normal(size=(20, 2))
    one = Dataset("in", x, np.arange(20) % 2, columns=("a", "b"))
    two = Dataset("out", x[:, ::-1] + 1, np.arange(20) % 3, columns=("b", "a"))
    both = concatenate_datasets(one, two, "both")
    np.testing.assert_allclose(both.features[20:], x + 1, rtol=1e-6)
    assert [data.outputs for data in aligned([one, two])] == [3, 3]
    assert [data.outputs for data in aligned([two, one])] == [3, 3]
    with pytest.raises(InputError, match="'b' only in in; 'c' only in out"):
        aligned([one, Dataset("out", x, np.zeros(20, int), columns=("a", "c"))])
    with pytest.raises(InputError, match="the columns of in have names and those of out have none"):
        aligned([one, Dataset("out", x, np.zeros(20, int))])
    order = rng.permutation(40)
    counted = [
        Dataset(name, np.c_[x, part].astype(np.float32), np.zeros(20, int), columns=("a", "b", "id"))
        for name, part in (("in", order[:20]), ("out", order[20:]))
    ]
    with pytest.raises(InputError, match="'id' numbers the records of in and out"):
        aligned(counted)


def test_files_of_members_and_nonmembers_are_aligned(tmp_path: Path) -> None:
    """CSV beside Parquet, reversed, with an index in one: the records as they were."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(30, 3)), columns=["a", "b", "c"]).assign(label=rng.integers(0, 2, 30))
    frame[:15].to_csv(tmp_path / "in.csv")
    frame[15:].iloc[:, ::-1].to_parquet(tmp_path / "out.parquet", index=False)
    parts = [as_dataset(tmp_path / name, name, "multiclass") for name in ("in.csv", "out.parquet")]
    both = concatenate_datasets(parts[0], parts[1], "both")
    np.testing.assert_allclose(both.features, frame[["a", "b", "c"]].to_numpy(np.float32), rtol=1e-6)
    frames = [
        as_dataset((part.drop(columns="label"), part["label"]), "x", "multiclass") for part in (frame[:15], frame[15:])
    ]
    np.testing.assert_array_equal(concatenate_datasets(frames[0], frames[1], "both").features, both.features)


@pytest.mark.parametrize(
    ("changed", "shares"),
    [
        (lambda x: x, True),
        (lambda x: np.where(x == 0, -0.0, x), True),
        (lambda x: x * (1 + 1e-7), True),
        (lambda x: np.array([[float(f"{v:.6g}") for v in row] for row in x]), True),
        (lambda x: x + 0.1, False),
    ],
)
def test_overlap_is_seen_in_spite_of_signs_of_zero_and_last_digits(changed: Any, shares: bool) -> None:
    """The same records written with -0.0 or with other last digits are the same; changed ones are not."""
    x: Any = np.random.default_rng(0).normal(size=(400, 5))
    x[:, 0] = 0.0
    one = Dataset("in", x, np.zeros(400, int))
    two = Dataset("out", changed(x), np.zeros(400, int))
    if shares:
        with pytest.raises(InputError, match=r"share (3[6-9]\d|400) record\(s\)"):
            refuse_overlap(one, two)
    else:
        refuse_overlap(one, two)


@pytest.mark.parametrize("where", ["population", "records"])
def test_the_number_of_classes_comes_from_all_records(tmp_path: Path, where: str) -> None:
    """The only record of the last class is set aside, or kept: both parts have as many classes as the whole."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(60, 2)), columns=["a", "b"]).assign(label=rng.integers(0, 3, 60))
    frame.loc[7, "label"] = 5
    frame.to_csv(tmp_path / "t.csv", index=False)
    for seed in range(100):
        records, population = Source(str(tmp_path / "t.csv"), "multiclass", "label", None, None, 0.5, seed)()
        if (5 in population.labels) == (where == "population"):
            break
    assert [part.outputs for part in (records, population, records.take(np.arange(3)))] == [6, 6, 6]
    few = records.take(records.classes < 5)
    assert few.fingerprint != Dataset("t", few.features, few.labels).fingerprint
