"""Log-probabilities from answers of an interface like OpenAI's, as they lie on disk."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from dpaudit.data.token_columns import token_logprobs
from dpaudit.data.token_logprobs import NOT_AMONG_TOP, TokenLogprobs
from dpaudit.runtime.errors import InputError
from dpaudit.runtime.files import read_text


def read_responses(
    path: str | Path, *, top_k: int | None = None, columns: Mapping[str, Sequence[Any]] | None = None
) -> TokenLogprobs:
    """A table from stored responses, for `dpaudit.audit_text`.

    Two forms are read. Completions with ``echo`` and ``logprobs`` (``choices[].logprobs.token_logprobs``) hold the
    log-probabilities of the text that was sent: this is what an audit of membership needs. Chat completions
    (``choices[].logprobs.content``) hold only those of the text that the model wrote itself.

    A first token without a log-probability, before which there is nothing, is left out. A log-probability of -9999
    stands for a token outside the likeliest that were listed; say how many those are.

    Args:
        path: JSON lines with a response each, alone or as the batch interface wraps them (``custom_id``, ``response``),
            or one JSON file with a response or a list of them.
        top_k: how many of the likeliest tokens the interface looks among; needed where -9999 or -Infinity occurs.
        columns: further ones, each with one value for each record: ``user``, ``tokenizer``.

    Raises:
        InputError: no JSON, a response without log-probabilities or one that is an error.

    >>> from tempfile import TemporaryDirectory
    >>> logprobs = {"tokens": ["To", " be"], "token_logprobs": [None, -0.5], "top_logprobs": [None, {" be": -0.5}]}
    >>> response = {"id": "cmpl-1", "choices": [{"index": 0, "text": "To be", "logprobs": logprobs}]}
    >>> with TemporaryDirectory() as folder:
    ...     _ = (Path(folder) / "a.jsonl").write_text(json.dumps(response))
    ...     table = read_responses(Path(folder) / "a.jsonl")
    >>> table.texts, table.logprobs, table.top
    (('To be',), array([-0.5]), array([ True]))
    """
    file = Path(path)
    rows = [row for where, response in _responses(file) for row in _records(response, where)]
    if not rows:
        raise InputError(f"{file} holds no response.")
    table: dict[str, Any] = {name: [row[name] for row in rows] for name in ("id", "text", "logprobs")}
    if all("top" in row for row in rows):
        table["top"] = [row["top"] for row in rows]
    if top_k is not None:
        table["top_k"] = [top_k] * len(rows)
    return token_logprobs({**table, **(columns or {})}, str(file))


def _responses(file: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Each response with its place, without what a batch wraps it in."""
    text = read_text(file)
    try:
        whole = json.loads(text)
        listed = whole if isinstance(whole, list) else [whole]
    except ValueError:
        listed = []
        for number, line in enumerate(text.splitlines(), start=1):
            if line.strip():
                try:
                    listed.append(json.loads(line))
                except ValueError as error:
                    raise InputError(f"{file}, line {number}: no JSON ({error}).") from error
    for number, given in enumerate(listed, start=1):
        where = f"{file}, response {number}"
        if not isinstance(given, dict):
            raise InputError(f"{where}: a response must be an object, got {type(given).__name__}.")
        body = given
        if "response" in given or "custom_id" in given:
            body = (given.get("response") or {}).get("body") or {}
            body = {**body, "id": given.get("custom_id", body.get("id"))}
        if given.get("error") or body.get("error"):
            raise InputError(f"{where} is an error: {given.get('error') or body.get('error')}.")
        if not isinstance(body.get("choices"), list) or not body["choices"]:
            raise InputError(f"{where} has no 'choices'.")
        yield where, body


def _records(response: Mapping[str, Any], where: str) -> Iterator[dict[str, Any]]:
    several = len(response["choices"]) > 1
    for place, choice in enumerate(response["choices"]):
        found = choice.get("logprobs") if isinstance(choice, dict) else None
        if not isinstance(found, dict) or not (found.get("content") or found.get("token_logprobs")):
            raise InputError(
                f"{where} has no log-probabilities: ask for them with logprobs (and echo for completions)."
            )
        name = str(response.get("id", where))
        read = _of_chat(found["content"]) if found.get("content") else _of_completion(found, where)
        yield {"id": f"{name}/{choice.get('index', place)}" if several else name, **read}


def _of_chat(content: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Of the text that the model wrote."""
    row: dict[str, Any] = {
        "text": "".join(each["token"] for each in content),
        "logprobs": [each["logprob"] for each in content],
    }
    if all(each.get("top_logprobs") for each in content):
        row["top"] = [_is_top(each["logprob"], [top["logprob"] for top in each["top_logprobs"]]) for each in content]
    return row


def _of_completion(found: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Of the text that was sent, with ``echo``, and of what the model added to it."""
    tokens, values, tops = found.get("tokens"), found["token_logprobs"], found.get("top_logprobs")
    if not isinstance(tokens, list) or len(tokens) != len(values):
        raise InputError(f"{where}: 'tokens' and 'token_logprobs' must be lists of one length.")
    start = 1 if values[0] is None else 0
    if any(value is None for value in values[start:]):
        raise InputError(f"{where}: a log-probability after the first is missing.")
    row: dict[str, Any] = {"text": "".join(tokens), "logprobs": values[start:]}
    if isinstance(tops, list) and len(tops) == len(values) and all(tops[start:]):
        row["top"] = [
            _is_top(value, list(top.values())) for value, top in zip(values[start:], tops[start:], strict=True)
        ]
    return row


def _is_top(value: float, tops: Sequence[float]) -> bool:
    return value > NOT_AMONG_TOP and value >= max(tops)
