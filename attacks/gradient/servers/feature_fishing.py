"""A server that asks its client again and again until the answers hold the gradients of single records.

`Wen et al. (2022), "Fishing for user data in large-batch federated learning" <https://arxiv.org/abs/2202.00580>`_,
the attack on one feature. The head gives one class a steep function of one feature of the last hidden layer: records
above a threshold are certain to be of the class, those below certain not to be. What changes between two thresholds is
the gradient of the records between them, of whatever class they are. The head also shows the mean of their feature,
where the next threshold goes; a record that is alone has its own feature as the mean of either side.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from dpaudit.attacks.gradient.linear_layer import dense_layers
from dpaudit.attacks.gradient.servers.fishing import silenced_head
from dpaudit.attacks.gradient.view import Arrays, BatchGradient
from dpaudit.runtime import check
from dpaudit.runtime.check import FloatArray

STEEPNESS = 1e7  # logits per standard deviation of the feature
FAR = 1e3  # a threshold beyond every record, in largest features of the server's records
SAME = 1e-6  # relative difference of two means that are one
NOISE = 3.0  # standard deviations of noise that are no signal


class Bracket(NamedTuple):
    """Two thresholds of the feature, what the client answered to each, and the mean feature of the records between."""

    low: float
    high: float
    above_low: Arrays
    above_high: Arrays
    mean: float

    @property
    def between(self) -> Arrays:
        """What changes from one threshold to the other."""
        return tuple(a - b for a, b in zip(self.above_low, self.above_high, strict=True))


@dataclass(frozen=True)
class FeatureFishing:
    """Asks each client again with other thresholds of one feature until records are alone, Wen et al. (2022).

    Args:
        target: the class whose logit is the steep function.
        queries: gradients that each client sends at most. A batch of n records takes about 2n + 2 until each is alone;
            under noise every one of them costs ε.
    """

    target: int = 0
    queries: int = 40

    def __post_init__(self) -> None:
        check.integer("target", self.target, at_least=0)
        check.integer("queries", self.queries, at_least=4)

    def __call__(self, model: Any, auxiliary: FloatArray) -> Arrays:
        """The weights of the first question: a threshold beyond every record, on the feature most records have."""
        from dpaudit.runtime.tensorflow import keras

        weights, others = silenced_head(model, self.target, "feature-fishing")
        kernel, bias = weights[-2], weights[-1]
        head = [layer for layer in model.layers if layer.weights][-1]
        features = np.asarray(keras.Model(model.inputs, head.input)(auxiliary), np.float64)
        chosen = int((np.abs(features) > 0).sum(0).argmax())
        kernel[:], bias[others] = 0.0, 0.0
        kernel[chosen, self.target] = STEEPNESS / max(float(features[:, chosen].std()), 1e-12)
        bias[self.target] = -kernel[chosen, self.target] * FAR * max(1.0, float(np.abs(features[:, chosen]).max()))
        return tuple(weights)

    def isolated(
        self, sent: Arrays, ask: Callable[[Arrays], Arrays], *, batch_size: int, noise: float, box: tuple[float, float]
    ) -> list[BatchGradient]:
        """The gradients of single records of one client, as if each were of the target class.

        Args:
            sent: the weights of the first question.
            ask: the gradient that the client sends for some weights.
            batch_size: records of the client.
            noise: standard deviation of the noise on every coordinate of an answer.
            box: smallest and largest value a feature can take.
        """
        column = sent[-2][:, self.target]
        feature = int(np.abs(column).argmax())
        steepness = float(column[feature])
        asked = 0

        def answer(threshold: float) -> Arrays:
            nonlocal asked
            asked += 1
            return ask((*sent[:-1], np.where(np.arange(sent[-1].size) == self.target, -steepness * threshold, 0.0)))

        far = -float(sent[-1][self.target]) / steepness
        nobody, everybody = answer(far), answer(-far)
        hidden = NOISE * np.sqrt(2) * noise
        least = max(1e-9 * np.abs(everybody[-1][self.target] - nobody[-1][self.target]), hidden)

        def bracket(low: float, high: float, above_low: Arrays, above_high: Arrays) -> list[Bracket]:
            number = above_low[-1][self.target] - above_high[-1][self.target]
            if not abs(number) > least:  # nobody, or none that noise does not hide
                return []
            total = above_low[-2][feature, self.target] - above_high[-2][feature, self.target]
            return [Bracket(low, high, above_low, above_high, float(total / number))]

        open_, alone = bracket(-far, far, everybody, nobody), []
        while open_ and asked < self.queries:
            whole = open_.pop()
            if not whole.low < whole.mean < whole.high:  # what a steep function of finite slope leaves of a neighbour
                continue
            middle = answer(whole.mean)
            parts = [
                *bracket(whole.low, whole.mean, whole.above_low, middle),
                *bracket(whole.mean, whole.high, middle, whole.above_high),
            ]
            if all(abs(part.mean - whole.mean) <= SAME * max(1.0, abs(whole.mean)) for part in parts):
                alone.append(whole)
            else:
                open_ += parts
        views = []
        for each in alone:
            gradient = tuple(-batch_size * change for change in each.between)
            below = gradient[: dense_layers(sent)[-1].kernel]
            # A record without the feature sends nothing into the layers below.
            if not below or any(np.abs(part).max() > 1e-9 * np.abs(gradient[-1]).max() for part in below):
                labels, deviation = np.array([self.target]), float(np.sqrt(2) * batch_size * noise)
                views.append(BatchGradient(sent, gradient, 1, labels, box, noise=deviation))
        return views
