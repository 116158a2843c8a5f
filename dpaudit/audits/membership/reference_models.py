"""Reference models: trained like the target, on halves of the records, to know what it would do with and without."""

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from dpaudit.data.dataset import Dataset
from dpaudit.runtime.check import BoolArray, FloatArray
from dpaudit.runtime.out_of_core import current_room, empty, is_mapped, releasing, select_records
from dpaudit.runtime.progress import Progress
from dpaudit.scores.from_outputs import OutputKind, log_probabilities, observe, phi
from dpaudit.scores.signals import PoolSignals, Signals
from dpaudit.training.capabilities import reference_trainer
from dpaudit.training.reference_models.pool import Pool


def observed_pool(pool: Pool, progress: Progress, *, audited: BoolArray | None = None) -> PoolSignals:
    """Train a pool of models, those of the trainer's references, and observe each on all records and the population.

    Args:
        pool: of the target's trainer, whose rows come in complementary pairs.
        progress: says how many models are trained.
        audited: which records are observed, shape (records,); all when None.
    """
    pool = replace(pool, trainer=reference_trainer(pool.trainer, pool.dataset))
    with progress.task("training reference models", pool.missing()) as advance:
        outputs = pool(advance)
    if audited is None:
        return pool_signals(outputs.records, outputs.population, pool.included, pool.dataset, pool.population)
    seen, included = select_records(outputs.records, audited), pool.included[:, audited]
    return pool_signals(seen, outputs.population, included, pool.dataset.take(audited), pool.population)


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
    width = max(1, current_room().block_bytes // (8 * data.outputs))
    for model in releasing(range(len(outputs)), outputs, values, logs):
        for part in (slice(at, at + width) for at in range(0, len(data), width)):
            block = outputs[model, part]
            values[model, part] = phi(block, data.labels[part], task=data.task).values
            if logs is not None:
                logs[model, part] = log_probabilities(block, kind="logits")
    return values, logs


def target_signals(
    outputs: FloatArray,
    dataset: Dataset,
    population: Dataset | None,
    population_outputs: FloatArray | None,
    *,
    kind: OutputKind = "logits",
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
        return array if rows is None else select_records(array, rows)

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
