"""What ``[ladder]`` would take: questions to a step, timed on a few of them, and trainings with canaries."""

from collections.abc import Sequence
from functools import partial

from dpaudit.audits.ladder.budget import QUESTIONS, ask_nothing
from dpaudit.audits.ladder.settings import LadderSettings, seconds
from dpaudit.audits.table_cost import TableCost, Untrained
from dpaudit.bounds.lower_bound import Skipped
from dpaudit.inspection.step_canaries import PILOT
from dpaudit.runtime.took import Took, total
from dpaudit.training.capabilities import ByEpochs, probe
from dpaudit.training.reference_models.speed import measured_twice, speed_of
from dpaudit.training.trainer import Trainer
from dpaudit.training.watched import watched

ASKED = 10  # questions that are timed


def cost(settings: LadderSettings, untrained: Untrained) -> TableCost:
    """Of all rungs for all models; with a budget, that."""
    if settings.budget is not None:
        return TableCost(0, Took(seconds(settings.budget), seconds(settings.budget)))
    parts: list[Took | None] = []
    trainings = 0
    for trainer in untrained.trainers.values():
        mechanism = trainer.mechanism(untrained.members())
        asks = [rung for rung in settings.rungs if rung in (1, 2)]
        if asks and mechanism is not None and mechanism.noise_multiplier > 0:
            parts.append(_questions(settings, trainer, asks, untrained))
        if 3 in settings.rungs:
            models = 1 + settings.references + (settings.canary == "found")
            trainings += models
            parts.append(untrained.together(trainer, models))
        if 4 in settings.rungs:
            shown = watched(trainer, untrained.audit.dataset)
            trainings += settings.runs
            parts.append(untrained.together(trainer if isinstance(shown, Skipped) else shown, settings.runs))
    return TableCost(trainings, total(parts), "a model has no number of epochs to predict from")


def _questions(settings: LadderSettings, trainer: Trainer, rungs: Sequence[int], untrained: Untrained) -> Took:
    """Of rungs 1 and 2: the same step, traced anew for each, answers so many questions."""
    asked = probe(trainer, untrained.audit.dataset, seed=0)
    if isinstance(asked, Skipped):
        return Took()
    what = speed_of(trainer) if isinstance(trainer, ByEpochs) else repr(trainer)
    first, again = measured_twice(partial(ask_nothing, asked.mechanism, ASKED), "questions", what)
    number = {1: QUESTIONS, 2: settings.steps + PILOT}
    return first.less(again) * len(rungs) + again * (sum(number[rung] for rung in rungs) / ASKED)
