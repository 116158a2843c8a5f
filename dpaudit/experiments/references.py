"""Reference models: trained like the target, on halves of the records, to know what it would do with and without."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dpaudit._check import BoolArray, FloatArray
from dpaudit.blocks import columns, empty, is_mapped, release, room
from dpaudit.data.dataset import Dataset
from dpaudit.data.source import Records
from dpaudit.errors import InputError
from dpaudit.outputs import Kind, log_probabilities, observe, phi
from dpaudit.progress import Progress
from dpaudit.signals import PoolSignals, Signals
from dpaudit.tasks import Workers
from dpaudit.training.dp_sgd import DpSgd, Optimizer
from dpaudit.training.pool import Pool
from dpaudit.training.sgd import Sgd
from dpaudit.training.tf_privacy import TFPrivacy
from dpaudit.training.trainer import Trainer

logger = logging.getLogger(__name__)
# TensorFlow Privacy's name -> the engine's.
STACKED_OPTIMIZERS: dict[str, Optimizer] = {
    "sgd": "sgd",
    "vectorized-sgd": "sgd",
    "dp-sequential": "sgd",
    "adam": "adam",
    "vectorized-adam": "adam",
}


def observed_pool(
    trainer: Trainer,
    dataset: Dataset,
    included: BoolArray,
    population: Dataset | None,
    *,
    seed: int,
    folder: Path,
    progress: Progress,
    memory: int | None = None,
    workers: Workers | None = None,
    records: Records | None = None,
) -> PoolSignals:
    """Train a pool of models and observe each on all records and on the population.

    Args:
        trainer: the target's.
        dataset: the records.
        included: who is in which model, shape (models, records), in complementary pairs.
        population: records that no model is trained on.
        seed: of the pool.
        folder: what was trained is kept here and not trained again.
        progress: says how many models are trained.
        memory: bytes the training may use; None is half of what is free.
        workers: where models are trained; None is this process.
        records: the records and the population as tasks take them; None sends them.
    """
    recipe = reference_trainer(trainer, dataset)
    pool = Pool(recipe, dataset, included, population, seed, folder, memory, workers or Workers(), records)
    with progress.task("training reference models", pool.missing()) as advance:
        outputs = pool(advance)
    return pool_signals(outputs.records, outputs.population, included, dataset, population)


def pool_signals(
    outputs: FloatArray,
    others: FloatArray | None,
    included: BoolArray,
    dataset: Dataset,
    population: Dataset | None,
) -> PoolSignals:
    """Signals of a pool's models from their outputs.

    Args:
        outputs: on the records, shape (models, records, outputs).
        others: on the population, shape (models, population records, outputs).
        included: who is in which model, shape (models, records), in complementary pairs.
        dataset: the records.
        population: records that no model was trained on.
    """
    values, logs = _seen(outputs, dataset)
    seen, log_p = (None, None) if population is None or others is None else _seen(others, population)
    return PoolSignals(
        phi=values,
        included=included,
        labels=None if logs is None else dataset.classes,
        log_probabilities=logs,
        population=seen,
        population_labels=population.classes if population is not None and log_p is not None else None,
        population_log_probabilities=log_p,
        features=dataset.features,
        population_features=None if population is None else population.features,
    )


def _seen(outputs: FloatArray, data: Dataset) -> tuple[FloatArray, FloatArray | None]:
    """φ (models, records), and the log-probabilities of all classes where there are any, from a pool's outputs."""
    classes = data.task == "multiclass"
    if not is_mapped(outputs):
        logs = log_probabilities(outputs, kind="logits") if classes else None
        return phi(outputs, data.labels, task=data.task).values, logs
    values = empty(outputs.shape[:2])
    # As exact as the outputs, for that is the type they are computed in.
    logs = empty(outputs.shape, outputs.dtype) if classes else None
    width = max(1, room().block_bytes // (8 * data.outputs))
    for model in range(len(outputs)):
        for part in (slice(at, at + width) for at in range(0, len(data), width)):
            block = outputs[model, part]
            values[model, part] = phi(block, data.labels[part], task=data.task).values
            if logs is not None:
                logs[model, part] = log_probabilities(block, kind="logits")
        release(outputs, values, logs)
    return values, logs


def stacked(trainer: Trainer, dataset: Dataset) -> Trainer:
    """The same recipe on the stacked engine, where it can take it: many times faster, statistically the same.

    An architecture with a layer the engine does not have, and training until an accuracy, stay with the trainer.
    """
    if not isinstance(trainer, Sgd) or trainer.until_accuracy is not None:
        return trainer
    together = DpSgd(
        trainer.architecture,
        l2_norm_clip=None,
        epochs=trainer.epochs,
        batch_size=trainer.batch_size,
        learning_rate=trainer.learning_rate,
        momentum=trainer.momentum,
        optimizer=trainer.optimizer,
        sampling="shuffled",
    )
    return _if_readable(together, trainer, dataset)


def reference_trainer(trainer: Trainer, dataset: Dataset) -> Trainer:
    """What trains the references of a trainer's model: `stacked`, and for TensorFlow Privacy's own code its recipe too.

    An attacker has the recipe and not the code, and no bound speaks of references. The audited model itself, and
    whatever stands in for it, comes from the code. Microbatches of several examples and Adagrad stay with the trainer.
    """
    if not isinstance(trainer, TFPrivacy):
        return stacked(trainer, dataset)
    optimizer = STACKED_OPTIMIZERS.get(trainer.optimizer)
    if optimizer is None or trainer.microbatches != trainer.batch_size:
        return trainer
    together = DpSgd(
        trainer.architecture,
        l2_norm_clip=trainer.l2_norm_clip,
        noise_multiplier=trainer.noise_multiplier,
        epochs=trainer.epochs,
        batch_size=trainer.batch_size,
        learning_rate=trainer.learning_rate,
        optimizer=optimizer,
        sampling="shuffled",
        drop_remainder=True,
    )
    return _if_readable(together, trainer, dataset)


def _if_readable(together: DpSgd, trainer: Trainer, dataset: Dataset) -> Trainer:
    try:
        together.network(dataset)
    except InputError as error:
        logger.info("reference models are trained one at a time: %s", error)
        return trainer
    return together


def target_signals(
    outputs: FloatArray,
    dataset: Dataset,
    population: Dataset | None,
    population_outputs: FloatArray | None,
    *,
    kind: Kind = "logits",
    pool: PoolSignals | None = None,
    rows: BoolArray | None = None,
) -> Signals:
    """What an attacker sees of a target, with all models of a pool as its references.

    Args:
        outputs: of the target on the records, shape (records, outputs).
        dataset: the records.
        population: records that neither the target nor a reference was trained on.
        population_outputs: of the target on those.
        kind: of the target's outputs.
        pool: the references.
        rows: which records of the pool are audited, shape (records of the pool,); all when None.
    """
    own = observe(outputs, dataset.labels, task=dataset.task, kind=kind)
    others = None
    if population is not None and population_outputs is not None:
        seen = observe(population_outputs, population.labels, task=population.task, kind=kind)
        others = Signals(
            seen.phi,
            seen.labels,
            seen.log_probabilities,
            reference=np.empty((0, len(seen))) if pool is None or pool.population is None else pool.population,
            included=np.zeros((0 if pool is None else len(pool), len(seen)), bool),
            features=population.features,
            floored=seen.floored,
        )

    def kept(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return array if rows is None else columns(array, rows)

    log_p = None if pool is None or pool.log_probabilities is None else kept(pool.log_probabilities)
    return Signals(
        own.phi,
        own.labels,
        own.log_probabilities,
        reference=np.empty((0, len(own))) if pool is None else kept(pool.phi),
        included=np.empty((0, len(own)), bool) if pool is None else kept(pool.included),
        population=others,
        features=dataset.features,
        reference_log_probabilities=log_p if own.log_probabilities is not None else None,
        floored=own.floored,
    )
