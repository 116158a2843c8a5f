"""DP-SGD, or SGD without DP, on the stacked engine: one model or many at once, the same either way."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from dpaudit.accounting.claim import GaussianSteps, Poisson, Sampling, SamplingName, Shuffled
from dpaudit.bounds.lower_bound import Skipped
from dpaudit.data.dataset import Dataset, Task
from dpaudit.engine.batches import TOLERANCE, longest_batch, sampling_event
from dpaudit.engine.schedules import Constant, Cosine, Steps
from dpaudit.runtime import check
from dpaudit.runtime.check import BoolArray, FloatArray
from dpaudit.runtime.errors import InputError
from dpaudit.training.architecture import Architecture
from dpaudit.training.capabilities import checked_epoch, no_probe
from dpaudit.training.fine_tuned import network_of
from dpaudit.training.trainer import TrainedModel

if TYPE_CHECKING:
    from dpaudit.engine.cost import Cost
    from dpaudit.engine.network import Network, Parameters
    from dpaudit.engine.training import TrainingRecipe, Watch
    from dpaudit.inspection.under_test import UnderTest
    from dpaudit.training.watched import StepMeasure

logger = logging.getLogger(__name__)
OptimizerName = Literal["sgd", "adam"]
BatchSampling = Literal[SamplingName, "full"]
FAMILY = 0  # a model's own seed is its number in this one family, so a model alone is the model in a stack


@dataclass(frozen=True)
class DpSgd:
    """DP-SGD (`Abadi et al. (2016) <https://arxiv.org/abs/1607.00133>`_) or DP-Adam with per-example clipping.

    The noisy sum of clipped gradients is divided by ``batch_size``, whatever the batch held. The noise is seeded: good
    for audits, not for a model that is released.

    Args:
        architecture: what is trained.
        l2_norm_clip: L2 norm each example's gradient is clipped to; None trains without DP.
        noise_multiplier: standard deviation of the noise over the clip norm; 0 adds none.
        epochs: passes over the training records, on average when batches are drawn independently.
        batch_size: (expected) records per step.
        learning_rate: step size, or a schedule of it.
        optimizer: ``sgd`` or ``adam``.
        momentum: of sgd.
        weight_decay: times learning rate and weights, subtracted outside of what is clipped and noised.
        sampling: ``poisson``, ``truncated-poisson``, ``fixed-size`` or ``shuffled``; the accountant is told which.
            ``full``: every record in every step, so that an epoch is one step; the sum is divided by ``batch_size`` all
            the same.
        largest_batch: at which truncated Poisson batches are cut, and those only.
        drop_remainder: leave out what does not fill the last batch of a shuffled epoch, as TensorFlow Privacy does.
        tolerance: bound on the probability that a Poisson batch of the training is cut to its padding; added to δ.
        compiled: compile with XLA; a training of a few steps may be faster without.
    """

    architecture: Architecture
    l2_norm_clip: float | None = 1.0
    noise_multiplier: float = 0.0
    epochs: int = 20
    batch_size: int = 50
    learning_rate: float | Cosine | Steps = 0.1
    optimizer: OptimizerName = "sgd"
    momentum: float = 0.0
    weight_decay: float = 0.0
    sampling: BatchSampling = "poisson"
    largest_batch: int | None = None
    drop_remainder: bool = False
    tolerance: float = TOLERANCE
    compiled: bool = True

    def __post_init__(self) -> None:
        if self.l2_norm_clip is not None:
            check.positive("l2_norm_clip", self.l2_norm_clip)
        elif self.noise_multiplier:
            raise InputError(f"noise_multiplier {self.noise_multiplier} needs an l2_norm_clip, got None.")
        check.nonnegative("noise_multiplier", self.noise_multiplier)
        check.integer("epochs", self.epochs, at_least=1)
        check.integer("batch_size", self.batch_size, at_least=1)
        if not isinstance(self.learning_rate, Cosine | Steps):
            check.positive("learning_rate", self.learning_rate)
        check.one_of("optimizer", self.optimizer, get_args(OptimizerName))
        check.probability("momentum", self.momentum)
        if self.optimizer != "sgd" and self.momentum:
            raise InputError(f"momentum belongs to the sgd optimizer, got {self.momentum} with {self.optimizer}.")
        check.nonnegative("weight_decay", self.weight_decay)
        check.one_of("sampling", self.sampling, get_args(BatchSampling))
        if self.drop_remainder and self.sampling != "shuffled":
            raise InputError(f"drop_remainder belongs to shuffled batches, got it with sampling {self.sampling!r}.")
        if (self.largest_batch is None) == (self.sampling == "truncated-poisson"):
            raise InputError(
                "largest_batch belongs to truncated-poisson batches, which need it; "
                f"got {self.largest_batch} with sampling {self.sampling!r}."
            )
        if self.largest_batch is not None:
            check.integer("largest_batch", self.largest_batch, at_least=1)
        check.open_unit("tolerance", self.tolerance)

    def steps(self, records: int) -> int:
        """Updates of a training on ``records`` records."""
        event = self.event(records)
        if self.sampling == "full":
            return self.epochs
        per_epoch = event.batches_per_epoch if isinstance(event, Shuffled) else records / self.batch_size
        return max(1, round(self.epochs * per_epoch))

    def event(self, records: int) -> Sampling:
        """How batches are drawn from so many records."""
        if self.sampling == "full":
            return Poisson(1.0)
        return sampling_event(
            self.sampling,
            records,
            self.batch_size,
            drop_remainder=self.drop_remainder,
            largest_batch=self.largest_batch,
        )

    def mechanism(self, records: int) -> GaussianSteps | None:
        """What the accountant is told, with the probability of a cut batch as slack; None without clipping."""
        if self.l2_norm_clip is None:
            return None
        event, steps = self.event(records), self.steps(records)
        _, slack = longest_batch(event, records, self.batch_size, steps, tolerance=self.tolerance)
        return GaussianSteps(self.noise_multiplier, steps, event, slack)

    def adds_noise(self) -> bool:
        """Whether there is a noise multiplier."""
        return self.noise_multiplier > 0

    def records_needed(self) -> int:
        """One batch."""
        return self.batch_size

    def refuse(self, dataset: Dataset) -> None:
        """Refuse an architecture that the stacked engine cannot train on such records, with DP where it clips."""
        self.network(dataset)

    def with_epochs(self, epochs: int) -> "DpSgd":
        """The same training for so many epochs."""
        return replace(self, epochs=epochs)

    def at_epoch(self, epochs: int) -> "DpSgd":
        """The training stopped after so many epochs.

        Raises:
            InputError: its learning rate follows a schedule, or it is not that long.
        """
        if isinstance(self.learning_rate, Cosine | Steps):
            raise InputError(
                "checkpoints need a constant learning_rate: a schedule is stretched over the whole training."
            )
        return replace(self, epochs=checked_epoch(self, epochs))

    def stacked(self, dataset: Dataset) -> "DpSgd":
        """Itself: it runs on the stacked engine."""
        return self

    def without_privacy(self) -> "DpSgd":
        """The same network trained on shuffled batches, without clipping and noise."""
        return replace(self, l2_norm_clip=None, noise_multiplier=0.0, sampling="shuffled")

    def probe(self, dataset: Dataset, *, seed: int) -> "UnderTest | Skipped":
        """One step of the engine on a linear network, with this clip norm, noise and batch size."""
        if self.l2_norm_clip is None:
            return no_probe(self)
        from dpaudit.inspection.engine_step import stacked_step
        from dpaudit.inspection.mechanism import Stated
        from dpaudit.inspection.under_test import UnderTest

        clip, noise, size = self.l2_norm_clip, self.noise_multiplier, self.batch_size
        step = stacked_step(clip=clip, noise_multiplier=noise, denominator=size, seed=seed)
        return UnderTest(step, Stated(clip, noise, size, "zero-out"))

    def restore(self, weights: dict[str, npt.NDArray[np.float32]], dataset: Dataset) -> TrainedModel:
        """The model again from stored weights."""
        from dpaudit.training.keras_model import restore_model

        return restore_model(self.architecture(*dataset.network_shape), weights, None)

    def __call__(self, dataset: Dataset, included: BoolArray, *, seed: int) -> TrainedModel:
        """Train one model on the included records.

        Raises:
            InputError: fewer records than one batch, or an architecture the stacked engine cannot run.
            AuditFailed: the trained weights are not finite.
        """
        return self.train_many(dataset, included[None], seeds=[seed])[0]

    def train_many(
        self,
        dataset: Dataset,
        included: BoolArray,
        *,
        seeds: Sequence[int],
        progress: Callable[[int], None] | None = None,
        start: Sequence[Sequence[npt.NDArray[np.float32]]] | None = None,
        watch: "Watch | None" = None,
    ) -> list[TrainedModel]:
        """Train one model per row of ``included`` (models, records); model i depends on its row and seed alone.

        Args:
            dataset: the records.
            included: who is in which model.
            seeds: one for each model.
            progress: called with the steps done since the last call, summed over the models.
            start: weights that each model starts from, in the order of ``TrainedModel.weights``; drawn from its seed
                when None.
            watch: sees every step, as in `dpaudit.engine.training.train`; a model's number is its seed.
        """
        from dpaudit.engine.training import Member, train
        from dpaudit.training.keras_model import keras_targets, network_inputs

        sizes = included.sum(axis=1)
        steps = np.array([self.steps(int(size)) for size in sizes])
        if len(set(steps)) > 1:  # trainings of one call have one length
            models: list[TrainedModel | None] = [None] * len(seeds)
            for length in np.unique(steps):
                chosen = np.flatnonzero(steps == length)
                part = self.train_many(
                    dataset,
                    included[chosen],
                    seeds=[seeds[i] for i in chosen],
                    progress=progress,
                    start=None if start is None else [start[i] for i in chosen],
                    watch=watch,
                )
                for i, model in zip(chosen, part, strict=True):
                    models[i] = model
            return [model for model in models if model is not None]
        network = self.network(dataset)
        members = [
            Member(seed, np.flatnonzero(row), self.event(int(row.sum())))
            for row, seed in zip(included, seeds, strict=True)
        ]
        parameters = train(
            network,
            network.initial(seed=FAMILY, models=seeds) if start is None else network.started(start, FAMILY, seeds),
            self.recipe(dataset, int(sizes[0])),
            members,
            features=network_inputs(dataset),
            targets=keras_targets(dataset),
            seed=FAMILY,
            progress=progress,
            watch=watch,
        )
        parameters = tuple(np.asarray(value) for value in parameters)  # at once, and not copy by copy

        def one(i: int) -> "Parameters":
            return network.of_copies(parameters, lambda value: value[i : i + 1])

        return [self._model(network, one(i), int(size), dataset.task) for i, size in enumerate(sizes)]

    def initial_weights(self, dataset: Dataset, *, seed: int) -> list[npt.NDArray[np.float32]]:
        """Random weights that a model of this seed starts from, in the order of ``train_many``'s ``start``."""
        network = self.network(dataset)
        return network.merged(network.initial(seed=FAMILY, models=[seed]), 0)

    def measure(self, records: Dataset, *, along_gradients: bool) -> "StepMeasure":
        """What an attacker who sees a step learns of some records (`dpaudit.training.engine_scores`)."""
        from dpaudit.training.engine_scores import measure_steps

        return measure_steps(self.network(records), records, clip=self.l2_norm_clip, along_gradients=along_gradients)

    def cost(self, dataset: Dataset) -> "Cost":
        """What one example costs, and what a step of the engine holds."""
        from dpaudit.engine.cost import cost

        return cost(self.network(dataset))

    def network(self, dataset: Dataset) -> "Network":
        """The architecture for a data set, on the stacked engine."""
        architecture: Any = self.architecture  # a value, so it can be looked up
        content = getattr(architecture, "fingerprint", None)  # of one that is read from a file
        return _network(architecture, content, *dataset.network_shape, self.l2_norm_clip is None)

    def recipe(self, dataset: Dataset, records: int) -> "TrainingRecipe":
        """What the engine is told for a training on ``records`` records."""
        from dpaudit.engine.optimizers import Adam, GradientDescent
        from dpaudit.engine.training import TrainingRecipe

        rate = self.learning_rate
        return TrainingRecipe(
            dataset.task,
            self.steps(records),
            self.batch_size,
            Adam() if self.optimizer == "adam" else GradientDescent(self.momentum),
            rate if isinstance(rate, Cosine | Steps) else Constant(rate),
            self.l2_norm_clip,
            self.noise_multiplier,
            self.weight_decay,
            self.tolerance,
            self.compiled,
        )

    def _model(self, network: "Network", parameters: Any, records: int, task: Task) -> TrainedModel:
        def predict(features: npt.NDArray[np.float32]) -> FloatArray:
            if task == "next-token":
                return network.predict_token_losses(parameters, features)[0]  # type: ignore[no-any-return]
            return np.asarray(network.predict(parameters, features)[0], np.float64)

        weights = {
            f"{i:03d}:{variable.name}": value
            for i, (variable, value) in enumerate(zip(network.variables, network.merged(parameters, 0), strict=False))
        }
        return TrainedModel(predict, weights, self.mechanism(records))


def readable(together: DpSgd, dataset: Dataset) -> DpSgd | Skipped:
    """The trainer where the engine can take its architecture."""
    try:
        together.network(dataset)
    except InputError as error:
        logger.info("reference models are trained one at a time: %s", error)
        return Skipped(str(error).rstrip("."))
    return together


@lru_cache(maxsize=16)
def _network(
    architecture: Any, content: str | None, input_shape: tuple[int, ...], outputs: int, mixes_examples: bool
) -> "Network":
    """The same object whenever it is asked for, so that chunks of a pool share compiled programs."""
    return network_of(architecture, input_shape, outputs, mixes_examples=mixes_examples)
