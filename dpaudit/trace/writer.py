"""Write a trace from any server loop. numpy only."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dpaudit.runtime import check
from dpaudit.runtime.errors import InputError
from dpaudit.runtime.files import write_npz, write_text
from dpaudit.trace.manifest import Manifest

ArraySequence = Sequence[npt.NDArray[Any]]


class TraceWriter:
    """Writes ``manifest.json`` at once and one NPZ file after every round, each whole or not at all.

    >>> import tempfile
    >>> manifest = Manifest(framework="my own loop", weight_names=["w"], shapes=[(2,)])
    >>> writer = TraceWriter(Path(tempfile.mkdtemp()) / "trace", manifest)
    >>> writer.round(before=[np.zeros(2)], after=[np.ones(2)], replies=3)
    >>> writer.close()
    """

    def __init__(self, folder: str | Path, manifest: Manifest) -> None:
        """Open a trace.

        Args:
            folder: a new or empty folder.
            manifest: what is recorded; its number of rounds is written at the end.

        Raises:
            InputError: the folder holds something already.
        """
        self.folder = Path(folder)
        if self.folder.exists() and any(self.folder.iterdir()):
            raise InputError(f"{self.folder} is not empty; a trace needs a folder of its own.")
        self.manifest = manifest
        self.rounds = 0
        write_text(self.folder / "manifest.json", self.manifest.json())

    def round(
        self,
        *,
        before: ArraySequence,
        after: ArraySequence,
        clip: float | None = None,
        replies: int | None = None,
        weights: Sequence[float] | None = None,
        updates: Mapping[str, ArraySequence] | None = None,
        canaries: Sequence[str] = (),
        average: ArraySequence | None = None,
    ) -> None:
        """Write one round; rounds are numbered in the order of the calls.

        Args:
            before: the model that was sent.
            after: the model the server made of the answers.
            clip: of this round.
            replies: clients that answered.
            weights: of their updates in the average, shape (replies,).
            updates: what each client sent (weights after minus before), by client; only where the reader may see it.
            canaries: which of those clients are canaries.
            average: the noisy average before the server's own step, where that is more than adding it.
        """
        arrays: dict[str, npt.NDArray[Any]] = {}
        for kind, values in (("before", before), ("after", after)):
            arrays |= self._named(kind, values)
        if clip is not None:
            arrays["clip"] = np.array(check.positive("clip", clip))
        if replies is not None:
            arrays["replies"] = np.array(check.integer("replies", replies, at_least=0))
        if weights is not None:
            arrays["weights"] = check.vector("weights", np.asarray(weights), empty=True)
        if updates is not None:
            arrays["clients"] = np.array(list(updates), str)
            for position, own in enumerate(updates.values()):
                arrays |= self._named(f"update{position}", own)
        if average is not None:
            arrays |= self._named("average", average)
        if canaries:
            arrays["canaries"] = np.array(list(canaries), str)
        write_npz(self.folder / f"r{self.rounds:04d}.npz", arrays)
        self.rounds += 1

    def close(self) -> None:
        """Say in the manifest how many rounds there were, so that a reader can tell a trace that was cut short."""
        write_text(self.folder / "manifest.json", replace(self.manifest, rounds=self.rounds).json())

    def __enter__(self) -> "TraceWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if kind is None:
            self.close()

    def _named(self, kind: str, values: ArraySequence) -> dict[str, npt.NDArray[Any]]:
        shapes = tuple(np.shape(value) for value in values)
        if shapes != self.manifest.shapes:
            raise InputError(f"{kind} of round {self.rounds} has shapes {shapes}, the model {self.manifest.shapes}.")
        return {f"{kind}_{i}": np.asarray(value) for i, value in enumerate(values)}
