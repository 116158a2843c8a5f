"""Texts as records: whatever they come from, the same tokens; what cannot be read is refused with its place."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dpaudit.data.bundled_texts import shakespeare
from dpaudit.data.text import TextRoles, load_text
from dpaudit.data.tokens import Bytes, tokenizer_named
from dpaudit.runtime.errors import InputError, MissingDependency

TEXTS = ["to be", "or not", "that is the question", "ä"]
ROLES = TextRoles(context=8)


def written(folder: Path, kind: str) -> str:
    table = pd.DataFrame({"text": TEXTS, "by": ["a", "b", "a", "c"]})
    path = folder / f"texts.{kind}"
    if kind == "csv":
        table.to_csv(path, index=False)
    elif kind == "parquet":
        table.to_parquet(path)
    elif kind == "jsonl":
        path.write_text("\n".join(json.dumps(row) for row in table.to_dict("records")))
    else:
        path = folder / "many"
        path.mkdir()
        for number, text in enumerate(TEXTS):
            (path / f"{number}.txt").write_text(text)
    return str(path)


@pytest.mark.parametrize("kind", ["csv", "parquet", "jsonl", "folder"])
def test_tokens_are_the_bytes_between_marks(kind: str, tmp_path: Path) -> None:
    """Each source gives a mark, the UTF-8 bytes up to the context, and a counted mark where the text ends before it."""
    data = load_text(written(tmp_path, kind), ROLES, user=None if kind == "folder" else "by")
    for row, counted, text in zip(data.features, data.labels, TEXTS, strict=True):
        raw = list(text.encode())[:8]
        ended = [256] if len(raw) < 8 else []
        assert row.tolist() == [256, *raw, *ended, *[256] * (8 - len(raw) - len(ended))]
        assert counted.sum() == len(raw) + len(ended)
    assert data.class_count == 257
    assert data.users is None or data.users.tolist() == ["a", "b", "a", "c"]
    assert "1 of 4 were longer and are cut" in data.notes[0]


def test_shakespeare_is_whole() -> None:
    """The shipped speeches are as many as its description says, by speakers with at least 20 each, no two alike."""
    plays = shakespeare()
    assert len(plays.texts) == len(set(plays.texts)) == 21267
    assert plays.users is not None
    _, speeches = np.unique(plays.users, return_counts=True)
    assert speeches.size == 364
    assert "Romeo, Romeo! wherefore art thou Romeo?" in " ".join(plays.texts)


def test_bytes_come_back() -> None:
    """Decoding gives the text again, with a mark for what was cut within a character."""
    tokens = Bytes()
    for text in TEXTS:
        assert tokens.decode([256, *tokens.encode([text])[0], 256]) == text
    assert tokens.decode([0xC3]) == "\ufffd"


def test_a_tokenizer_file_is_used_as_it_is(tmp_path: Path) -> None:
    """A saved tokenizer gives its own numbers and no marks; the mark of a text is one number more than it has."""
    tokenizers = pytest.importorskip("tokenizers")
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel({"to": 0, "be": 1, "?": 2}, unk_token="?"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made.save(str(tmp_path / "tokenizer.json"))
    named = tokenizer_named(str(tmp_path / "tokenizer.json"))
    assert (named.end, named.encode(["to be to go"])) == (3, [[0, 1, 0, 2]])
    data = load_text(written(tmp_path, "csv"), TextRoles(context=4, tokenizer=str(tmp_path / "tokenizer.json")))
    assert data.features[0].tolist() == [3, 0, 1, 3, 3]


def test_without_the_library_a_tokenizer_file_says_what_to_install(tmp_path: Path) -> None:
    """The one line names the extra."""
    try:
        import tokenizers  # noqa: F401
    except ImportError:
        with pytest.raises(MissingDependency, match=r"pip install 'dpaudit\[text\]'"):
            _ = tokenizer_named("tokenizer.json").end
    else:
        (tmp_path / "tokenizer.json").write_text("{}")
        with pytest.raises(InputError, match="holds no tokenizer"):
            _ = tokenizer_named(str(tmp_path / "tokenizer.json")).end


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", 'text\nto be\n"   "\n', "the text of record 1 is empty"),
        ("b.csv", "text\n1\n2\n", "record 0 is no text but 1"),
        ("c.csv", "texts\nto be\n", "has no column 'text'; it has texts. Did you mean 'texts'"),
        ("d.jsonl", '{"text": "to be"}\n{broken\n', "line 2 is no JSON"),
        ("e.jsonl", "[1]\n", "line 1 must be an object with keys, got list"),
        ("f.jsonl", "", "holds no records"),
    ],
)
def test_what_is_no_text_is_refused_with_its_place(name: str, content: str, message: str, tmp_path: Path) -> None:
    """The message says where and what."""
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=message):
        load_text(str(tmp_path / name), ROLES)


def test_sources_that_are_none(tmp_path: Path) -> None:
    """An empty folder, an unknown name, a wrong ending, and a column of what has none."""
    for source, message in (
        (str(tmp_path), "holds no"),
        ("shakespear", "shakespeare"),
        ("a.docx", "must be a folder, end in"),
    ):
        with pytest.raises(InputError, match=message):
            load_text(source, ROLES)
    with pytest.raises(InputError, match="shakespeare has no columns"):
        load_text("shakespeare", ROLES, user="speaker")
    with pytest.raises(InputError, match=r"tokenizer must be 'bytes' or the path .* got 'words'"):
        tokenizer_named("words")
