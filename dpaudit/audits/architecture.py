"""An architecture as a plan names it: a kind, with its parameters beside it."""

from pydantic import BaseModel, ConfigDict

from dpaudit.runtime import plugins as registry
from dpaudit.training.architecture import Architecture


class ArchitectureSettings(BaseModel):
    """``[architecture]``: a kind, with its parameters beside it."""

    model_config = ConfigDict(extra="allow", frozen=True)
    kind: str

    def build(self, where: str = "architecture") -> Architecture:
        """(Input shape, classes) -> Keras model.

        Args:
            where: place in the plan, for the message.

        Raises:
            InputError: an unknown kind, or a parameter it does not take.

        >>> ArchitectureSettings(kind="mlp", hidden=[8]).build()
        Mlp(hidden=(8,), activation='relu')
        """
        built: Architecture = registry.build("architectures", self.kind, self.model_extra or {}, where=where)
        return built
