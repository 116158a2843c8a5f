"""Models with and without what is to be forgotten, as tasks: what an attacker sees of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dpaudit.data.dataset import Dataset
from dpaudit.data.source import Records
from dpaudit.runtime.check import FloatArray
from dpaudit.runtime.seeds import derive_seed
from dpaudit.scores.from_outputs import phi, quality
from dpaudit.training.reference_models.masks import Packed
from dpaudit.training.reference_models.pool import train_each
from dpaudit.training.trainer import Predict, Trainer
from dpaudit.training.unlearning_method import Requests, UnlearningMethod


@dataclass(frozen=True)
class Answers:
    """What models answer before and after unlearning, and when they are trained without what is to be forgotten.

    Args:
        phi: of the records to be forgotten, shape (states, models, records).
        quality: on the population, as in `dpaudit.results.result.Utility`, shape (states, models).
    """

    phi: FloatArray
    quality: FloatArray


@dataclass(frozen=True, eq=False)
class UnlearnModels:
    """A task: some models, before and after unlearning, and as many that are trained on what stays alone.

    The states are in this order; retraining as the method is not done twice.

    Args:
        trainer: of all of them.
        method: what makes them forget.
        records: those to be forgotten first, then those that stay; and the population.
        asked: which of them each model is trained on and then made to forget, shape (models, records to be forgotten).
        seeds: of the models.
    """

    trainer: Trainer
    method: UnlearningMethod
    records: Records
    asked: Packed
    seeds: tuple[int, ...]

    def __call__(self) -> Answers:
        """What they answer."""
        data, population = self.records()
        assert population is not None  # every plan sets some records aside
        asked = self.asked.mask
        forgotten = asked.shape[1]
        stays = np.arange(len(data)) >= forgotten
        requested = np.zeros((len(asked), len(data)), bool)
        requested[:, :forgotten] = asked
        rest = np.tile(stays, (len(asked), 1))
        held = train_each(self.trainer, data, requested | rest, self._seeds("before"))
        after = self.method(self.trainer, held, Requests(data, requested, rest, self._seeds("after")))
        states: list[Sequence[Predict]] = [[model.predict for model in held], after]
        if self.method.name != "retrain":
            states.append([model.predict for model in train_each(self.trainer, data, rest, self._seeds("retrained"))])
        return _observed(states, data.take(~stays), population)

    def _seeds(self, state: str) -> list[int]:
        return [derive_seed(seed, state) for seed in self.seeds]


def _observed(states: Sequence[Sequence[Predict]], forgotten: Dataset, population: Dataset) -> Answers:
    def belief(predict: Predict) -> FloatArray:
        return phi(predict(forgotten.features), forgotten.labels, task=forgotten.task).values

    def on_others(predict: Predict) -> float:
        return float(quality(predict(population.features), population.labels, task=population.task).mean())

    return Answers(
        np.array([[belief(predict) for predict in models] for models in states]),
        np.array([[on_others(predict) for predict in models] for models in states]),
    )
