"""How fast a recipe trains on this machine: measured on the very program, with few epochs, and remembered."""

import logging
import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from dpaudit.runtime.errors import InputError
from dpaudit.runtime.jobs import cores
from dpaudit.runtime.machine import versions_of
from dpaudit.training.reference_models.store import Store, digest

logger = logging.getLogger(__name__)

LONG_ENOUGH = 1.5  # seconds of training that a speed is read from
MOST_EPOCHS = 10_000
VERSIONS = ("dpaudit", "numpy", "tensorflow", "tf-keras", "tensorflow-privacy")


@dataclass(frozen=True)
class Speed:
    """Seconds that a training takes, as a line in its epochs.

    Args:
        once: tracing and compiling, once in a process.
        call: each time, whatever the epochs: preparing the records, predicting.
        epoch: of all models trained together.
    """

    once: float
    call: float
    epoch: float

    def seconds(self, epochs: int, *, calls: int = 1) -> float:
        """Of so many calls in one process.

        >>> Speed(2.0, 1.0, 0.5).seconds(10, calls=2)
        14.0
        """
        return self.once + calls * (self.call + epochs * self.epoch) if calls else 0.0


def measure_training(train: Callable[[int], object], *what: object, folder: Path | None = None) -> Speed:
    """Measure a training, or read what an earlier measurement on this machine with the same versions found.

    Args:
        train: trains for a number of epochs.
        what: all that the speed depends on but the machine and the versions.
        folder: where measurements are kept; None is `cache_folder`.
    """
    once, call, epoch = _remembered(lambda: _measured(train), what, folder)
    return Speed(once, call, epoch)


def measured_once(work: Callable[[], object], *what: object, warm: bool = False, folder: Path | None = None) -> float:
    """Seconds of any work, kept like `measure_training`; timed after one run to warm up, unless it is ``warm``."""

    def timed() -> list[float]:
        if not warm:
            work()
        return [_seconds(work)]

    return _remembered(timed, what, folder)[0]


def _remembered(measure: Callable[[], Sequence[float]], what: object, folder: Path | None) -> list[float]:
    store = Store(folder or cache_folder(), "speed-1")
    key = digest(this_machine(), what)[:32]
    if (found := store.get(key)) is not None:
        return [float(value) for value in found["seconds"]]
    seconds = list(measure())
    try:
        store.put(key, {"seconds": np.array(seconds)})
    except InputError as error:
        logger.warning("what was measured is not kept: %s", error)
    return seconds


def cache_folder() -> Path:
    """The user's folder for what can be made again."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dpaudit"


def _measured(train: Callable[[int], object]) -> tuple[float, float, float]:
    train(1)  # whatever is imported and compiled for it falls in here
    short = _seconds(partial(train, 1))
    epochs = int(np.clip(LONG_ENOUGH / max(short, 1e-3), 4, MOST_EPOCHS))
    first, again = _seconds(partial(train, epochs)), _seconds(partial(train, epochs))
    epoch = max(again - short, 0.0) / (epochs - 1)
    return max(first - again, 0.0), max(again - epochs * epoch, 0.0), epoch


def _seconds(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def this_machine() -> tuple[object, ...]:
    """What a measured speed depends on: processor, cores and versions."""
    processor = Path("/proc/cpuinfo")
    model = platform.processor()
    if processor.exists():
        lines: list[str] = processor.read_text(encoding="utf-8").splitlines()
        model = next((line for line in lines if line.startswith("model name")), model)
    return model, cores(), *versions_of(VERSIONS).values()
