"""An architecture as a plan names it: a kind with its parameters, start weights, and adapters beside them."""

from pydantic import BaseModel, ConfigDict, Field

from dpaudit.engine.adapter import Adapter
from dpaudit.runtime import plugins as registry
from dpaudit.runtime.errors import InputError
from dpaudit.training.architecture import Architecture
from dpaudit.training.fine_tuned import FineTuned


class AdapterSettings(BaseModel):
    """``[adapter]``: low-rank adapters (LoRA) beside the kernels of an architecture with ``start`` weights.

    The weights are frozen, and A and B of W + (alpha / rank) A B are trained: by ``dp-sgd``, ``sgd`` and ``federated``.
    ``alpha`` is the rank when left out. ``layers`` says which kernels: a layer (``head``), the beginning of names
    (``block_0``) or a projection of attention (``query``); all of dense layers and attention when left out.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    rank: int = Field(ge=1)
    alpha: float | None = Field(default=None, gt=0)
    layers: list[str] = []

    def build(self) -> Adapter:
        """The adapter."""
        return Adapter(self.rank, self.alpha, tuple(self.layers))


class ArchitectureSettings(BaseModel):
    """``[architecture]``: a kind, with its parameters beside it.

    ``start`` is a file of weights that every model starts from: ``models/NAME-HASH.npz`` of a run of dpaudit,
    ``.safetensors``, or ``.weights.h5`` or ``.keras`` of Keras 2. ``frozen`` names the layers that stay as they are
    there; they are neither clipped nor noised.
    """

    model_config = ConfigDict(extra="allow", frozen=True)
    kind: str
    start: str | None = None
    frozen: list[str] = []

    def build(self, where: str = "architecture", adapter: AdapterSettings | None = None) -> Architecture:
        """(Input shape, classes) -> Keras model.

        Args:
            where: place in the plan, for the message.
            adapter: beside its kernels.

        Raises:
            InputError: an unknown kind, a parameter it does not take, or layers to freeze without start weights.

        >>> ArchitectureSettings(kind="mlp", hidden=[8]).build()
        Mlp(hidden=(8,), activation='relu')
        """
        built: Architecture = registry.build("architectures", self.kind, self.model_extra or {}, where=where)
        if self.start is None:
            if self.frozen or adapter is not None:
                what = "frozen layers" if self.frozen else "[adapter]"
                raise InputError(f"{where}: {what} would keep random weights; give 'start', a file of weights.")
            return built
        try:
            return FineTuned(built, self.start, tuple(self.frozen), None if adapter is None else adapter.build())
        except InputError as error:
            raise InputError(f"{where}: {error}") from error

    def without_start(self, where: str) -> Architecture:
        """`build` where no model of the plan is trained, so that there is nothing to start or to freeze.

        Raises:
            InputError: also for start weights and frozen layers.
        """
        if self.start is not None or self.frozen:
            raise InputError(f"{where}: 'start' and 'frozen' are for the models of [[model]]; leave them out here.")
        return self.build(where)
