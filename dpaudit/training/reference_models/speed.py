"""How fast a recipe trains on this machine: measured on the very program, with few epochs, and remembered."""

import logging
import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from dpaudit.data.dataset import Dataset
from dpaudit.runtime.check import BoolArray
from dpaudit.runtime.errors import InputError
from dpaudit.runtime.jobs import cores
from dpaudit.runtime.machine import versions_of
from dpaudit.runtime.took import Took, hearing_epochs, result_of, timed
from dpaudit.training.capabilities import ByEpochs
from dpaudit.training.reference_models.store import Store, describe_value, digest

M = TypeVar("M")
logger = logging.getLogger(__name__)

LONG_ENOUGH = 0.2  # seconds of training that a speed is read from
MOST_EPOCHS = 1000
SAMPLE, SAMPLED_BATCHES = 2000, 12  # records that are trained on to see how fast; at least so many batches
VERSIONS = ("dpaudit", "numpy", "tensorflow", "tf-keras", "tensorflow-privacy")


@dataclass(frozen=True)
class Speed:
    """What a training takes, as a line in its epochs.

    Args:
        once: tracing and compiling, once in a process.
        call: each time, whatever the epochs and the records: building the model.
        epoch: of all models trained together.
        predict: of all of them, on all records.
    """

    once: Took
    call: Took
    epoch: Took
    predict: Took

    def took(self, epochs: int, *, calls: int = 1) -> Took:
        """Of so many calls in one process, with predictions.

        >>> Speed(Took(2.0, 2.0), Took(0.5, 0.5), Took(0.5, 1.0), Took(0.5, 0.5)).took(10, calls=2)
        Took(wall=14.0, cpu=24.0)
        """
        return self.once + (self.call + self.epoch * epochs + self.predict) * calls if calls else Took()

    def of_records(self, scale: float) -> "Speed":
        """The same with so many times more records."""
        return replace(self, epoch=self.epoch * scale, predict=self.predict * scale)


def measure_training(
    train: Callable[[int], M], predict: Callable[[M], object], *what: object, folder: Path | None = None
) -> Speed:
    """Measure a training, or read what an earlier measurement on this machine with the same versions found.

    Args:
        train: trains for a number of epochs and returns the models.
        predict: asks them about all records.
        what: all that the speed depends on but the machine and the versions.
        folder: where measurements are kept; None is `cache_folder`.
    """
    return Speed(*_remembered(lambda: _measured(train, predict), what, folder))


def measure_alone(
    train: Callable[[int], M], predict: Callable[[M], object], *what: object, epochs: int, folder: Path | None = None
) -> Speed:
    """The same of a training that says when its epochs end: one of so many is enough."""
    return Speed(*_remembered(lambda: _heard(train, predict, epochs) or _measured(train, predict), what, folder))


def measured_once(work: Callable[[], object], *what: object, folder: Path | None = None) -> Took:
    """What any work takes the first time, kept like `measure_training`."""
    return _remembered(lambda: [timed(work)], what, folder)[0]


def measured_twice(work: Callable[[], object], *what: object, folder: Path | None = None) -> tuple[Took, Took]:
    """What any work takes the first time, with what is traced for it, and when it is repeated; kept likewise."""
    first, again = _remembered(lambda: [timed(work), timed(work)], what, folder)
    return first, again


def speed_of(trainer: ByEpochs) -> str:
    """What the speed of a trainer depends on: not its length, how much noise it adds, nor its learning rate.

    >>> from dpaudit.training.architecture import Mlp
    >>> from dpaudit.training.dp_sgd import DpSgd
    >>> loud, quiet = (DpSgd(Mlp(), noise_multiplier=noise) for noise in (2.0, 0.5))
    >>> speed_of(loud) == speed_of(quiet), speed_of(loud) == speed_of(DpSgd(Mlp(), noise_multiplier=0.0))
    (True, False)
    """
    short: Any = trainer.with_epochs(1)
    if is_dataclass(short) and not isinstance(short, type):
        have = {field.name: getattr(short, field.name) for field in fields(short)}
        same = {name: 1.0 for name in ("noise_multiplier", "learning_rate") if isinstance(have.get(name), float)}
        short = replace(short, **{name: value for name, value in same.items() if have[name] > 0})
    return describe_value(short)


@dataclass(frozen=True)
class Sample:
    """Some of the records, to time a training on.

    Args:
        dataset: those.
        rows: which of all they are, shape (records of the sample,).
        scale: how many times more there are.
    """

    dataset: Dataset
    rows: Any
    scale: float

    @classmethod
    def of(cls, trainer: object, dataset: Dataset, included: BoolArray) -> "Sample":
        """At most `SAMPLE` records, or what some batches need; all where owners would be torn from their records.

        Args:
            trainer: whose batches they are for.
            dataset: all records.
            included: who is trained on, shape (records,).
        """
        batch = getattr(trainer, "batch_size", 1)
        wanted = max(SAMPLE, SAMPLED_BATCHES * (batch if isinstance(batch, int) else 1))
        if wanted >= len(dataset) or hasattr(trainer, "rounds"):
            return cls(dataset, np.arange(len(dataset)), 1.0)
        share = wanted / len(dataset)
        sides = [np.flatnonzero(included == side) for side in (True, False)]
        rows = np.sort(np.concatenate([side[: -int(-share * side.size // 1)] for side in sides]))
        return cls(dataset.take(rows), rows, len(dataset) / len(rows))


def _remembered(measure: Callable[[], Sequence[Took]], what: object, folder: Path | None) -> list[Took]:
    store = Store(folder or cache_folder(), "speed-2")
    key = digest(this_machine(), what)[:32]
    if (found := store.get(key)) is not None:
        return [Took(float(wall), float(cpu)) for wall, cpu in found["took"]]
    parts = list(measure())
    try:
        store.put(key, {"took": np.array([(part.wall, part.cpu) for part in parts])})
    except InputError as error:
        logger.warning("what was measured is not kept: %s", error)
    return parts


def cache_folder() -> Path:
    """The user's folder for what can be made again."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dpaudit"


def _measured(train: Callable[[int], M], predict: Callable[[M], object]) -> list[Took]:
    models, first = result_of(partial(train, 1))  # whatever is imported and compiled for it falls in here
    asked = timed(partial(predict, models))
    short = timed(partial(train, 1))
    epochs = int(np.clip(LONG_ENOUGH / max(short.cpu, 1e-3), 3, MOST_EPOCHS))
    epoch = timed(partial(train, epochs)).less(short) * (1 / (epochs - 1))
    return [first.less(short), short.less(epoch), epoch, asked]


def _heard(train: Callable[[int], M], predict: Callable[[M], object], epochs: int) -> list[Took]:
    """Of one training; nothing of one whose epochs are not heard."""
    with hearing_epochs() as ends:
        models, whole = result_of(partial(train, epochs))
    if len(ends) < 2:
        return []
    each = [after.less(before) for before, after in pairwise(ends)]
    epoch = sorted(each, key=lambda took: took.cpu)[(len(each) - 1) // 2]  # of another shape a program is traced anew
    return [Took(), whole.less(epoch * len(ends)), epoch, timed(partial(predict, models))]


def this_machine() -> tuple[object, ...]:
    """What a measured speed depends on: processor, cores and versions."""
    processor = Path("/proc/cpuinfo")
    model = platform.processor()
    if processor.exists():
        lines: list[str] = processor.read_text(encoding="utf-8").splitlines()
        model = next((line for line in lines if line.startswith("model name")), model)
    return model, cores(), *versions_of(VERSIONS).values()
