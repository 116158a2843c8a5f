"""A Flower strategy that writes a trace, and a client mod that answers as a canary (Flower 1.20 and later).

``AuditStrategy`` goes around everything else, a differential-privacy wrapper included, and sees what is released::

    strategy = AuditStrategy(DifferentialPrivacyServerSideFixedClipping(FedAvg(), 1.0, 0.5, 20), "trace", dp_claim=...)
    strategy.start(grid, initial_arrays, num_rounds=50)

``canary_mod`` is the last to touch what a canary client trained, so it comes after it and before any clipping mod::

    app = ClientApp(mods=[fixedclipping_mod, canary_mod(seed=1, canaries=range(20), norm=0.5)])
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dpaudit.integrations.canaries import canary_model
from dpaudit.runtime.errors import InputError, MissingDependency
from dpaudit.trace import DpClaim, Manifest, ServerStep, TraceWriter

try:
    from flwr.common import Array, ArrayRecord, MessageType
    from flwr.serverapp.strategy import Strategy
except ImportError as error:
    raise MissingDependency("this needs Flower: pip install 'flwr>=1.20'") from error


class AuditStrategy(Strategy):  # type: ignore[misc]  # Flower is not installed where types are checked
    """Any strategy, with every round written to a trace.

    Args:
        inner: the strategy that does the work.
        folder: new or empty folder of the trace.
        dp_claim: what the federation claims.
        capture_updates: whether each client's update is written too: only where the reader of the trace may see them.
        weighted_by: metric that FedAvg weighs clients with; None when the inner strategy counts everyone once.
        metrics: names of metrics that are released beside the model.
        canaries: number of canary clients.
        server: what the inner strategy does with the average; None takes it from Flower's own strategies.
    """

    def __init__(
        self,
        inner: Any,
        folder: str | Path,
        *,
        dp_claim: DpClaim | None = None,
        capture_updates: bool = False,
        weighted_by: str | None = "num-examples",
        metrics: Sequence[str] = (),
        canaries: int = 0,
        server: ServerStep | None = None,
    ) -> None:
        self.inner = inner
        self.server = server if server is not None else server_step(inner)
        self.folder = Path(folder)
        self.dp_claim = dp_claim
        self.capture_updates = capture_updates
        self.weighted_by = weighted_by
        self.metrics = tuple(metrics)
        self.canaries = canaries
        self.writer: TraceWriter | None = None
        self.sent: Any = None

    def configure_train(self, server_round: int, arrays: Any, config: Any, grid: Any) -> Iterable[Any]:
        """Remember the model that is sent."""
        self.sent = ArrayRecord({name: Array(array.numpy().copy()) for name, array in arrays.items()})
        if self.writer is None:
            self.writer = self._open()
        messages: Iterable[Any] = self.inner.configure_train(server_round, arrays, config, grid)
        return messages

    def aggregate_train(self, server_round: int, replies: Iterable[Any]) -> tuple[Any, Any]:
        """Let the inner strategy aggregate, and write what went in and what came out."""
        answers = list(replies)
        # Wrappers clip the replies in place, so what the clients sent is copied before.
        good = [message for message in answers if not message.has_error()]
        before = self.sent.to_numpy_ndarrays()
        updates = {str(message.metadata.src_node_id): self._update(message, before) for message in good}
        weights = [self._weight(message) for message in good]
        arrays, metrics = self.inner.aggregate_train(server_round, answers)
        if self.writer is None:
            raise InputError("aggregate_train was called before configure_train; nothing is known of the model.")
        self.writer.round(
            before=before,
            after=before if arrays is None else arrays.to_numpy_ndarrays(),
            clip=getattr(self.inner, "clipping_norm", None),
            replies=len(good),
            weights=weights if good else None,
            updates=updates if self.capture_updates else None,
        )
        return arrays, metrics

    def configure_evaluate(self, server_round: int, arrays: Any, config: Any, grid: Any) -> Iterable[Any]:
        """As the inner strategy does."""
        messages: Iterable[Any] = self.inner.configure_evaluate(server_round, arrays, config, grid)
        return messages

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Any]) -> Any:
        """As the inner strategy does."""
        return self.inner.aggregate_evaluate(server_round, replies)

    def summary(self) -> None:
        """As the inner strategy does."""
        self.inner.summary()

    def start(self, *arguments: Any, **settings: Any) -> Any:
        """Flower's own loop; the trace is closed when it ends well."""
        result = super().start(*arguments, **settings)
        if self.writer is not None:
            self.writer.close()
        return result

    def _open(self) -> TraceWriter:
        import flwr

        return TraceWriter(
            self.folder,
            Manifest(
                weight_names=list(self.sent),
                shapes=[array.shape for array in self.sent.to_numpy_ndarrays()],
                framework=f"flower {flwr.__version__}",
                dp_claim=self.dp_claim,
                threat_model="updates" if self.capture_updates else "sum",
                metrics=self.metrics,
                canaries=self.canaries,
                server=self.server,
            ),
        )

    def _update(self, message: Any, before: Sequence[Any]) -> list[Any]:
        after = only_arrays(message).to_numpy_ndarrays()
        return [np.array(new) - old for new, old in zip(after, before, strict=True)]

    def _weight(self, message: Any) -> float:
        if self.weighted_by is None:
            return 1.0
        for record in message.content.metric_records.values():
            if self.weighted_by in record:
                return float(record[self.weighted_by])
        raise InputError(f"a reply has no metric {self.weighted_by!r}, by which the strategy is said to weigh clients.")


def server_step(strategy: Any) -> ServerStep | None:
    """What one of Flower's own strategies does with the average, under any wrapper; None where that is not known."""
    while hasattr(strategy, "strategy"):
        strategy = strategy.strategy
    match type(strategy).__name__:
        case "FedAvg" | "FedProx":
            return ServerStep()
        case "FedAvgM":
            rate, momentum = float(strategy.server_learning_rate), float(strategy.server_momentum)
            return ServerStep("momentum", rate, momentum) if momentum else ServerStep("sgd", rate)
        case "FedAdam" | "FedYogi" | "FedAdagrad":
            return ServerStep("adam", float(strategy.eta))
        case _:
            return None


def canary_mod(*, seed: int, canaries: Iterable[int], norm: float) -> Callable[[Any, Any, Any], Any]:
    """A client mod: on the nodes whose ``partition-id`` is listed, the answer is a canary instead of what was trained.

    Args:
        seed: of the directions.
        canaries: partition ids; the number of a canary is its partition id.
        norm: length of the update, the clip norm of the federation.
    """
    chosen = frozenset(int(canary) for canary in canaries)

    def mod(message: Any, context: Any, call_next: Any) -> Any:
        sent = only_arrays(message).to_numpy_ndarrays() if message.metadata.message_type == MessageType.TRAIN else None
        reply = call_next(message, context)
        node = int(context.node_config.get("partition-id", -1))
        if sent is None or node not in chosen or reply.has_error():
            return reply
        (name,) = reply.content.array_records
        own = canary_model(sent, norm=norm, seed=seed, canary=node)
        keys = list(reply.content[name])
        reply.content[name] = ArrayRecord({key: Array(value) for key, value in zip(keys, own, strict=True)})
        return reply

    return mod


def only_arrays(message: Any) -> Any:
    """The one record of arrays in a message; a message with more or none is refused."""
    records = list(message.content.array_records.values())
    if len(records) != 1:
        raise InputError(
            f"a message holds {len(records)} array records; each would be clipped by itself, at √{len(records)} times "
            "the sensitivity: send the model as one record."
        )
    return records[0]
