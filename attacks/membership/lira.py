"""Likelihood-ratio attack with references on both sides, `Carlini et al. (2022) <https://arxiv.org/abs/2112.03570>`_.

The default variance follows the idea of `Brännvall (2026) <https://arxiv.org/abs/2603.11799>`_, BaVarIA.
"""

from dataclasses import dataclass, replace
from typing import ClassVar

from dpaudit.attacks.membership._moments import SideMoments, fit_spread
from dpaudit.attacks.membership._views import Centres, Fitted, WithVariance


@dataclass(frozen=True)
class Lira(WithVariance):
    """Likelihood ratio of the target's φ: among models trained with the record over those trained without.

    Args:
        variance: ``shrunk``: per record, drawn towards the pooled one as far as the number of models calls for, with
            a Student-t predictive; the best choice at any number of references. ``per-record``: as first published,
            for 64 models and more. ``residual``: one variance of φ around each record's centre, as TensorFlow
            Privacy does. ``raw``: one variance of φ over all records, taken from the models trained with the record
            for both sides: the ``fix_variance`` of the published code.
        centre: ``mean``, or ``median`` as the published code takes it.

    Raises:
        InputError: a record has too few references on a side for this variance.

    >>> import numpy as np
    >>> from dpaudit.scores.signals import Signals
    >>> reference = np.array([[1.0], [3.0], [-3.0], [-1.0]])
    >>> included = np.array([[True], [True], [False], [False]])
    >>> Lira("residual")(Signals(np.array([2.0]), reference=reference, included=included))
    array([8.])
    """

    version: ClassVar[str] = "lira/1"
    formula: ClassVar[str] = "mean over queries of log f(φ | trained with) - log f(φ | trained without)"
    paper: ClassVar[str] = "Carlini et al. (2022), arXiv 2112.03570; shrunk: Brännvall (2026), arXiv 2603.11799"

    def _fitted(self, both: SideMoments, centres: Centres) -> Fitted:
        inside = fit_spread(both.inside, self.variance, location=centres[0])
        outside = fit_spread(both.outside, self.variance, location=centres[1])
        if self.variance == "raw":
            outside = replace(outside, scale=inside.scale)
        return lambda phi: inside.log_density(phi) - outside.log_density(phi)
