"""Who was in the batch of each step: record numbers taken from a loader of PyTorch while it trains."""

from collections.abc import Iterator, Sized
from pathlib import Path
from typing import Any

import numpy as np

from dpaudit.accounting.claim import GaussianSteps
from dpaudit.inspection.recorded import RecordedBatches
from dpaudit.inspection.step_trace import write_steps
from dpaudit.runtime.check import IntArray
from dpaudit.runtime.errors import InputError


class RecordedLoader:
    """Keeps what a loader's batch sampler draws, and which of it each step of the optimizer used.

    A loader draws ahead of the training, so a batch counts once its step is taken::

        recorded = RecordedLoader(loader)
        for features, targets in loader:
            ...
            optimizer.step()
            recorded.step()
        recorded.write("steps.npz", accounted=GaussianSteps(1.0, 500, Poisson(0.01)))

    Then ``dpaudit inspect steps.npz`` compares who took part with what was accounted.

    Args:
        loader: a ``DataLoader`` over a data set with a length, of one process; it is changed so that it records.

    Raises:
        InputError: it draws from a stream, whose records have no numbers.
    """

    def __init__(self, loader: Any) -> None:
        loader = getattr(loader, "base_dataloader", loader)  # the one that a loader of accelerate goes around
        sampler, data = getattr(loader, "batch_sampler", None), getattr(loader, "dataset", None)
        if sampler is None or not isinstance(data, Sized):
            raise InputError("the loader draws from a stream, whose records have no numbers; give it a data set.")
        self.records = len(data)
        self.steps: list[IntArray] = []
        self._ahead: list[IntArray] = []
        # A DataLoader refuses this assignment, because its workers would not notice; nothing has started yet.
        object.__setattr__(loader, "batch_sampler", _Recording(sampler, self))

    def step(self, batches: int = 1) -> None:
        """Count the next batch, or so many accumulated ones, as those of one step.

        Raises:
            InputError: the loader has not drawn them: it is not the one that was trained with.
        """
        if batches > len(self._ahead):
            raise InputError(
                f"a step was taken on {batches} batch(es), and the recorded loader had drawn {len(self._ahead)} more: "
                "train with the loader that is recorded."
            )
        taken, self._ahead = self._ahead[:batches], self._ahead[batches:]
        self.steps.append(np.concatenate(taken) if taken else np.zeros(0, np.int64))

    def recorded(self, *, accounted_steps: int | None = None) -> RecordedBatches:
        """The steps so far, for `dpaudit.inspection.participation.inspect_participation`."""
        return RecordedBatches(self.records, self.steps, accounted_steps=accounted_steps)

    def write(self, path: str | Path, *, accounted: GaussianSteps | None = None) -> None:
        """Write the steps so far, for ``dpaudit inspect PATH``."""
        write_steps(path, self.recorded(), accounted)

    def start_again(self) -> None:
        """Forget what was drawn ahead: a new pass over the loader begins."""
        self._ahead = []

    def draw(self, batch: Any) -> None:
        """Keep a batch that was drawn."""
        self._ahead.append(np.asarray(batch, np.int64).reshape(-1))


class _Recording:
    """A batch sampler that tells what it draws; all else is the sampler's own."""

    def __init__(self, sampler: Any, recorded: RecordedLoader) -> None:
        self._sampler, self._recorded = sampler, recorded

    def __iter__(self) -> Iterator[Any]:
        self._recorded.start_again()
        for batch in self._sampler:
            self._recorded.draw(batch)
            yield batch

    def __len__(self) -> int:
        return len(self._sampler)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_sampler"], name)
