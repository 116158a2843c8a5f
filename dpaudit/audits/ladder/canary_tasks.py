"""Trainings with canaries in them, as tasks: who was in, and how the canaries are scored."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from dpaudit.audits.ladder.decorrelated import decorrelated_scores
from dpaudit.audits.ladder.gradient_canaries import gradient_canary_scores
from dpaudit.bounds.lower_bound import Skipped
from dpaudit.data.dataset import Dataset
from dpaudit.data.source import Records
from dpaudit.runtime.check import BoolArray, FloatArray
from dpaudit.scores.from_outputs import phi
from dpaudit.training.dp_sgd import DpSgd
from dpaudit.training.reference_models.masks import Packed
from dpaudit.training.reference_models.pool import train_each
from dpaudit.training.trainer import Predict, Trainer
from dpaudit.training.watched import watched

if TYPE_CHECKING:
    from dpaudit.engine.network import Parameters


@dataclass(frozen=True)
class Canaried:
    """The canaries, and the audited data with them at its end: here, and as tasks take it."""

    records: Dataset
    together: Dataset
    sent: Records

    def belief(self, predict: Predict) -> FloatArray:
        """φ of the canaries' own labels, shape (canaries,)."""
        return phi(predict(self.records.features), self.records.labels, task=self.records.task).values


@dataclass
class Exposure:
    """What an attacker gathers about the canaries while models are trained: watches every step.

    Args:
        measure: parameters before and after -> scores, shape (models, canaries).
        every_step: add up the scores of all steps; otherwise score from the start to the end.
    """

    measure: Callable[["Parameters", "Parameters"], FloatArray]
    every_step: bool
    _sums: dict[tuple[int, ...], FloatArray] = field(default_factory=dict)
    _ends: dict[tuple[int, ...], tuple["Parameters", "Parameters"]] = field(default_factory=dict)

    def __call__(self, models: Sequence[int], step: int, before: "Parameters", after: "Parameters") -> None:
        """See a step of some models."""
        group = tuple(models)
        if self.every_step:
            self._sums[group] = self._sums.get(group, 0.0) + self.measure(before, after)
        else:
            self._ends[group] = (self._ends.get(group, (before,))[0], after)

    def scores(self, models: Sequence[int]) -> FloatArray:
        """Scores, shape (models, canaries)."""
        found = self._sums or {group: self.measure(*ends) for group, ends in self._ends.items()}
        rows = {model: row for group, values in found.items() for model, row in zip(group, values, strict=True)}
        return np.stack([rows[model] for model in models])


@dataclass(frozen=True)
class CanaryScores:
    """Scores of canaries, shape (models, canaries), or (canaries,) of one training."""

    scores: FloatArray


@dataclass(frozen=True)
class Scoring:
    """How the steps of a training are scored.

    Args:
        along_gradients: how far it went along the gradients of the canaries, instead of how far they are believed.
        every_step: add up all steps, instead of scoring from the start to the end.
    """

    along_gradients: bool
    every_step: bool


@dataclass(frozen=True, eq=False)
class CanaryRuns:
    """A task: scores of canaries by models trained with some of them.

    Args:
        trainer: of the models.
        records: with the canaries at their end.
        canaries: how many they are.
        included: who is in which model.
        scoring: how the steps are scored; None scores the belief of the final model.
        start: weights that the models start from; None is their own random ones.
        seeds: of the models.
    """

    trainer: Trainer
    records: Records
    canaries: int
    included: Packed
    scoring: Scoring | None
    start: tuple[npt.NDArray[np.float32], ...] | None
    seeds: tuple[int, ...]

    def __call__(self) -> CanaryScores:
        """Scores, shape (models, canaries)."""
        together, _ = self.records()
        rows = np.arange(len(together) - self.canaries, len(together))
        own = Canaried(together.take(rows), together, self.records)
        included = self.included.mask
        if self.scoring is None:
            models = train_each(self.trainer, together, included, self.seeds)
            return CanaryScores(np.stack([own.belief(model.predict) for model in models]))
        trainer = watched(self.trainer, together)
        assert not isinstance(trainer, Skipped)
        measure = trainer.measure(own.records, along_gradients=self.scoring.along_gradients)
        exposure = Exposure(measure, self.scoring.every_step)
        start = None if self.start is None else [self.start] * len(self.seeds)
        trainer.train_many(together, included, seeds=self.seeds, start=start, watch=exposure)
        return CanaryScores(exposure.scores(self.seeds))


@dataclass(frozen=True, eq=False)
class GradientCanaries:
    """A task: scores of `gradient_canary_scores`."""

    trainer: DpSgd
    records: int
    coins: BoolArray
    every_step: bool
    seed: int

    def __call__(self) -> CanaryScores:
        """Scores, shape (canaries,)."""
        return CanaryScores(
            gradient_canary_scores(self.trainer, self.records, self.coins, every_step=self.every_step, seed=self.seed)
        )


@dataclass(frozen=True, eq=False)
class DecorrelatedCanaries:
    """A task: scores of `decorrelated_scores`."""

    trainer: DpSgd
    records: Records
    canaries: int
    included: BoolArray
    seed: int

    def __call__(self) -> CanaryScores:
        """Scores, shape (canaries,)."""
        data, _ = self.records()
        return CanaryScores(decorrelated_scores(self.trainer, data, self.included, self.canaries, seed=self.seed))
