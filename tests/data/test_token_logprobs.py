"""Tables of token log-probabilities: three forms of one file, and every way in which one is refused."""

import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dpaudit.data.token_columns import token_logprobs
from dpaudit.data.token_files import read_texts, read_token_logprobs, write_token_logprobs
from dpaudit.data.token_logprobs import TokenLogprobs, join_tables, refuse_unlike
from dpaudit.runtime.errors import InputError

GOOD: dict[str, Any] = {
    "id": ["a", "b"],
    "logprobs": [[-1.0, -2.0, -0.5], [-3.0]],
    "weights": [[1.0, 0.5, 2.0], [1.0]],
    "mean": [[-1.5, -1.0, -0.1], [-2.0]],
    "deviation": [[1.0, 0.5, 0.1], [0.0]],
    "top": [[True, False, True], [False]],
    "tokens": [[3, 1, 2], [7]],
    "reference.base": [[-1.5, -2.5, -0.5], [-2.0]],
    "included.base": [True, False],
    "reference.other": [[-1.0, -2.0, -0.5], [-3.0]],
    "user": ["x", "y"],
    "text": ["to be or", "not"],
    "bytes": [8, 3],
    "zlib": [16, 11],
    "tokenizer": ["words", "words"],
    "vocabulary": [8, 8],
}


def same(one: TokenLogprobs, other: TokenLogprobs) -> bool:
    def plain(value: object) -> object:
        if isinstance(value, Mapping):
            return {name: plain(each) for name, each in value.items()}
        return value.tolist() if isinstance(value, np.ndarray) else value

    return all(plain(getattr(one, each.name)) == plain(getattr(other, each.name)) for each in fields(TokenLogprobs))


@pytest.mark.parametrize("suffix", ["parquet", "jsonl", "npz"])
def test_a_table_comes_back_as_it_was_written(suffix: str, tmp_path: Path) -> None:
    """Every column, ragged or not, in each of the three forms."""
    table = token_logprobs(GOOD)
    write_token_logprobs(tmp_path / f"a.{suffix}", table)
    assert same(read_token_logprobs(tmp_path / f"a.{suffix}"), table)


def test_positions_that_a_mask_leaves_out_are_as_if_they_were_not_there() -> None:
    """What stands at a masked place is looked at by nobody: NaN and numbers above 0 among it."""
    masked = token_logprobs(
        {"id": ["a", "b"], "logprobs": [[5.0, -1.0, -2.0], [-3.0, np.nan, np.nan]], "mask": [[0, 1, 1], [1, 0, 0]]}
    )
    assert same(masked, token_logprobs({"id": ["a", "b"], "logprobs": [[-1.0, -2.0], [-3.0]]}))


def test_what_fills_up_a_row_is_no_part_of_a_record(tmp_path: Path) -> None:
    """The same tokens in a longer array are the same record; a prefix that is masked is a part of it."""
    first = {"id": ["a"], "logprobs": [[-1.0, -2.0]], "tokens": [[4, 5]], "mask": [[0, 1]]}
    longer = {"id": ["b"], "logprobs": [[-1.0, -2.0, 0.0]], "tokens": [[4, 5, -100]], "mask": [[0, 1, 0]]}
    assert token_logprobs(first).content == token_logprobs(longer).content == ("t4 t5",)


