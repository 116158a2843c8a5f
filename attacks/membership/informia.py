"""InfoRMIA: information gain over the references, `Tao and Shokri (2025) <https://arxiv.org/abs/2510.05582>`_."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from dpaudit.attacks.membership._mean_confidence import log_confidence, mean_of_all, mean_without_membership
from dpaudit.attacks.membership.rmia import population_of
from dpaudit.runtime.check import FloatArray
from dpaudit.scores.signals import Signals


@dataclass(frozen=True)
class InfoRmia:
    """RMIA's ratio in logarithms, plus how far the target is from the references on the whole population.

    The score is log p(x | θ)/p(x) + KL(p(z) || p(z | θ)); the divergence is the mean of log p(z)/p(z | θ) over the
    population. It is one number per target, so records under one target are ordered as by `Base`; only scores of
    different targets compare otherwise. The formula is that of public summaries of the paper.

    Raises:
        InputError: there is no population, or a record lacks a reference on a side.

    >>> population = Signals(np.array([0.0, 1.0]), reference=np.zeros((2, 2)), included=np.zeros((2, 2), bool))
    >>> target = Signals(np.array([0.5]), None, None, np.array([[0.0], [0.0]]), np.array([[True], [False]]), population)
    >>> InfoRmia()(target).round(3)
    array([0.029])
    """

    version: ClassVar[str] = "informia/1"
    formula: ClassVar[str] = "log p(x)/Pr(x) + mean over z of log Pr(z)/p(z), p and Pr as in rmia"
    paper: ClassVar[str] = "Tao and Shokri (2025), arXiv 2510.05582"

    def __call__(self, signals: Signals) -> FloatArray:
        """Scores, shape (records,)."""
        z = population_of(signals)
        divergence = np.mean(np.log(mean_of_all(z.reference)) - log_confidence(z.phi))
        gain: FloatArray = log_confidence(signals.phi) - np.log(mean_without_membership(signals)) + divergence
        return gain
