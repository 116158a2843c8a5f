"""What changed between two results, each difference with an interval; what cannot be compared is marked so."""

from dataclasses import dataclass

from dpaudit.gate.metric_intervals import Interval, metric_interval
from dpaudit.gate.same_conditions import attacks_alike
from dpaudit.results.membership import AttackResult
from dpaudit.results.result import Result
from dpaudit.runtime.errors import InputError

LEVEL = 0.05  # all intervals of one comparison hold together with 95 % confidence
METRICS: tuple[tuple[str, tuple[str, float | None]], ...] = (
    ("AUC", ("auc", None)),
    ("TPR at 10 % FPR", ("tpr", 0.1)),
    ("TPR at 1 % FPR", ("tpr", 0.01)),
)


@dataclass(frozen=True)
class Change:
    """One metric of one attack on one model, before and after.

    Args:
        model: name of the model.
        attack: name of the attack.
        metric: name of the metric, fit for a report.
        before: in the older result.
        after: in the newer one.
        difference: after minus before; None when the two cannot be compared.
        refused: why they cannot; empty when they can.
        said: what else differs.
    """

    model: str
    attack: str
    metric: str
    before: Interval
    after: Interval
    difference: Interval | None
    refused: str = ""
    said: tuple[str, ...] = ()

    @property
    def word(self) -> str:
        """``grew``, ``shrank``, ``no change seen``, or ``not comparable`` and why."""
        if self.difference is None:
            return f"not comparable: {self.refused}"
        if self.difference.low > 0:
            return "grew"
        return "shrank" if self.difference.high < 0 else "no change seen"


def changes(before: Result, after: Result) -> list[Change]:
    """Every metric that both results hold, those that can be compared under one error level.

    Raises:
        InputError: the two have no attack on a model of the same name in common, or none that can be compared.
    """
    old, new = _attacks(before), _attacks(after)
    common = [key for key in new if key in old]
    if not common:
        raise InputError(
            f"{before.name!r} and {after.name!r} have no attack on a model of the same name in common; they hold "
            f"{_names(old)} and {_names(new)}."
        )
    likeness = {key: attacks_alike(before, after, *key) for key in common}
    comparable = sum(not each.refused for each in likeness.values())
    if not comparable:
        reasons = dict.fromkeys(each.why_not for each in likeness.values())
        raise InputError(f"nothing in {before.name!r} and {after.name!r} can be compared: {'; '.join(reasons)}.")
    tail = LEVEL / 2 / (comparable * len(METRICS))
    found = []
    for key, alike in likeness.items():
        for name, metric in METRICS:
            earlier, later = metric_interval(old[key], metric, tail=tail), metric_interval(new[key], metric, tail=tail)
            difference = None if alike.refused else later.minus(earlier)
            found.append(Change(*key, name, earlier, later, difference, alike.why_not, alike.said))
    return found


def _attacks(result: Result) -> dict[tuple[str, str], AttackResult]:
    if result.membership is None:
        return {}
    models = dict.fromkeys(attack.model for attack in result.membership.attacks)
    return {(model, name): found for model in models for name, found in result.membership.by_name(model).items()}


def _names(attacks: dict[tuple[str, str], AttackResult]) -> str:
    return ", ".join(f"{model}/{attack}" for model, attack in list(attacks)[:5]) or "none"
