"""An architecture that starts from given weights: all of them trained, some of them frozen, or adapters beside them."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dpaudit.engine.adapter import Adapter, is_named
from dpaudit.runtime.errors import InputError
from dpaudit.training.architecture import Architecture

if TYPE_CHECKING:
    from dpaudit.engine.network import Network


@dataclass(frozen=True)
class FineTuned:
    """An architecture with start weights; every model of it starts from the same.

    Args:
        architecture: whose weights they are.
        start: the file, as `dpaudit.training.start_weights.load_start` reads it.
        frozen: layers that stay as they are, each by its name or the beginning of names (``block_0``).
        adapter: trained beside the weights, which are all frozen then.
    """

    architecture: Architecture
    start: str
    frozen: tuple[str, ...] = ()
    adapter: Adapter | None = None

    def __post_init__(self) -> None:
        if self.adapter is not None and self.frozen:
            raise InputError("[adapter] freezes every weight of the architecture; leave 'frozen' out.")

    @property
    def fingerprint(self) -> str:
        """Of all it is made of, the content of the file too."""
        try:
            content = Path(self.start).read_bytes()
        except OSError as error:
            raise InputError(f"start weights: cannot read {self.start}: {error.strerror}.") from error
        inner = getattr(self.architecture, "fingerprint", repr(self.architecture))
        said = f"{type(self.architecture).__qualname__} {inner} {self.frozen} {self.adapter}"
        return hashlib.sha256(said.encode() + b"\0" + content).hexdigest()

    def __call__(self, input_shape: tuple[int, ...], outputs: int) -> Any:
        """The Keras model with its start weights, frozen where it is to be.

        Raises:
            InputError: weights that do not fit, a layer to freeze that there is not, or nothing left to train.
        """
        from dpaudit.training.start_weights import load_start

        model = self.architecture(input_shape, outputs)
        load_start(model, Path(self.start))
        weighted = [layer for layer in model.layers if layer.weights]
        for wanted in self.frozen:
            chosen = [layer for layer in weighted if is_named(layer.name, wanted)]
            if not chosen:
                known = ", ".join(repr(layer.name) for layer in weighted)
                raise InputError(f"frozen: no layer with weights is called {wanted!r}; there are {known}.")
            for layer in chosen:
                layer.trainable = False
        if not model.trainable_weights:
            raise InputError("frozen names every layer with weights; leave one out, or nothing is trained.")
        return model

    def said_of(self, name: str) -> str:
        """What a report says of a model that starts so.

        >>> from dpaudit.training.decoder import Decoder
        >>> FineTuned(Decoder(), "public.npz", adapter=Adapter(8)).said_of("tuned")
        'tuned trains adapters of rank 8 beside the weights in public.npz; what those were trained on is not audited.'
        """
        how = "starts from" if self.adapter is None else f"trains adapters of rank {self.adapter.rank} beside"
        kept = f", {', '.join(self.frozen)} frozen" if self.frozen else ""
        return f"{name} {how} the weights in {Path(self.start).name}{kept}; what those were trained on is not audited."

    def network(self, input_shape: tuple[int, ...], outputs: int, *, mixes_examples: bool = False) -> "Network":
        """Many copies of it for the stacked engine, which all start from the weights of the file."""
        from dpaudit.engine.network import Network

        mixed = mixes_examples and self.adapter is None
        network = Network.from_keras(self(input_shape, outputs), is_started=True, mixes_examples=mixed)
        return network if self.adapter is None else network.adapted(self.adapter)


def network_of(
    architecture: Architecture, input_shape: tuple[int, ...], outputs: int, *, mixes_examples: bool = False
) -> "Network":
    """Many copies of an architecture for the stacked engine; ``mixes_examples`` as in `Network.from_keras`."""
    from dpaudit.engine.network import Network

    if isinstance(architecture, FineTuned):
        return architecture.network(input_shape, outputs, mixes_examples=mixes_examples)
    return Network.from_keras(architecture(input_shape, outputs), mixes_examples=mixes_examples)


def adapter_of(architecture: Architecture) -> Adapter | None:
    """The adapter of an architecture; Keras has none, so its trainers leave such an architecture to the engine."""
    return architecture.adapter if isinstance(architecture, FineTuned) else None
