"""Tables of token log-probabilities and stored responses that are wrong in every way: one line, or a result."""

import contextlib
import json
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dpaudit.data.token_files import read_token_logprobs
from dpaudit.integrations.completions import read_responses
from dpaudit.runtime.errors import InputError
from tests.fuzz import whole
from tests.fuzz.test_hostile_files import NUMBERS, broken, command, mutated, walk, write


def rows(name: str) -> list[dict[str, Any]]:
    """Twelve records with every column."""
    return [
        {
            "id": f"{name}{row}", "text": f"{name} says {row}", "user": f"{name}{row // 2}", "tokenizer": "words",
            "logprobs": [-1.0 - row, -0.5], "weights": [1.0, 0.5], "mean": [-1.0, -1.0], "deviation": [0.5, 1.0],
            "top": [True, False], "tokens": [row, 3], "reference.a": [-2.0, -1.5], "included.a": row % 2 == 0,
            "bytes": 8, "zlib": 9 + row, "top_k": 5, "temperature": 1.0,
        }
        for row in range(12)
    ]  # fmt: skip


def lines(table: Any) -> str:
    return "\n".join(json.dumps(row) for row in table) if isinstance(table, list) else json.dumps(table)


RESPONSES = [
    {"id": "a", "choices": [{"text": "a b", "logprobs": {"tokens": ["a", " b"], "token_logprobs": [None, -0.5]}}]},
    {"custom_id": "b", "response": {"body": {"choices": [{"logprobs": {"content": [
        {"token": "c", "logprob": -0.25, "top_logprobs": [{"token": "c", "logprob": -0.25}]}]}}]}}},
]  # fmt: skip


@walk
@given(st.one_of(mutated(rows("in")).map(lines), st.text(), st.binary()))
def test_token_tables(content: str | bytes) -> None:
    """A table is audited and its texts are extracted, or it is refused in one line."""
    others = write("out.jsonl", lines(rows("out")))
    command("attack", "--token-logprobs", write("in.jsonl", content), others, "--epsilon", "1.0", "--quiet")
    command("extract", write("in.jsonl", content), "--candidates", others, "--quiet")


@walk
@given(st.one_of(mutated(RESPONSES).map(lines), mutated(RESPONSES).map(json.dumps), st.text(), st.binary()))
def test_responses(content: str | bytes) -> None:
    """Responses are read, or refused."""
    with contextlib.suppress(InputError):
        read_responses(write("responses.jsonl", content))


ARRAYS = {"logprobs": -np.ones((4, 3)), "mask": np.ones((4, 3)), "top": np.ones((4, 3), bool), "id": np.arange(4)}


@st.composite
def strange_arrays(draw: st.DrawFn) -> bytes:
    """An archive with one array of another shape or kind."""
    arrays = dict(ARRAYS)
    shape = draw(st.sampled_from([(), (0,), (4,), (4, 3), (0, 3), (4, 0), (1, 1, 1)]))
    kind = draw(st.sampled_from(["f8", "i8", "c16", "?", "U4", "M8[s]"]))
    with contextlib.suppress(TypeError, ValueError, OverflowError), np.errstate(all="ignore"):
        arrays[draw(st.sampled_from([*ARRAYS, "reference.a", "text", "user"]))] = np.full(shape, draw(NUMBERS)).astype(
            kind
        )
    return whole.archive(**arrays)


@walk
@given(st.one_of(strange_arrays(), broken(whole.archive(**ARRAYS)), st.binary()))
def test_token_archives(content: bytes) -> None:
    """Arrays are read, or refused."""
    with contextlib.suppress(InputError):
        read_token_logprobs(write("tokens.npz", content))


def test_what_the_walk_starts_from_is_right() -> None:
    """Unharmed, each of these is read."""
    sides = write("in.jsonl", lines(rows("in"))), write("out.jsonl", lines(rows("out")))
    assert command("attack", "--token-logprobs", *sides, "--quiet") in (0, 3)
    assert command("extract", sides[0], "--quiet") == 0
    assert len(read_responses(write("responses.jsonl", lines(RESPONSES)))) == 2
    assert len(read_token_logprobs(write("tokens.npz", whole.archive(**ARRAYS)))) == 4
