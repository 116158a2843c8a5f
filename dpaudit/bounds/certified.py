"""The last step of every bound: what was chosen pays for the choice, and a perfect attack gives the ceiling."""

from collections.abc import Callable
from dataclasses import dataclass

from dpaudit.accounting.claim import Adjacency, Protection, Unit
from dpaudit.bounds.fair_coins import FairPart
from dpaudit.bounds.lower_bound import LowerBound, Procedure
from dpaudit.bounds.trial_counts import Chosen, Evidence
from dpaudit.bounds.vacuous import price_of_delta
from dpaudit.runtime import check


@dataclass(frozen=True)
class BoundTerms:
    """What a bound is asked for, as in `LowerBound`.

    Raises:
        InputError: δ or the confidence is out of its range.
    """

    delta: float
    confidence: float
    adjacency: Adjacency
    unit: Unit

    def __post_init__(self) -> None:
        Protection(self.unit, self.adjacency, self.delta)  # checks itself
        check.open_unit("confidence", self.confidence)

    @property
    def level(self) -> float:
        """Probability of being above the truth."""
        return 1 - self.confidence


def certified(
    method: str,
    asked: BoundTerms,
    chosen: Chosen[Evidence],
    value: Callable[[Evidence, float, float], float],
    assumptions: tuple[str, ...],
    procedure: Procedure,
    *,
    part: FairPart | None = None,
    perfect: Callable[[Evidence, float, float], float] | None = None,
    family: str = "",
    without_delta: bool = False,
) -> LowerBound:
    """The bound with its ceiling and what δ takes from it.

    Args:
        method: name of the bound.
        asked: what it is asked for.
        chosen: the evidence that is judged.
        value: (evidence, δ, level) -> ε.
        assumptions: beside that of ``part``.
        procedure: how the evidence was chosen.
        part: with fair coins, of which the evidence is.
        perfect: the same for a perfect attack; None is the value of ``evidence.perfect``.
        family: within which it holds.
        without_delta: whether the note compares the ceiling with that at δ = 0.
    """
    level = asked.level if part is None else part.level

    def ceiling(delta: float) -> float:
        if perfect is not None:
            return chosen.bound(lambda evidence, at: perfect(evidence, delta, at), level)
        return chosen.bound(lambda evidence, at: value(evidence.perfect, delta, at), level)

    return LowerBound(
        epsilon=chosen.bound(lambda evidence, at: value(evidence, asked.delta, at), level),
        delta=asked.delta,
        confidence=asked.confidence,
        method=method,
        adjacency=asked.adjacency if part is None else part.adjacency(asked.adjacency),
        unit=asked.unit,
        assumptions=assumptions if part is None else (part.assumption, *assumptions),
        ceiling=ceiling(asked.delta),
        trials=chosen.trials,
        family=family,
        procedure=procedure,
        note=price_of_delta(asked.delta, ceiling(asked.delta), ceiling(0.0) if without_delta else None),
    )