def test_a_token_outside_the_likeliest_is_never_drawn() -> None:
    """-9999 is what an interface writes for it; it is kept as an exact probability of 0."""
    table = token_logprobs({"id": ["a"], "logprobs": [[-1.0, -9999.0, -np.inf]], "top_k": [20]})
    assert table.logprobs.tolist() == [-1.0, -np.inf, -np.inf]
    assert table.top_k == 20


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"logprobs": [[-1.0, 0.7, -0.5], [-3.0]]}, r"1 log-probabilities are above 0, the first in 'a' \(0.7"),
        ({"logprobs": [[-1.0, -2.0, -0.5], [np.nan]]}, "1 log-probabilities are NaN or missing, the first in 'b'"),
        ({"logprobs": [[-1.0, -2.0, -0.5], [None]]}, "NaN or missing, the first in 'b'"),
        ({"logprobs": [[-1.0, -np.inf, -0.5], [-3.0]]}, "are -inf or -9999, the first in 'a'; .* column 'top_k'"),
        ({"logprobs": [[-1.0, -2.0, -0.5], []]}, r"1 record\(s\) have no token, the first is 'b'"),
        ({"logprobs": [-1.0, -2.0]}, "have no list of log-probabilities"),
        ({"id": ["a", "a"]}, "the id 'a' is there twice"),
        ({"weights": [[1.0, 1.0, 1.0], [0.0]]}, "have a mask or weights of zeros only, the first is 'b'"),
        ({"weights": [[1.0, -1.0, 1.0], [1.0]]}, "weights must be finite and at least 0"),
        ({"weights": [[1.0, 1.0], [1.0]]}, "'weights' of 'a' has 2 values for 3 tokens"),
        ({"mean": [[0.5, -1.0, -1.0], [-1.0]]}, "'mean', of log-probabilities, must be at most 0"),
        ({"deviation": [[-0.5, 1.0, 1.0], [1.0]]}, "'deviation' must be finite and at least 0"),
        ({"top": [[2, 0, 1], [0]]}, "'top' must be true/false or 1/0"),
        ({"tokens": [[1.5, 0, 1], [0]]}, "'tokens' must be whole numbers"),
        ({"tokens": [[8, 0, 9], [7]]}, r"2 are beyond the vocabulary of 8 .up to 9., the first in 'a'"),
        ({"vocabulary": [0, 0]}, "vocabulary must be at least 1, got 0"),
        ({"text": ["to be", " "]}, r"1 record\(s\) have no text, the first is 'b'"),
        ({"tokenizer": ["words", "bytes"]}, "'tokenizer' must be the same in all records"),
        ({"included.bsae": [True, False]}, "'included.bsae' has no column 'reference.bsae' beside it"),
        ({"included.base": ["yes", "no"]}, "included.base must be true/false"),
        ({"bytes": [0, 3]}, "'bytes' must be whole numbers of at least 1"),
        ({"top_k": [0, 0]}, "top_k must be at least 1"),
        ({"lgoprobs": [1, 2]}, "the column 'lgoprobs' is not known. Did you mean 'logprobs'"),
    ],
)
def test_wrong_columns_are_refused(change: dict[str, Any], message: str) -> None:
    """One line says what is wrong and where."""
    with pytest.raises(InputError, match=message):
        token_logprobs({**GOOD, **change})


def test_all_that_is_wrong_is_said_at_once() -> None:
    """Three faults, one message."""
    bad = {**GOOD, "id": ["a", "a"], "text": ["", "b"], "top": [[3, 0, 0], [0]]}
    with pytest.raises(InputError) as error:
        token_logprobs(bad, "file")
    assert all(part in str(error.value) for part in ("file: ", "twice", "no text", "'top' must"))
    assert "\n" not in str(error.value)


def test_a_column_that_nobody_reads_is_named() -> None:
    """It is no error, and it is not passed over in silence."""
    assert token_logprobs({**GOOD, "colour": ["red", "blue"]}).notes == (
        "The column 'colour' of the table was not read.",
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"id": ["a", "d"]}, r"1 id\(s\) are in both, one is 'a'"),
        ({"text": ["to be or", "else"]}, r"1 text\(s\) are in both, one is that of 'a'"),
        ({"user": ["y", "z"]}, r"1 user\(s\) are in both, one is 'y'"),
        ({"tokenizer": ["bytes", "bytes"]}, "the tokenizer is 'words' in one and 'bytes' in the other"),
        ({"vocabulary": [9, 9]}, "the vocabulary is 8 in one and 9 in the other"),
        ({"mean": None}, "the column 'mean' is in one only"),
        ({"reference.other": None}, "the column 'reference.other' is in one only"),
        ({"temperature": [0.5, 0.5]}, "the temperature is 1.0 in one and 0.5 in the other"),
    ],
)
def test_sides_that_cannot_be_compared_are_refused(change: dict[str, Any], message: str) -> None:
    """A record, a text or a user on both sides; columns, a tokenizer or a sampler of one side only."""
    other = {**GOOD, "id": ["c", "d"], "text": ["that is", "the"], "user": ["u", "v"]}
    refuse_unlike({"members": token_logprobs(GOOD), "others": token_logprobs(other)})
    changed = {name: value for name, value in {**other, **change}.items() if value is not None}
    with pytest.raises(InputError, match=f"members and others: .*{message}"):
        refuse_unlike({"members": token_logprobs(GOOD), "others": token_logprobs(changed)})


