"""A server that follows the protocol."""

from dataclasses import dataclass
from typing import Any

from dpaudit.attacks.gradient.view import Arrays
from dpaudit.runtime.check import FloatArray


@dataclass(frozen=True)
class Honest:
    """Sends the model as it was initialised."""

    def __call__(self, model: Any, auxiliary: FloatArray) -> Arrays:
        """The model's own weights, whatever the records that the server holds."""
        return tuple(model.get_weights())
