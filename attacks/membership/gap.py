"""Label-only attacks: what the predicted class alone reveals."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from dpaudit.runtime.check import FloatArray
from dpaudit.runtime.errors import InputError
from dpaudit.scores.signals import Signals


@dataclass(frozen=True)
class Gap:
    """Members are the records classified correctly, `Yeom et al. (2018) <https://arxiv.org/abs/1709.01604>`_.

    Its advantage is the gap between training and test accuracy: what any attack should beat.

    Raises:
        InputError: the predicted or the true classes are not known.

    >>> Gap()(Signals.from_logits([[2.0, 0.0], [0.0, 1.0]], [0, 0]))
    array([1., 0.])
    """

    version: ClassVar[str] = "gap/1"
    formula: ClassVar[str] = "1[argmax p = y]"
    paper: ClassVar[str] = "Yeom et al. (2018), arXiv 1709.01604"

    def __call__(self, signals: Signals) -> FloatArray:
        """Scores 0 or 1, shape (records,)."""
        return signals.correct().astype(np.float64)


@dataclass(frozen=True)
class Robustness:
    """Share of perturbed copies (noise, augmentations) still classified correctly.

    A cheap stand-in for the distance to the decision boundary, `Choquette-Choo et al. (2021)
    <https://arxiv.org/abs/2007.14321>`_. The plain record counts as one of the copies.

    Raises:
        InputError: there are no queries, or the classes are not known.

    >>> copy = Signals.from_logits([[0.0, 1.0]], [0])
    >>> plain = Signals.from_logits([[2.0, 0.0]], [0])
    >>> from dataclasses import replace
    >>> Robustness()(replace(plain, queries=(copy,)))
    array([0.5])
    """

    version: ClassVar[str] = "robustness/1"
    formula: ClassVar[str] = "mean over queries of 1[argmax p = y]"
    paper: ClassVar[str] = "Choquette-Choo et al. (2021), arXiv 2007.14321"

    def __call__(self, signals: Signals) -> FloatArray:
        """Scores in [0, 1], shape (records,)."""
        if not signals.queries:
            raise InputError("robustness needs queries: signals of perturbed copies of the same records.")
        share: FloatArray = np.mean([view.correct() for view in (signals, *signals.queries)], axis=0)
        return share
