"""What ``[extraction]`` would take: one prediction of each model for every text that is looked at."""

from dpaudit.audits.extraction.run import ExtractionSettings
from dpaudit.audits.table_cost import TableCost, Untrained
from dpaudit.runtime.took import Took, total


def cost(settings: ExtractionSettings, untrained: Untrained) -> TableCost:
    """Of all models: their share of a prediction for all records, which was timed."""
    share = min(2 * settings.records / len(untrained.audit.dataset), 1.0)
    speeds = [untrained.alone(trainer) for trainer in untrained.trainers.values()]
    parts: list[Took | None] = [None if speed is None else speed.predict * share for speed in speeds]
    return TableCost(0, total(parts), "a model has no number of epochs to predict from")
