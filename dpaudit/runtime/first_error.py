"""What is wrong with a table that a user wrote, in one line: a plan, a file of claims, a result."""

from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from dpaudit.runtime import check

LONGEST = 80  # of a value that is shown


def first_error(error: ValidationError, model: type[BaseModel]) -> str:
    """The first problem of a validation: where, what, and the nearest known key.

    Args:
        error: of validating ``model``.
        model: of the whole table.

    >>> class Table(BaseModel, extra="forbid"):
    ...     epochs: int = 1
    >>> try:
    ...     Table.model_validate({"epoch": 2})
    ... except ValidationError as error:
    ...     first_error(error, Table)
    "epoch: this key is not known; known are epochs. Did you mean 'epochs'?"
    """
    # An unknown key says more than the missing one it was meant to be.
    problem = min(error.errors(), key=lambda each: each["type"] != "extra_forbidden")
    place = ".".join(str(part) for part in problem["loc"]) or "the whole"
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if problem["type"] == "extra_forbidden":
        known = _keys_at(model, problem["loc"][:-1])
        hint = check.nearest(str(problem["loc"][-1]), known)
        return f"{place}: this key is not known; known are {', '.join(known)}.{hint}{more}"
    if problem["type"] == "missing":
        return f"{place}: this key is missing.{more}"
    message = problem["msg"].removeprefix("Value error, ").rstrip(".")
    simple = isinstance(problem["input"], str | int | float)
    shown = f", got {repr(problem['input'])[:LONGEST]}" if simple and "got " not in message else ""
    return f"{place}: {message[0].lower()}{message[1:]}{shown}.{more}"


def _keys_at(model: type[BaseModel], place: tuple[int | str, ...]) -> list[str]:
    """Known keys of the table at a place; of tables that are told apart by their kind the place names it."""
    tables = [model]
    for part in place:
        if isinstance(part, int):
            continue
        of_kind = [table for table in tables if part in _kinds(table)]
        fields = [field for table in tables for key, field in table.model_fields.items() if part in (key, field.alias)]
        tables = of_kind or [table for field in fields for table in _tables(field.annotation)]
        if not tables:
            return []
    return [field.alias or key for key, field in tables[0].model_fields.items()]


def _kinds(table: type[BaseModel]) -> tuple[Any, ...]:
    return get_args(table.model_fields["kind"].annotation) if "kind" in table.model_fields else ()


def _tables(annotation: Any) -> list[type[BaseModel]]:
    """Every model inside an annotation."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [table for part in get_args(annotation) for table in _tables(part)]
