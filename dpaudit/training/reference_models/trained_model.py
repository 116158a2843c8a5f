"""Single models as tasks: the plan's own, and others that only one of each kind is needed of."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dpaudit.data.dataset import Dataset
from dpaudit.data.source import Records
from dpaudit.runtime.check import BoolArray
from dpaudit.runtime.jobs import Workers
from dpaudit.training.capabilities import gives_weights, require_records
from dpaudit.training.reference_models.masks import Packed
from dpaudit.training.reference_models.recorded_outputs import RecordedOutputs
from dpaudit.training.reference_models.store import place
from dpaudit.training.reference_models.task_cache import name_of, run_cached, store_of
from dpaudit.training.trainer import Predict, TrainedModel, Trainer

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Wanted:
    """A model to train.

    Args:
        trainer: what trains it.
        included: on which of the records, shape (records,).
        seed: of the training.
    """

    trainer: Trainer
    included: BoolArray
    seed: int


def train_models(
    wanted: Mapping[str, Wanted],
    dataset: Dataset,
    records: Records,
    *,
    folder: Path,
    workers: Workers,
    memory: int | None = None,
    done: Callable[[str], object] = lambda name: None,
) -> dict[str, TrainedModel]:
    """Models by name, trained where the workers are, or restored from what an earlier run left in the folder.

    Args:
        wanted: by name.
        dataset: that they are trained on.
        records: the same, as tasks take them.
        folder: where weights are kept, in files named by the model and a hash of what it depends on.
        workers: where they are trained. A trainer that gives no weights away, such as a `Function`, trains in this
            process, and what its model answers is stored.
        memory: bytes that trainings side by side may use; None is half of what is free.
        done: called with the name of every model that is there.
    """
    for model in wanted.values():
        require_records(model.trainer, model.included, name=dataset.name)
    tasks = {
        name: TrainOne(model.trainer, records, Packed.of(model.included), model.seed) for name, model in wanted.items()
    }
    sent = {f"train {name}": task for name, task in tasks.items() if gives_weights(task.trainer)}
    models: dict[str, TrainedModel] = {}

    def name_in(key: str) -> str:
        return key.removeprefix("train ")

    store = store_of(folder)
    for key, found in run_cached(sent, Weights, store=store, workers=workers, label=name_in, memory=memory):
        name = name_in(key)
        if found.weights:
            models[name] = wanted[name].trainer.restore(found.weights, dataset)
            done(name)
    for name, task in tasks.items():
        if name not in models:
            models[name] = _asked(wanted[name], dataset, place(folder, name_of(task), label=name))
            done(name)
    return {
        name: replace(models[name], mechanism=model.trainer.mechanism(int(model.included.sum())))
        for name, model in wanted.items()
    }


def _asked(model: Wanted, dataset: Dataset, folder: Path) -> TrainedModel:
    """A model that gives no weights away: what it answered is stored in a folder of its own."""
    store = store_of(folder)
    if folder.exists():
        logger.warning(
            "what the model answered is taken from %s, where it is stored; remove that folder to train it again, as "
            "after a change to packages or files that its code uses: those are not looked at",
            folder,
        )
        answers = RecordedOutputs(partial(_predict, model, dataset), store, dataset.features)
    else:
        predict = _predict(model, dataset)
        answers = RecordedOutputs(lambda: predict, store, dataset.features)
    answers(dataset.features)
    return TrainedModel(answers, {})


def _predict(model: Wanted, dataset: Dataset) -> Predict:
    return model.trainer(dataset, model.included, seed=model.seed).predict


@dataclass(frozen=True)
class Weights:
    """Weights of a trained model by name; none where its framework keeps them."""

    weights: dict[str, npt.NDArray[np.float32]]


@dataclass(frozen=True, eq=False)
class TrainOne:
    """A task: one model."""

    trainer: Trainer
    records: Records
    included: Packed
    seed: int

    def __call__(self) -> Weights:
        """Its weights."""
        dataset, _ = self.records()
        return Weights(dict(self.trainer(dataset, self.included.mask, seed=self.seed).weights))
