"""What a table of a plan would take, before any of its models is trained: each table says its own cost."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from dpaudit.audits.audit import Audit
from dpaudit.runtime.took import Took
from dpaudit.training.capabilities import ByEpochs, StackedTrainer
from dpaudit.training.reference_models.pool import Pool
from dpaudit.training.reference_models.speed import Sample, Speed, measure_alone, measure_training, speed_of
from dpaudit.training.trainer import TrainedModel, Trainer

TIMED_EPOCHS = 4  # of a training; the first has what is traced for it


@dataclass(frozen=True)
class TableCost:
    """What the experiments of one table take.

    Args:
        trainings: models to train.
        took: predicted time; None when it cannot be predicted.
        reason: why it cannot.
    """

    trainings: int
    took: Took | None
    reason: str = ""


@dataclass(frozen=True)
class Untrained:
    """An audit before its first training: what a table needs to know to say its cost.

    Args:
        audit: with its records; its subjects are not trained yet.
        trainers: of the subjects, by name.
    """

    audit: Audit
    trainers: Mapping[str, Trainer]

    def alone(self, trainer: Trainer) -> Speed | None:
        """Of one model by its own code, as a subject is trained; None of a trainer without epochs."""
        audit = self.audit
        if not isinstance(trainer, ByEpochs):
            return None
        some = Sample.of(trainer, audit.dataset, audit.member)

        def train(epochs: int) -> TrainedModel:
            return trainer.with_epochs(epochs)(some.dataset, audit.member[some.rows], seed=0)

        what = speed_of(trainer), some.dataset.features.shape, audit.dataset.outputs, int(audit.member[some.rows].sum())

        def predict(model: TrainedModel) -> None:
            model.predict(some.dataset.features)

        if isinstance(trainer, StackedTrainer):
            return measure_training(train, predict, *what, "alone").of_records(some.scale)
        epochs = min(TIMED_EPOCHS, trainer.epochs)
        return measure_alone(train, predict, *what, epochs=epochs).of_records(some.scale)

    def together(self, trainer: Trainer, models: int) -> Took | None:
        """Of so many models at once, as reference models are trained and asked."""
        audit = self.audit
        included = np.tile(audit.member, (models, 1))
        return Pool(trainer, audit.dataset, included, None, 0, audit.folder, audit.memory, audit.workers).cost().took

    def members(self) -> int:
        """Records that a subject is trained on."""
        return int(self.audit.member.sum())


def times(part: Took | None, number: float) -> Took | None:
    """So many times as much; what is unknown stays so.

    >>> times(Took(1.0, 2.0), 3), times(None, 3)
    (Took(wall=3.0, cpu=6.0), None)
    """
    return None if part is None else part * number
