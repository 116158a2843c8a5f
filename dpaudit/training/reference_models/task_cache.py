"""Tasks whose results are kept: each is stored under a hash of the task, and never done twice.

A task is a frozen dataclass: its fields are all that it depends on, and calling it does the work. What it gives is a
frozen dataclass too, of arrays, arrays by name, and models of pydantic; `encode_result` and `decode_result` are its one
way into a file and back.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from typing import Any, Protocol, TypeVar, get_args, get_origin, get_type_hints

import numpy as np
from pydantic import BaseModel
from pydantic_core import to_json

from dpaudit.runtime.jobs import PROCESS_BYTES, Workers
from dpaudit.training.reference_models.store import NamedArrays, Store, describe_value, digest

K = TypeVar("K")
V = TypeVar("V")
V_co = TypeVar("V_co", covariant=True)
FORMAT = "tasks-2"


class CachedTask(Protocol[V_co]):
    """Work that depends on the fields of a frozen dataclass alone, and may be done anywhere."""

    def __call__(self) -> V_co:
        """Do it."""
        ...


def run_cached(
    tasks: Mapping[K, CachedTask[V]],
    kind: type[V],
    *,
    store: Store,
    workers: Workers,
    done: Callable[[K], object] = lambda key: None,
    label: Callable[[K], str] = lambda key: "",
    each: int = PROCESS_BYTES,
    memory: int | None = None,
    mapped: bool = False,
) -> Iterator[tuple[K, V]]:
    """Results of tasks by key: first those that are stored, then the others as they are done.

    Args:
        tasks: by key.
        kind: what all of them give, a dataclass that `encode_result` takes.
        store: where results are kept.
        workers: where tasks run.
        done: called with the key of every task that was not stored, when it is.
        label: what the name of a task's file begins with, for people; the file is found without it.
        each: predicted bytes of a process that does such a task.
        memory: bytes that they may use together; None is half of what is free.
        mapped: leave the arrays of the results on disk and look at them there.
    """
    left = {}
    for key, task in tasks.items():
        if (found := store.get(name_of(task), mapped=mapped)) is None:
            left[key] = (task,)
        else:
            yield key, decode_result(kind, found)
    for key, value in workers(_done, left, each=each, memory=memory):
        name = name_of(tasks[key])
        store.put(name, encode_result(value), label=label(key))
        done(key)
        yield key, decode_result(kind, store.read_back(name)) if mapped else value


def missing(tasks: Mapping[K, CachedTask[object]], *, store: Store) -> list[K]:
    """Keys of the tasks whose results are not stored."""
    return [key for key, task in tasks.items() if not store.path(name_of(task)).exists()]


def name_of(task: CachedTask[object]) -> str:
    """What a result is stored under."""
    return digest(FORMAT, type(task).__module__, describe_value(task))[:32]


def encode_result(value: Any) -> NamedArrays:
    """The fields of a dataclass as arrays to store; a field that is None is left out.

    An array is stored as it is, a dictionary of arrays under ``field/name``, and a model of pydantic as JSON with
    infinite values as in ``result.json``.
    """
    arrays: NamedArrays = {}
    for field in fields(value):
        part = getattr(value, field.name)
        if isinstance(part, BaseModel):
            text = to_json(part.model_dump(by_alias=True), inf_nan_mode="strings").decode()
            arrays[field.name] = np.array(text)
        elif isinstance(part, dict):
            arrays.update({f"{field.name}/{name}": array for name, array in part.items()})
        elif part is not None:
            arrays[field.name] = part
    return arrays


def decode_result(kind: type[V], arrays: NamedArrays) -> V:
    """The dataclass that `encode_result` made arrays of.

    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True)
    ... class Scored:
    ...     scores: np.ndarray
    ...     weights: dict[str, np.ndarray]
    ...     note: np.ndarray | None = None
    >>> decode_result(Scored, encode_result(Scored(np.ones(2), {"kernel": np.zeros(1)})))
    Scored(scores=array([1., 1.]), weights={'kernel': array([0.])}, note=None)
    """
    values: dict[str, Any] = {}
    for name, hint in get_type_hints(kind).items():
        model = next((each for each in (hint, *get_args(hint)) if hasattr(each, "model_validate_json")), None)
        if model is not None:
            values[name] = model.model_validate_json(str(arrays[name])) if name in arrays else None
        elif get_origin(hint) is dict:
            inside = f"{name}/"
            values[name] = {key.removeprefix(inside): array for key, array in arrays.items() if key.startswith(inside)}
        else:
            values[name] = arrays.get(name)
    return kind(**values)


def store_of(folder: Any) -> Store:
    """Results of this version of dpaudit in a folder."""
    from dpaudit import __version__

    return Store(folder, f"{FORMAT} of dpaudit {__version__}")


def in_order(results: Iterator[tuple[K, V]], keys: Mapping[K, object]) -> Iterator[V]:
    """Results in the order of their keys, each as soon as it and all before it are there."""
    early: dict[K, V] = {}
    waited_for = iter(keys)
    following = next(waited_for, None)
    for key, value in results:
        early[key] = value
        while following in early:
            yield early.pop(following)
            following = next(waited_for, None)


def _done(task: CachedTask[V]) -> V:
    return task()
