"""A TensorFlow Federated training loop that writes a trace.

Any learning process will do (``build_weighted_fed_avg``, ``build_unweighted_fed_avg`` with a DP aggregator ...)::

    with trace_writer(process, state, "trace", dp_claim=claim) as writer:
        state = train(process, state, batches_of_round, rounds=50, writer=writer)

Nothing of TensorFlow Federated is imported here: the process is handed in.
"""

from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from dpaudit.runtime import check
from dpaudit.runtime.errors import InputError
from dpaudit.trace import DpClaim, Manifest, ServerStep, TraceWriter


def trace_writer(
    process: Any,
    state: Any,
    folder: str | Path,
    *,
    dp_claim: DpClaim | None = None,
    metrics: Sequence[str] = (),
    server: ServerStep | None = None,
) -> TraceWriter:
    """A trace for the model of a learning process.

    Args:
        process: has ``next`` and ``get_model_weights``, as ``tff.learning.templates.LearningProcess``.
        state: its state, to see the model's shapes.
        folder: new or empty folder.
        dp_claim: what the federation claims.
        metrics: names of metrics that are released beside the model.
        server: the process's server optimizer, which the process itself does not tell: that of
            ``build_unweighted_fed_avg`` is ``ServerStep()`` unless another is given.
    """
    arrays, trainable = model_arrays(process, state)
    try:
        version = f"tensorflow-federated {metadata.version('tensorflow-federated')}"
    except metadata.PackageNotFoundError:
        version = "a process with the interface of tensorflow-federated"
    return TraceWriter(
        folder,
        Manifest(
            weight_names=[f"{'trainable' if flag else 'non_trainable'}/{i}" for i, flag in enumerate(trainable)],
            shapes=[array.shape for array in arrays],
            framework=version,
            trainable=trainable,
            dp_claim=dp_claim,
            metrics=metrics,
            server=server,
        ),
    )


def train(
    process: Any, state: Any, clients: Callable[[int], Sequence[Any]], *, rounds: int, writer: TraceWriter
) -> Any:
    """Run rounds of a learning process and write each; returns the last state.

    Args:
        process: the learning process.
        state: where it starts.
        clients: round number -> the data of the clients of that round.
        rounds: how many.
        writer: of the trace.
    """
    check.integer("rounds", rounds, at_least=1)
    for number in range(rounds):
        data = clients(number)
        if not data:
            raise InputError(f"round {number} has no clients; the process cannot run it.")
        before, _ = model_arrays(process, state)
        state = process.next(state, list(data)).state
        after, _ = model_arrays(process, state)
        writer.round(before=before, after=after, replies=len(data))
    return state


def model_arrays(process: Any, state: Any) -> tuple[list[Any], list[bool]]:
    """Arrays of the process's model, trained ones first, and which they are."""
    weights = process.get_model_weights(state)
    trained, rest = (_leaves(part) for part in (weights.trainable, weights.non_trainable))
    return [*trained, *rest], [True] * len(trained) + [False] * len(rest)


def _leaves(part: Any) -> list[Any]:
    values = part.values() if hasattr(part, "values") else part
    return [np.array(value) for value in values]
