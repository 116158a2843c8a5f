"""Who takes part in a round: how clients are sampled, and who drops out or is slow.

Every draw is a function of (seed, federation, round) and has one number per client of the roster, so that taking a
client off the roster changes nothing for the others. numpy only.
"""

from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple

import numpy as np
from pydantic import Field

from dpaudit.accounting.claim import FULL_BATCH, FixedSize, GaussianSteps, Poisson
from dpaudit.runtime import check
from dpaudit.runtime.check import BoolArray, FloatArray
from dpaudit.runtime.errors import InputError
from dpaudit.runtime.strict import Strict


@dataclass(frozen=True)
class PoissonClients(Strict):
    """Every client takes part in a round by an independent coin."""

    rate: float
    kind: Literal["poisson"] = "poisson"

    def __post_init__(self) -> None:
        Poisson(self.rate)

    def expected(self, clients: int) -> float:
        """Clients in a round, on average.

        >>> PoissonClients(0.25).expected(40)
        10.0
        """
        return self.rate * clients

    def __call__(self, clients: int, *, round_number: int, seed: int) -> BoolArray:
        """Who is asked in a round, shape (clients,)."""
        return _rng(seed, round_number).random(clients) < self.rate

    def mechanism(self, noise_multiplier: float, rounds: int) -> GaussianSteps:
        """What the accountant is told."""
        return GaussianSteps(noise_multiplier, rounds, Poisson(self.rate), unit="user")


@dataclass(frozen=True)
class FixedClients(Strict):
    """Each round ``clients`` of the ``of`` clients of the roster are drawn without replacement.

    The accountant of Poisson sampling does not hold for it; its own figure is larger.
    """

    clients: int
    of: int
    kind: Literal["fixed-size"] = "fixed-size"

    def __post_init__(self) -> None:
        check.integer("clients", self.clients, at_least=1)
        check.integer("of", self.of, at_least=1)
        if self.clients > self.of:
            raise InputError(f"{self.clients} clients cannot be drawn from a roster of {self.of}.")

    def expected(self, clients: int) -> float:
        """Clients in a round."""
        if clients != self.of:
            raise InputError(f"the sampling draws from a roster of {self.of} clients, but there are {clients}.")
        return float(self.clients)

    def __call__(self, clients: int, *, round_number: int, seed: int) -> BoolArray:
        """Who is asked in a round, shape (clients,)."""
        chosen = np.zeros(clients, bool)
        chosen[_rng(seed, round_number).choice(clients, self.clients, replace=False)] = True
        return chosen

    def mechanism(self, noise_multiplier: float, rounds: int) -> GaussianSteps:
        """What the accountant is told."""
        return GaussianSteps(noise_multiplier, rounds, FixedSize(self.clients, self.of), unit="user")


@dataclass(frozen=True)
class AllClients(Strict):
    """Everybody takes part in every round."""

    kind: Literal["all"] = "all"

    def expected(self, clients: int) -> float:
        """Clients in a round."""
        return float(clients)

    def __call__(self, clients: int, *, round_number: int, seed: int) -> BoolArray:
        """Who is asked in a round, shape (clients,)."""
        return np.ones(clients, bool)

    def mechanism(self, noise_multiplier: float, rounds: int) -> GaussianSteps:
        """What the accountant is told."""
        return GaussianSteps(noise_multiplier, rounds, FULL_BATCH, unit="user")


@dataclass(frozen=True)
class OncePerEpoch(Strict):
    """In every epoch of ``rounds`` rounds each client takes part once, in a round of its own uniform choice.

    What DP-FTRL needs: privacy comes from the few participations, not from sampling.
    """

    rounds: int
    kind: Literal["once-per-epoch"] = "once-per-epoch"

    def __post_init__(self) -> None:
        check.integer("rounds", self.rounds, at_least=1)

    def expected(self, clients: int) -> float:
        """Clients in a round, on average."""
        return clients / self.rounds

    def __call__(self, clients: int, *, round_number: int, seed: int) -> BoolArray:
        """Who is asked in a round, shape (clients,)."""
        epoch, part = divmod(round_number, self.rounds)
        chosen: BoolArray = _rng(seed, epoch).integers(self.rounds, size=clients) == part
        return chosen

    def mechanism(self, noise_multiplier: float, rounds: int) -> GaussianSteps:
        """What the accountant is told: one release per epoch, without amplification."""
        return GaussianSteps(noise_multiplier, -(-rounds // self.rounds), FULL_BATCH, unit="user")


Participation = Annotated[PoissonClients | FixedClients | AllClients | OncePerEpoch, Field(discriminator="kind")]


@dataclass(frozen=True)
class Trouble(Strict):
    """Clients that do not answer, and clients that answer with part of their work.

    Args:
        drop_out: probability that a client that was asked sends nothing.
        straggle: probability that one that answers has done only ``straggler_share`` of its local steps.
        straggler_share: that share; at least one step is done.
    """

    drop_out: float = 0.0
    straggle: float = 0.0
    straggler_share: float = 0.5

    def __post_init__(self) -> None:
        check.probability("drop_out", self.drop_out)
        check.probability("straggle", self.straggle)
        check.open_unit("straggler_share", self.straggler_share)

    def __call__(self, clients: int, *, round_number: int, seed: int) -> "RoundAnswers":
        """Who would answer in a round, and how much of its work each would do.

        >>> Trouble()(2, round_number=0, seed=0)
        RoundAnswers(answers=array([ True,  True]), share=array([1., 1.]))
        """
        rng = _rng(seed, round_number)
        answers = rng.random(clients) >= self.drop_out
        slow = rng.random(clients) < self.straggle
        return RoundAnswers(answers, np.where(slow, self.straggler_share, 1.0))


class RoundAnswers(NamedTuple):
    """Of every client of the roster, shapes (clients,)."""

    answers: BoolArray
    share: FloatArray


def _rng(seed: int, counter: int) -> np.random.Generator:
    return np.random.default_rng((seed, counter))
