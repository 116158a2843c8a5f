"""Read a trace, and say what is missing of it. numpy only."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dpaudit.runtime import check
from dpaudit.runtime.check import FloatArray
from dpaudit.runtime.errors import InputError
from dpaudit.runtime.files import read_npz, read_text
from dpaudit.trace.manifest import Manifest, manifest_from_json

ROUND = re.compile(r"r(\d{4,7})\.npz")
LARGEST = 1e100  # of a weight: squares of anything larger could not be summed


@dataclass(frozen=True)
class Round:
    """One round of a trace.

    Args:
        number: from 0.
        before: arrays of the model that was sent.
        after: arrays of the model the server made.
        clip: of the round, when it was written.
        replies: clients that answered, when it was written.
        weights: of the updates, when they were written.
        updates: by client, where the trace shows them.
        canaries: clients that are canaries.
        average: the noisy average before the server's own step, where it was written.
    """

    number: int
    before: tuple[npt.NDArray[Any], ...]
    after: tuple[npt.NDArray[Any], ...]
    clip: float | None = None
    replies: int | None = None
    weights: FloatArray | None = None
    updates: dict[str, tuple[npt.NDArray[Any], ...]] | None = None
    canaries: tuple[str, ...] = ()
    average: tuple[npt.NDArray[Any], ...] | None = None


@dataclass(frozen=True)
class Trace:
    """A federated run as it was written down.

    Args:
        manifest: what it says of itself.
        rounds: those that are there and whole, in order.
        missing: numbers of rounds that are not there.
        damaged: numbers of rounds whose file cannot be read, with the reason.
    """

    manifest: Manifest
    rounds: tuple[Round, ...]
    missing: tuple[int, ...] = ()
    damaged: tuple[tuple[int, str], ...] = ()

    def whole(self) -> "Trace":
        """The trace itself, refused when rounds are missing: for what would be wrong without them.

        Raises:
            InputError: a round is missing or damaged; its number is named.
        """
        gone = sorted((*self.missing, *(number for number, _ in self.damaged)))
        if gone:
            raise InputError(f"the trace lacks rounds {', '.join(map(str, gone))}; this needs all of them.")
        return self

    def flat(self, arrays: tuple[npt.NDArray[Any], ...]) -> FloatArray:
        """The trained arrays as one vector, float64."""
        kept = [np.ravel(array) for array, trained in zip(arrays, self.manifest.trainable, strict=True) if trained]
        return np.asarray(np.concatenate(kept), np.float64)

    @property
    def weights(self) -> FloatArray:
        """Trained weights before each round, shape (rounds, parameters)."""
        return np.stack([self.flat(each.before) for each in self.rounds])

    @property
    def releases(self) -> FloatArray:
        """What each round added to the trained weights, shape (rounds, parameters)."""
        return np.stack([self.flat(each.after) - self.flat(each.before) for each in self.rounds])


def read_trace(folder: str | Path) -> Trace:
    """A trace from its folder; rounds that are missing or cannot be read are named in it.

    Raises:
        InputError: no folder, no readable manifest, no round at all, or a round of another model.
    """
    place = Path(folder)
    if not place.is_dir():
        raise InputError(f"cannot read {place}: a trace is a folder with manifest.json and one r0000.npz per round.")
    where = str(place / "manifest.json")
    manifest = manifest_from_json(read_text(place / "manifest.json"), where=where)
    found = {int(match[1]): path for path in place.iterdir() if (match := ROUND.fullmatch(path.name))}
    rounds, damaged = [], []
    for number in sorted(found):
        try:
            arrays = read_npz(found[number])
        except InputError as error:
            damaged.append((number, str(error)))
            continue
        rounds.append(_round(number, arrays, manifest, found[number]))
    if not rounds:
        raise InputError(f"{place} holds no readable round.")
    last = manifest.rounds if manifest.rounds is not None else max(found) + 1
    missing = tuple(number for number in range(last) if number not in found)
    return Trace(manifest, tuple(rounds), missing, tuple(damaged))


def _round(number: int, arrays: dict[str, npt.NDArray[Any]], manifest: Manifest, path: Path) -> Round:
    def model(kind: str) -> tuple[npt.NDArray[Any], ...]:
        values = []
        for i, shape in enumerate(manifest.shapes):
            value = arrays.get(f"{kind}_{i}")
            if value is None or value.shape != shape:
                got = "nothing" if value is None else f"shape {value.shape}"
                raise InputError(f"{path}: {kind}_{i} must have shape {shape}, got {got}: another model?")
            if np.abs(check.finite(f"{path}: {kind}_{i}", value)).max(initial=0.0) > LARGEST:
                raise InputError(f"{path}: {kind}_{i} holds values above {LARGEST:g}, which no trained model has.")
            values.append(value)
        return tuple(values)

    def one(name: str) -> Any:
        """A single value; None when it was not written."""
        value = arrays.get(name)
        if value is not None and value.shape != ():
            raise InputError(f"{path}: {name} must be a single value, got shape {value.shape}.")
        return None if value is None else value.item()

    def names(name: str) -> list[str]:
        value = arrays[name]
        if value.ndim != 1 or (value.size and value.dtype.kind != "U"):
            raise InputError(f"{path}: {name} must be a list of names, got {value.dtype} of shape {value.shape}.")
        return [str(each) for each in value]

    clip, replies, weights = one("clip"), one("replies"), arrays.get("weights")
    clients = names("clients") if "clients" in arrays else None
    if clients is not None and len(set(clients)) != len(clients):
        raise InputError(f"{path}: two clients have the same name.")
    return Round(
        number=number,
        before=model("before"),
        after=model("after"),
        clip=None if clip is None else check.positive(f"{path}: clip", clip),
        replies=None if replies is None else check.integer(f"{path}: replies", replies, at_least=0),
        weights=None if weights is None else _weights(f"{path}: weights", weights),
        updates=None if clients is None else {name: model(f"update{i}") for i, name in enumerate(clients)},
        canaries=tuple(names("canaries")) if "canaries" in arrays else (),
        average=model("average") if "average_0" in arrays else None,
    )


def _weights(name: str, values: npt.NDArray[Any]) -> FloatArray:
    """Weights of an average: none below 0, not all of them 0."""
    weights = check.vector(name, values, empty=True)
    if weights.size and (weights.min() < 0 or not 0 < weights.max() <= LARGEST):
        raise InputError(f"{name} must be from 0 to {LARGEST:g} and not all 0.")
    return weights
