"""Log-probabilities from answers of an interface like OpenAI's, as they lie on disk."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, ValidationError

from dpaudit.data.token_columns import token_logprobs
from dpaudit.data.token_logprobs import NOT_AMONG_TOP, TokenLogprobs
from dpaudit.runtime.errors import InputError
from dpaudit.runtime.files import read_text
from dpaudit.runtime.first_error import first_error


class ListedToken(BaseModel):
    """One of the likeliest tokens at a place."""

    logprob: float


class WrittenToken(ListedToken):
    """A token of a chat completion."""

    token: str
    top_logprobs: list[ListedToken] | None = None


class ChoiceLogprobs(BaseModel):
    """Log-probabilities of a choice: ``content`` of a chat, the other lists of a completion."""

    content: list[WrittenToken] | None = None
    tokens: list[str] | None = None
    token_logprobs: list[float | None] | None = None
    top_logprobs: list[dict[str, float] | None] | None = None


class ResponseChoice(BaseModel):
    """One of the answers to a request."""

    index: int | None = None
    logprobs: ChoiceLogprobs | None = None


class CompletionResponse(BaseModel):
    """A response; what else it holds is not read."""

    id: str | None = None
    choices: list[ResponseChoice] = Field(min_length=1)


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
    rows = [row for where, answer in _answers(file) for row in _records(answer, where)]
    if not rows:
        raise InputError(f"{file} holds no response.")
    table: dict[str, Any] = {name: [row[name] for row in rows] for name in ("id", "text", "logprobs")}
    if all("top" in row for row in rows):
        table["top"] = [row["top"] for row in rows]
    if top_k is not None:
        table["top_k"] = [top_k] * len(rows)
    return token_logprobs({**table, **(columns or {})}, str(file))


def _answers(file: Path) -> Iterator[tuple[str, CompletionResponse]]:
    """Each response with its place, without what a batch wraps it in."""
    text = read_text(file)
    for number, given in enumerate(_listed(text, file), start=1):
        where = f"{file}, response {number}"
        if not isinstance(given, dict):
            raise InputError(f"{where}: a response must be an object, got {type(given).__name__}.")
        body: Any = given
        if "response" in given or "custom_id" in given:
            response = given.get("response")
            inner = response.get("body") if isinstance(response, dict) else None
            body = {**inner, "id": given.get("custom_id", inner.get("id"))} if isinstance(inner, dict) else {}
        if error := given.get("error") or body.get("error"):
            raise InputError(f"{where} is an error: {error}.")
        try:
            yield where, CompletionResponse.model_validate(body)
        except ValidationError as error:
            raise InputError(f"{where}: {first_error(error, CompletionResponse)}.") from error


def _listed(text: str, file: Path) -> list[Any]:
    """The values of a JSON file, or of its lines."""
    try:
        whole = json.loads(text)
    except (ValueError, RecursionError):
        found = []
        for number, line in enumerate(text.splitlines(), start=1):
            if line.strip():
                try:
                    found.append(json.loads(line))
                except (ValueError, RecursionError) as error:
                    raise InputError(f"{file}, line {number}: no JSON ({error}).") from error
        return found
    return whole if isinstance(whole, list) else [whole]


def _records(answer: CompletionResponse, where: str) -> Iterator[dict[str, Any]]:
    for place, choice in enumerate(answer.choices):
        found = choice.logprobs
        if found is None or not (found.content or found.token_logprobs):
            raise InputError(
                f"{where} has no log-probabilities: ask for them with logprobs (and echo for completions)."
            )
        name = answer.id or where
        number = place if choice.index is None else choice.index
        read = _of_chat(found.content) if found.content else _of_completion(found, where)
        yield {"id": f"{name}/{number}" if len(answer.choices) > 1 else name, **read}


def _of_chat(content: Sequence[WrittenToken]) -> dict[str, Any]:
    """Of the text that the model wrote."""
    row: dict[str, Any] = {
        "text": "".join(each.token for each in content),
        "logprobs": [each.logprob for each in content],
    }
    if all(each.top_logprobs for each in content):
        row["top"] = [_is_top(each.logprob, [top.logprob for top in each.top_logprobs or ()]) for each in content]
    return row


def _of_completion(found: ChoiceLogprobs, where: str) -> dict[str, Any]:
    """Of the text that was sent, with ``echo``, and of what the model added to it."""
    tokens, values = found.tokens or [], found.token_logprobs or []
    if len(tokens) != len(values):
        raise InputError(f"{where}: 'tokens' and 'token_logprobs' must be lists of one length.")
    start = 1 if values[0] is None else 0
    known = [value for value in values[start:] if value is not None]
    if len(known) < len(values) - start:
        raise InputError(f"{where}: a log-probability after the first is missing.")
    row: dict[str, Any] = {"text": "".join(tokens), "logprobs": known}
    tops = (found.top_logprobs or [])[start:]
    if len(tops) == len(known) and all(tops):
        row["top"] = [_is_top(value, list((top or {}).values())) for value, top in zip(known, tops, strict=True)]
    return row


def _is_top(value: float, tops: Sequence[float]) -> bool:
    return value > NOT_AMONG_TOP and value >= max(tops)
