"""Write a federation of our own as a trace: the same folder that Flower or any other server loop leaves."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dpaudit.engine.network import Network
from dpaudit.trace import DpClaim, Manifest, ServerStep, TraceWriter
from dpaudit.training.federated.simulation import Moment, Observer

Float32Array = npt.NDArray[np.float32]


def trace_writer(
    network: Network, folder: str | Path, *, dp_claim: DpClaim | None = None, capture_updates: bool = False
) -> TraceWriter:
    """A trace for a network; ``capture_updates`` says whether its reader sees every client."""
    return TraceWriter(
        folder,
        Manifest(
            weight_names=[variable.name for variable in network.variables],
            shapes=[variable.shape for variable in network.variables],
            trainable=[variable.trainable for variable in network.variables],
            framework="dpaudit",
            dp_claim=dp_claim,
            threat_model="updates" if capture_updates else "sum",
            architecture=network.model.to_json(),
            server=ServerStep(),
        ),
    )


def record_rounds(writer: TraceWriter, network: Network, *, capture_updates: bool = False) -> Observer:
    """An observer for `simulate` that writes the rounds of its first federation; the server must be plain FedAvg."""
    position = {variable: k for k, variable in enumerate(network.trainable)}

    def everything(moved: Sequence[Float32Array], before: Sequence[Float32Array]) -> list[Float32Array]:
        return [moved[position[i]] if i in position else np.zeros_like(old) for i, old in enumerate(before)]

    def observe(moment: Moment) -> None:
        if moment.federation != 0:
            return
        step = everything(moment.mean, moment.before) if moment.mean is not None else None
        writer.round(
            before=moment.before,
            after=moment.before if step is None else [a + b for a, b in zip(moment.before, step, strict=True)],
            clip=moment.entry.clip,
            replies=len(moment.clients),
            weights=[1.0] * len(moment.clients),
            updates={
                str(client): everything([update[i] for update in moment.updates], moment.before)
                for i, client in enumerate(moment.clients)
            }
            if capture_updates
            else None,
        )

    return observe
