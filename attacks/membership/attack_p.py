"""Population attack with a calibrated threshold, `Ye et al. (2022) <https://arxiv.org/abs/2111.09679>`_."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from dpaudit.attacks.membership.loss import Loss
from dpaudit.attacks.membership.modified_entropy import ModifiedEntropy
from dpaudit.runtime import check
from dpaudit.runtime.check import FloatArray
from dpaudit.runtime.errors import InputError
from dpaudit.scores.signals import Signals


@dataclass(frozen=True)
class AttackP:
    """How rare so small a loss is among records known to be non-members.

    The ROC is that of the statistic; what is gained is a threshold with a known false-positive rate: for a
    non-member drawn like the population, 1 - score is a p-value, so "score ≥ 1 - α" calls it a member with probability
    at most α. With n population records the smallest p-value is 1/(n + 1).

    Args:
        per_class: compare with population records of the same class only.
        statistic: what is compared; ``modified-entropy`` per class are Song and Mittal's thresholds.

    Raises:
        InputError: there is no population, or a class has no record in it.

    >>> population = Signals(np.array([0.0, 1.0, 2.0]))
    >>> AttackP()(Signals(np.array([-1.0, 1.5, 9.0]), population=population))
    array([0.  , 0.5 , 0.75])
    """

    per_class: bool = False
    statistic: Literal["loss", "modified-entropy"] = "loss"

    version: ClassVar[str] = "attack-p/1"
    formula: ClassVar[str] = "1 - (1 + #{population at least as member-like}) / (n + 1)"
    paper: ClassVar[str] = "Ye et al. (2022), arXiv 2111.09679"

    def __post_init__(self) -> None:
        check.one_of("statistic", self.statistic, ("loss", "modified-entropy"))

    def __call__(self, signals: Signals) -> FloatArray:
        """Scores in [0, 1), shape (records,)."""
        population = signals.population
        if population is None:
            raise InputError("attack-p needs a population: records known to be outside the training data.")
        values, reference = self._statistic(signals), self._statistic(population)
        if not self.per_class:
            return _one_minus_p(values, reference)
        if signals.labels is None or population.labels is None:
            raise InputError("attack-p per class needs the true classes of the records and of the population.")
        missing = np.setdiff1d(signals.labels, population.labels)
        if missing.size:
            raise InputError(f"attack-p per class needs every class in the population; class {missing[0]} has none.")
        scores = np.empty_like(signals.phi)
        for label in np.unique(signals.labels):
            rows = signals.labels == label
            scores[rows] = _one_minus_p(values[rows], reference[population.labels == label])
        return scores

    def threshold(self, population: Signals, fpr: float) -> float:
        """The statistic above which a record is called a member with a false-positive rate of at most ``fpr``.

        Raises:
            InputError: the population is too small for this rate.

        >>> AttackP().threshold(Signals(np.arange(99.0)), 0.05)
        94.0
        """
        wanted = check.open_unit("fpr", fpr)
        rank = int(np.floor(wanted * (len(population) + 1) + 1e-9))
        if rank < 1:
            raise InputError(
                f"a false-positive rate of {wanted:g} needs a population of at least {int(np.ceil(1 / wanted)) - 1} "
                f"records, got {len(population)}."
            )
        return float(np.sort(self._statistic(population))[-rank])

    def _statistic(self, signals: Signals) -> FloatArray:
        return Loss()(signals) if self.statistic == "loss" else ModifiedEntropy()(signals)


def _one_minus_p(phi: FloatArray, population: FloatArray) -> FloatArray:
    below = np.searchsorted(np.sort(population), phi, side="left")
    scores: FloatArray = below / (population.size + 1)
    return scores
