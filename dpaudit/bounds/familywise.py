"""One error level for several bounds, tests or releases, decided in the plan before the scores.

`Shares` splits the level over bounds; the strongest of them then holds at the whole level. `holm` orders p-values of
different claims. `average` joins e-values, whatever their dependence (`Vovk and Wang (2021)
<https://arxiv.org/abs/1912.06116>`_).
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dpaudit import _check
from dpaudit.errors import InputError
from dpaudit.evidence import LowerBound


@dataclass(frozen=True)
class Shares:
    """How the level of an audit is split over its bounds; fixed in the plan.

    Args:
        confidence: of the whole audit.
        weights: name of each bound -> its weight; only their ratios matter.

    >>> shares = Shares(0.95, {"accuracy": 1.0, "one-run": 1.0})
    >>> round(shares.confidence_of("one-run"), 4)
    0.975
    """

    confidence: float
    weights: Mapping[str, float]

    def __post_init__(self) -> None:
        _check.open_unit("confidence", self.confidence)
        if not self.weights:
            raise InputError("weights must name at least one bound.")
        for name, weight in self.weights.items():
            _check.positive(f"weight of {name!r}", weight)

    def confidence_of(self, name: str) -> float:
        """Confidence at which one bound is to be computed."""
        weight = self.weights[_check.one_of("bound", name, tuple(self.weights))]
        return 1 - (1 - self.confidence) * weight / math.fsum(self.weights.values())

    def strongest(self, bounds: Mapping[str, LowerBound]) -> LowerBound:
        """The largest of the planned bounds, which holds at the confidence of the whole audit.

        Raises:
            InputError: not exactly the planned bounds were computed, or at other confidences, or they speak of
                different things.
        """
        if set(bounds) != set(self.weights):
            raise InputError(
                f"the plan shares its level over {', '.join(sorted(self.weights))}, but there are bounds for "
                f"{', '.join(sorted(bounds)) or 'nothing'}: leaving one out after looking is not paid for."
            )
        for name, bound in bounds.items():
            if not math.isclose(bound.confidence, self.confidence_of(name), rel_tol=1e-9):
                raise InputError(
                    f"bound {name!r} must have confidence {self.confidence_of(name):g}, its share of the plan's level, "
                    f"got {bound.confidence:g}."
                )
        if len({(bound.unit, bound.adjacency, bound.delta) for bound in bounds.values()}) > 1:
            raise InputError("bounds with different unit, adjacency or δ have no common strongest one.")
        best = max(bounds.values(), key=lambda bound: bound.epsilon)
        paid = f"one level shared over {len(bounds)} bound(s) decided beforehand: {', '.join(sorted(bounds))}"
        return dataclasses.replace(
            best,
            confidence=self.confidence,
            assumptions=(*best.assumptions, paid),
            ceiling=max(bound.ceiling for bound in bounds.values()),
        )


def holm(p_values: Mapping[str, float], level: float) -> dict[str, bool]:
    """Which of several claims are refuted, with the probability of any false refutation at most ``level``.

    `Holm (1979) <https://www.jstor.org/stable/4615733>`_; no assumption on dependence.

    >>> holm({"a": 0.01, "b": 0.04, "c": 0.3}, 0.05)
    {'a': True, 'b': False, 'c': False}
    """
    alpha = _check.open_unit("level", level)
    ordered = sorted(p_values, key=lambda name: _check.probability(f"p-value of {name!r}", p_values[name]))
    refuted, going = {}, True
    for rank, name in enumerate(ordered):
        going = going and p_values[name] <= alpha / (len(ordered) - rank)
        refuted[name] = going
    return {name: refuted[name] for name in p_values}


def average(log_e_values: Sequence[float], weights: Sequence[float] | None = None) -> float:
    """Logarithm of the weighted mean of e-values: an e-value again, however the tests depend on each other.

    >>> round(average([math.log(10.0), math.log(30.0)]), 6) == round(math.log(20.0), 6)
    True
    """
    if not log_e_values:
        raise InputError("log_e_values must hold at least one value.")
    shares = [1.0] * len(log_e_values) if weights is None else [_check.positive("weight", each) for each in weights]
    if len(shares) != len(log_e_values):
        raise InputError(f"weights must be as many as the {len(log_e_values)} e-values, got {len(shares)}.")
    largest = max(log_e_values)
    if math.isinf(largest):
        return largest
    total = math.fsum(shares)
    return largest + math.log(
        math.fsum(share / total * math.exp(each - largest) for share, each in zip(shares, log_e_values, strict=True))
    )
