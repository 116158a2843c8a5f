"""BaVarIA: LiRA with conjugate priors, `Brännvall (2026) <https://arxiv.org/abs/2603.11799>`_."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from dpaudit.attacks.membership._moments import (
    FALLBACK_DEGREES,
    Moments,
    SideMoments,
    Spread,
    above_zero,
    require_models,
    variance_prior,
)
from dpaudit.attacks.membership._views import Centres, Fitted, FromMoments

# Models that the prior of the mean counts for, at most: then the records' means differ by chance alone.
MOST = 1e6


@dataclass(frozen=True)
class Bavaria(FromMoments):
    """LiRA with a normal-inverse-gamma prior on each record's mean and variance, and a Student-t predictive.

    One prior for the models trained with a record and one for those without, shared by all records. The abstract of
    the paper says as much; its hyper-parameters are not known here. They are fitted to all records by the method of
    moments: the variance's prior as in `Lira`, the mean's prior by how much more the records' means differ than
    their variance explains.

    Raises:
        InputError: a record has no reference on a side, or φ does not vary at all.

    >>> from dpaudit.scores.signals import Signals
    >>> reference = np.array([[1.0, 2.0], [3.0, 5.0], [-3.0, 0.0], [-1.0, 1.0]])
    >>> included = np.array([[True, True], [True, True], [False, False], [False, False]])
    >>> Bavaria()(Signals(np.array([2.0, -1.0]), reference=reference, included=included)).round(2)
    array([ 3.34, -2.2 ])
    """

    version: ClassVar[str] = "bavaria/1"
    formula: ClassVar[str] = "mean over queries of log t(φ | trained with) - log t(φ | trained without)"
    paper: ClassVar[str] = "Brännvall (2026), arXiv 2603.11799; hyper-parameters by the method of moments"

    def _fitted(self, both: SideMoments, centres: Centres) -> Fitted:
        inside, outside = (predictive(both, side) for side in both)
        return lambda phi: inside.log_density(phi) - outside.log_density(phi)


def predictive(both: SideMoments, side: Moments) -> Spread:
    """Student-t of a further φ on one side."""
    for each in both:
        require_models(each, 1, "bavaria")
    # One model per side: what the sides differ by is twice the variance and the effect of the record.
    found = variance_prior(side)
    variance, degrees = found or (above_zero(float(np.var(both.inside.mean - both.outside.mean)) / 2), FALLBACK_DEGREES)
    centre = float(side.mean.mean())
    excess = float(np.var(side.mean)) - variance * float(np.mean(1 / side.count))
    prior = variance / max(excess, variance / MOST)
    count = prior + side.count
    location = (prior * centre + side.count * side.mean) / count
    squares = side.squares + prior * side.count / count * np.square(side.mean - centre)
    total = degrees + side.count
    scale = ((degrees - 2) * variance + squares) / total * (1 + 1 / count)
    return Spread(location, np.sqrt(scale), total)
