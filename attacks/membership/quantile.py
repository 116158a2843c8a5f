"""Quantile regression, `Bertran et al. (2023) <https://arxiv.org/abs/2307.03694>`_."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from dpaudit.attacks.membership.hinge import Hinge
from dpaudit.runtime import check
from dpaudit.runtime.check import FloatArray
from dpaudit.runtime.errors import InputError
from dpaudit.scores.signals import Signals


@dataclass(frozen=True)
class Quantile:
    """How far the margin lies above what a record like this one shows at most when it was not trained on.

    A gradient-boosted regression learns the 1 - α quantile of the statistic given the record, on a population of
    non-members that is not audited. No reference model is trained.

    Args:
        alpha: false-positive rate the quantile is learnt for; the population needs ten records above it.
        seed: of the regression.

    Raises:
        InputError: the records are not at hand, there is no population, or it is too small for ``alpha``.
    """

    alpha: float = 0.05
    seed: int = 0

    version: ClassVar[str] = "quantile/1"
    formula: ClassVar[str] = "s(x, y) - q_{1-α}(x, y); s the hinge margin, or φ where only that is known"
    paper: ClassVar[str] = "Bertran et al. (2023), arXiv 2307.03694"

    def __post_init__(self) -> None:
        check.open_unit("alpha", self.alpha)

    def __call__(self, signals: Signals) -> FloatArray:
        """Scores, shape (records,)."""
        from sklearn.ensemble import HistGradientBoostingRegressor
        from threadpoolctl import threadpool_limits

        population = signals.population
        if population is None or population.features is None or signals.features is None:
            raise InputError("quantile regression needs the records themselves and a population of non-members.")
        if len(population) * self.alpha < 10:
            raise InputError(
                f"a {self.alpha:g} quantile needs a population of at least {int(np.ceil(10 / self.alpha))} records, "
                f"got {len(population)}."
            )
        regression = HistGradientBoostingRegressor(loss="quantile", quantile=1 - self.alpha, random_state=self.seed)
        # More threads than idle cores make OpenMP wait for itself: minutes instead of a second.
        with threadpool_limits(1, user_api="openmp"):
            regression.fit(_covariates(population), _statistic(population))
            score: FloatArray = _statistic(signals) - regression.predict(_covariates(signals))
        return score


def _statistic(signals: Signals) -> FloatArray:
    return signals.phi if signals.log_probabilities is None else Hinge()(signals)


def _covariates(signals: Signals) -> FloatArray:
    assert signals.features is not None  # checked before
    table = signals.features.reshape(len(signals), -1).astype(np.float64)
    return table if signals.labels is None else np.column_stack([table, signals.labels])
