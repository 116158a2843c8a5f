"""Tasks whose results are kept: each is stored under a hash of its work and its recipe, and never done twice."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel
from pydantic_core import to_json

from dpaudit.tasks import PROCESS_BYTES, Workers
from dpaudit.training.store import Arrays, Store, described, digest

K = TypeVar("K")
FORMAT = "tasks-1"


def kept(
    work: Callable[..., Arrays],
    recipes: Mapping[K, tuple[Any, ...]],
    *,
    store: Store,
    workers: Workers,
    done: Callable[[K], object] = lambda key: None,
    label: Callable[[K], str] = lambda key: "",
    each: int = PROCESS_BYTES,
    memory: int | None = None,
    mapped: bool = False,
) -> Iterator[tuple[K, Arrays]]:
    """Results of tasks by key: first those that are stored, then the others as they are done.

    Args:
        work: a function of a module; of a recipe alone.
        recipes: what it is called with.
        store: where results are kept.
        workers: where tasks run.
        done: called with the key of every task that was not stored, when it is.
        label: what the name of a task's file begins with, for people; the file is found without it.
        each: predicted bytes of a process that does such a task.
        memory: bytes that they may use together; None is half of what is free.
        mapped: leave the arrays of the results on disk and look at them there.
    """
    missing = {}
    for key, recipe in recipes.items():
        if (found := store.get(name_of(work, recipe), mapped=mapped)) is None:
            missing[key] = recipe
        else:
            yield key, found
    for key, arrays in workers(work, missing, each=each, memory=memory):
        name = name_of(work, recipes[key])
        store.put(name, arrays, label=label(key))
        done(key)
        yield key, store.read_back(name) if mapped else arrays


def as_text(value: BaseModel) -> npt.NDArray[np.str_]:
    """A part of a result as an array to keep: JSON, infinite values as in ``result.json``."""
    return np.array(to_json(value.model_dump(by_alias=True), inf_nan_mode="strings").decode())


def missing(work: Callable[..., Arrays], recipes: Mapping[K, tuple[Any, ...]], *, store: Store) -> list[K]:
    """Keys of the tasks whose results are not stored."""
    return [key for key, recipe in recipes.items() if not store.path(name_of(work, recipe)).exists()]


def name_of(work: Callable[..., Arrays], recipe: tuple[Any, ...]) -> str:
    """What a result is stored under.

    >>> name_of(dict, (1,)) == name_of(dict, (1,)), name_of(dict, (1,)) == name_of(dict, (2,))
    (True, False)
    """
    return digest(FORMAT, work.__module__, work.__qualname__, described(recipe))[:32]


def store_of(folder: Any) -> Store:
    """Results of this version of dpaudit in a folder."""
    from dpaudit import __version__

    return Store(folder, f"{FORMAT} of dpaudit {__version__}")


def in_order(results: Iterator[tuple[K, Arrays]], keys: Mapping[K, object]) -> Iterator[Arrays]:
    """Results in the order of their keys, each as soon as it and all before it are there."""
    early: dict[K, Arrays] = {}
    waited_for = iter(keys)
    following = next(waited_for, None)
    for key, arrays in results:
        early[key] = arrays
        while following in early:
            yield early.pop(following)
            following = next(waited_for, None)
