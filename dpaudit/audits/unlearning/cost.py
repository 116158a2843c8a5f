"""What ``[unlearning]`` would take: trainings with and without the records, and what makes a model forget."""

from dpaudit.audits.table_cost import TableCost, Untrained
from dpaudit.audits.unlearning.settings import UnlearningSettings
from dpaudit.runtime.took import Took, total
from dpaudit.training.capabilities import ByEpochs, reference_trainer


def cost(settings: UnlearningSettings, untrained: Untrained) -> TableCost:
    """Of the models like every subject: two trainings each, and of finetuning its share of one."""
    method, models = settings.build(), settings.references + settings.models
    trainings = 2 * models * len(untrained.trainers)
    if settings.outside_code is not None:
        return TableCost(trainings, None, f"it calls {method.name}, code from outside dpaudit")
    parts: list[Took | None] = []
    for own in untrained.trainers.values():
        trainer = reference_trainer(own, untrained.audit.dataset)
        whole = 2.0
        if method.epochs is not None and isinstance(trainer, ByEpochs):
            whole += method.epochs / trainer.epochs
        parts.append(untrained.together(trainer, round(whole * models)))
    return TableCost(trainings, total(parts), "a model has no number of epochs to predict from")