def test_joined_tables_hold_the_records_of_both() -> None:
    """Those of the first come first."""
    other = token_logprobs({**GOOD, "id": ["c", "d"]})
    both = join_tables(token_logprobs(GOOD), other)
    assert both.ids.tolist() == ["a", "b", "c", "d"]
    assert both.references["base"].tolist() == [-1.5, -2.5, -0.5, -2.0] * 2
    assert both.starts.tolist() == [0, 3, 4, 7]
    assert both.texts == ("to be or", "not") * 2


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "", "must end in .jsonl, .npz, .parquet"),
        ("a.jsonl", "[1]\n", "line 1: a record must be an object"),
        ("a.jsonl", "{\n", "line 1: no JSON"),
        ("a.jsonl", "\n", "holds no record"),
        (
            "a.jsonl",
            '{"id": 1, "logprobs": [-1]}\n{"id": 2}\n',
            "record 2 and the first differ in the column 'logprobs'",
        ),
        ("a.jsonl", '{"choices": []}\n', "holds responses, not a table"),
        ("a.jsonl", '{"id": 1}\n', "the column 'logprobs' is missing"),
        ("a.parquet", "nothing", "cannot read"),
        ("a.npz", "nothing", "cannot read"),
    ],
)
def test_files_that_are_no_tables(name: str, content: str, message: str, tmp_path: Path) -> None:
    """Each is refused in one line with the file's name."""
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=message):
        read_token_logprobs(tmp_path / name)


def test_arrays_of_other_shapes(tmp_path: Path) -> None:
    """Of tokens there is one number for each position."""
    np.savez(tmp_path / "a.npz", logprobs=np.full((2, 3), -1.0), top=np.ones((2, 4)))
    with pytest.raises(InputError, match=r"'top' must have shape \(2, 3\)"):
        read_token_logprobs(tmp_path / "a.npz")


def test_the_column_of_users_can_have_another_name(tmp_path: Path) -> None:
    """It is then that of the users; one that is not there is an error."""
    (tmp_path / "a.jsonl").write_text(json.dumps({"id": "a", "logprobs": [-1], "author": "me"}) + "\n")
    read = read_token_logprobs(tmp_path / "a.jsonl", user="author")
    assert read.users is not None
    assert read.users.tolist() == ["me"]
    with pytest.raises(InputError, match="there is no column 'writer'"):
        read_token_logprobs(tmp_path / "a.jsonl", user="writer")


def test_texts_of_files(tmp_path: Path) -> None:
    """Lines of a text, or the column text; an empty one is refused."""
    (tmp_path / "a.csv").write_text("text,more\none,1\ntwo,2\n")
    (tmp_path / "a.jsonl").write_text('{"text": "one"}\n{"text": "two"}\n')
    assert read_texts(tmp_path / "a.csv") == read_texts(tmp_path / "a.jsonl") == ["one", "two"]
    (tmp_path / "b.jsonl").write_text('{"text": "one"}\n{"text": ""}\n')
    with pytest.raises(InputError, match="text 2 is empty"):
        read_texts(tmp_path / "b.jsonl")
    with pytest.raises(InputError, match="must end in"):
        read_texts(tmp_path / "a.docx")
    (tmp_path / "c.jsonl").write_text('{"words": "one"}\n')
    with pytest.raises(InputError, match="has no 'text'"):
        read_texts(tmp_path / "c.jsonl")
