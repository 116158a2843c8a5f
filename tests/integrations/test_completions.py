"""Responses on disk, in the forms that OpenAI's interface and its look-alikes give them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dpaudit.integrations.completions import read_responses
from dpaudit.runtime.errors import InputError


def completion(name: str, values: list[float | None], tokens: list[str]) -> dict[str, Any]:
    """An answer to a completion with ``echo``, as the reference of the interface shows it."""
    tops = [
        None if value is None else {token: value, "else": -1.0} for value, token in zip(values, tokens, strict=True)
    ]
    return {
        "id": name,
        "object": "text_completion",
        "choices": [
            {
                "text": "".join(tokens),
                "index": 0,
                "logprobs": {
                    "tokens": tokens,
                    "token_logprobs": values,
                    "top_logprobs": tops,
                    "text_offset": [0, 3, 6],
                },
                "finish_reason": "length",
            }
        ],
    }


def chat(name: str, values: list[float]) -> dict[str, Any]:
    """An answer of a chat with ``logprobs`` and two ``top_logprobs``."""
    content = [
        {
            "token": f"w{place}",
            "logprob": value,
            "bytes": [119],
            "top_logprobs": [{"token": "x", "logprob": -0.7, "bytes": None}, {"token": "y", "logprob": -2.0}],
        }
        for place, value in enumerate(values)
    ]
    return {"id": name, "object": "chat.completion", "choices": [{"index": 0, "logprobs": {"content": content}}]}


def lines(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_completions_with_their_prompt(tmp_path: Path) -> None:
    """The first token has nothing before it; the top token is right where nothing listed is likelier."""
    file = lines(
        tmp_path / "a.jsonl",
        completion("one", [None, -0.5, -2.0], ["To", " be", " or"]),
        completion("two", [None, -3.0, -0.25], ["not", " to", " be"]),
    )
    table = read_responses(file)
    assert table.ids.tolist() == ["one", "two"]
    assert table.texts == ("To be or", "not to be")
    assert table.logprobs.tolist() == [-0.5, -2.0, -3.0, -0.25]
    assert table.top is not None
    assert table.top.tolist() == [True, False, False, True]


def test_chats_hold_what_the_model_wrote(tmp_path: Path) -> None:
    """A token outside of the listed ones is -9999, which needs to be said."""
    file = lines(tmp_path / "a.jsonl", chat("one", [-0.7, -9999.0]), chat("two", [-0.1]))
    with pytest.raises(InputError, match="column 'top_k'"):
        read_responses(file)
    table = read_responses(file, top_k=20, columns={"user": ["a", "b"], "tokenizer": ["o200k", "o200k"]})
    assert table.logprobs.tolist() == [-0.7, -np.inf, -0.1]
    assert table.top is not None
    assert table.top.tolist() == [True, False, True]
    assert (table.tokenizer, table.top_k, table.users is not None) == ("o200k", 20, True)


def test_batches_and_lists(tmp_path: Path) -> None:
    """What the batch interface wraps keeps its own id; a whole file may be one list or one response."""
    inner = completion("cmpl-1", [None, -0.5, -2.0], ["To", " be", " or"])
    batch = lines(
        tmp_path / "b.jsonl", {"custom_id": "mine", "response": {"status_code": 200, "body": inner}, "error": None}
    )
    assert read_responses(batch).ids.tolist() == ["mine"]
    for content in ([inner], inner):
        (tmp_path / "c.json").write_text(json.dumps(content, indent=1))
        assert read_responses(tmp_path / "c.json").ids.tolist() == ["cmpl-1"]


def test_several_choices_are_several_records(tmp_path: Path) -> None:
    """Each has the name of its response and its own number."""
    both = chat("one", [-0.7])
    both["choices"].append({**both["choices"][0], "index": 1})
    assert read_responses(lines(tmp_path / "a.jsonl", both)).ids.tolist() == ["one/0", "one/1"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "line 1: no JSON"),
        ("", "holds no response"),
        ("[]", "holds no response"),
        ("[1]", "a response must be an object, got int"),
        ('{"id": "a", "choices": []}', "choices"),
        ('{"id": "a", "choices": [{"text": "hi", "logprobs": null}]}', "has no log-probabilities: ask for them"),
        ('{"custom_id": "a", "response": null, "error": {"message": "too long"}}', "is an error: .*too long"),
        ('{"error": {"message": "no key"}}', "is an error: .*no key"),
        (
            '{"id": "a", "choices": [{"logprobs": {"tokens": ["a"], "token_logprobs": [null, -1]}}]}',
            "must be lists of one length",
        ),
        (
            '{"id": "a", "choices": [{"logprobs": {"tokens": ["a", "b", "c"], "token_logprobs": [null, -1, null]}}]}',
            "after the first is missing",
        ),
    ],
)
def test_what_is_no_response(content: str, message: str, tmp_path: Path) -> None:
    """One line that names the file and the place."""
    (tmp_path / "a.jsonl").write_text(content)
    with pytest.raises(InputError, match=message):
        read_responses(tmp_path / "a.jsonl")
