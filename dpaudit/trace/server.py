"""What the server does with the noisy average, and how that is undone. numpy only."""

import typing
from dataclasses import dataclass
from typing import Literal

from dpaudit.runtime import check
from dpaudit.runtime.errors import InputError

ServerOptimizerName = Literal["sgd", "momentum", "adam", "other"]


@dataclass(frozen=True)
class ServerStep:
    """How the server moves the model by the noisy average g of a round.

    ``sgd`` adds ``learning_rate`` g; ``momentum`` keeps v = ``momentum`` v + g and adds ``learning_rate`` v; ``adam``
    is any adaptive step and ``other`` any other. Their noise is judged only where the averages themselves are recorded.

    Args:
        optimizer: one of these.
        learning_rate: constant over the rounds.
        momentum: in [0, 1), of ``momentum`` only.

    >>> ServerStep("momentum", 0.1, 0.9).in_words
    'momentum of rate 0.1 and momentum 0.9'
    """

    optimizer: ServerOptimizerName = "sgd"
    learning_rate: float = 1.0
    momentum: float = 0.0

    def __post_init__(self) -> None:
        check.one_of("server.optimizer", self.optimizer, typing.get_args(ServerOptimizerName))
        object.__setattr__(self, "learning_rate", check.positive("server.learning_rate", self.learning_rate))
        if not 0 <= check.nonnegative("server.momentum", self.momentum) < 1:
            raise InputError(f"server.momentum must be in [0, 1), got {self.momentum!r}.")
        if self.momentum and self.optimizer != "momentum":
            raise InputError(f"server.momentum {self.momentum:g} needs server.optimizer 'momentum'.")

    @property
    def in_words(self) -> str:
        """For a sentence."""
        more = f" and momentum {self.momentum:g}" if self.optimizer == "momentum" else ""
        return f"{self.optimizer} of rate {self.learning_rate:g}{more}"
