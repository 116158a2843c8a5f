"""What changed in the plan between two results, key by key."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from dpaudit.gate.same_conditions import plan_of
from dpaudit.results.result import Result

NOT_THERE = "–"


@dataclass(frozen=True)
class PlanChange:
    """One key of the plan that differs.

    Args:
        key: with its tables, for example ``model.mlp.epochs``.
        before: its value in the older result; a dash where it was not there.
        after: its value in the newer one.
    """

    key: str
    before: str
    after: str


def plan_changes(before: Result, after: Result) -> tuple[PlanChange, ...]:
    """Keys that differ, in the order of the newer plan, then those that are gone; the plan's name is none of them.

    A result without a plan is described by how its models were trained, and by δ and the confidence of its audit.
    """
    was, now = dict(_flat(_settings(before))), dict(_flat(_settings(after)))
    keys = [*now, *(key for key in was if key not in now)]
    return tuple(
        PlanChange(key, was.get(key, NOT_THERE), now.get(key, NOT_THERE))
        for key in keys
        if was.get(key) != now.get(key) and key != "name"
    )


def _settings(result: Result) -> Mapping[str, Any]:
    plan = plan_of(result)
    if plan:
        return plan
    models = [{"name": model.name, "trainer": model.trainer, **model.parameters} for model in result.models]
    return {"audit": {"delta": result.delta, "confidence": result.level.confidence}, "model": models}


def _flat(value: Any, place: str = "") -> Iterator[tuple[str, str]]:
    """Keys and values; an entry of a list that has a name goes by it."""
    if isinstance(value, Mapping):
        for key, part in value.items():
            yield from _flat(part, f"{place}.{key}".lstrip("."))
    elif isinstance(value, list) and value and all(isinstance(each, Mapping) and "name" in each for each in value):
        for each in value:
            yield from _flat({key: part for key, part in each.items() if key != "name"}, f"{place}.{each['name']}")
            if len(each) == 1:
                yield f"{place}.{each['name']}", "there"
    else:
        yield place, str(value)
