"""Likelihood-ratio attack with references on both sides, `Carlini et al. (2022) <https://arxiv.org/abs/2112.03570>`_.

The default variance follows the idea of `Brännvall (2026) <https://arxiv.org/abs/2603.11799>`_, BaVarIA.
"""

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np

from dpaudit import _check
from dpaudit._check import FloatArray
from dpaudit.attacks.membership._moments import (
    VARIANCES,
    Sides,
    Spread,
    Variance,
    leaving_pairs_out,
    medians,
    sides,
    spread,
)
from dpaudit.signals import PoolSignals, Signals

Centre = Literal["mean", "median"]


@dataclass(frozen=True)
class Lira:
    """How much likelier the target's φ is among models trained with the record than among those trained without.

    Args:
        variance: ``shrunk``: per record, drawn towards the pooled one as far as the number of models calls for, with
            a Student-t predictive; the best choice at any number of references. ``per-record``: as first published,
            for 64 models and more. ``residual``: one variance of φ around each record's centre, as TensorFlow
            Privacy does. ``raw``: one variance of φ over all records, taken from the models trained with the record
            for both sides: the ``fix_variance`` of the published code.
        centre: ``mean``, or ``median`` as the published code takes it.

    Raises:
        InputError: a record has too few references on a side for this variance.

    >>> reference = np.array([[1.0], [3.0], [-3.0], [-1.0]])
    >>> included = np.array([[True], [True], [False], [False]])
    >>> Lira("residual")(Signals(np.array([2.0]), reference=reference, included=included))
    array([8.])
    """

    variance: Variance = "shrunk"
    centre: Centre = "mean"

    version: ClassVar[str] = "lira/1"
    formula: ClassVar[str] = "mean over queries of log f(φ | trained with) - log f(φ | trained without)"
    paper: ClassVar[str] = "Carlini et al. (2022), arXiv 2112.03570; shrunk: Brännvall (2026), arXiv 2603.11799"

    def __post_init__(self) -> None:
        _check.one_of("variance", self.variance, VARIANCES)
        _check.one_of("centre", self.centre, ("mean", "median"))

    def __call__(self, signals: Signals) -> FloatArray:
        """Scores, shape (records,)."""
        total = np.zeros(len(signals))
        for view in (signals, *signals.queries):
            centres = medians(view) if self.centre == "median" else (None, None)
            inside, outside = self._fit(sides(view), *centres)
            total += inside.log_density(view.phi) - outside.log_density(view.phi)
        return total / (1 + len(signals.queries))

    def leave_pair_out(self, pool: PoolSignals) -> FloatArray:
        """Scores of every model as the target without its pair, shape (models, records), in time linear in both."""
        if self.centre == "median":  # a median has no running sum
            return np.stack([self(pool.target(model)) for model in range(len(pool))])
        total = np.zeros_like(pool.phi)
        for phi in (pool.phi, *pool.queries):
            for first, both in leaving_pairs_out(phi, pool.included):
                inside, outside = self._fit(both)
                for model in (first, first + 1):
                    total[model] += inside.log_density(phi[model]) - outside.log_density(phi[model])
        return total / (1 + len(pool.queries))

    def _fit(
        self, both: Sides, inside: FloatArray | None = None, outside: FloatArray | None = None
    ) -> tuple[Spread, Spread]:
        with_record = spread(both.inside, self.variance, location=inside)
        without_record = spread(both.outside, self.variance, location=outside)
        if self.variance == "raw":
            without_record = replace(without_record, scale=with_record.scale)
        return with_record, without_record
