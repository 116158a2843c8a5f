"""Leakage over releases: every result below a folder, in the order of time."""

from dataclasses import dataclass
from pathlib import Path

from dpaudit.errors import InputError
from dpaudit.measured import Interval, auc
from dpaudit.results.result import Result, load_result

TAIL = 0.025  # each point's interval holds with 95 %


@dataclass(frozen=True)
class Release:
    """One model of one result.

    Args:
        result: the result.
        path: where it was read from.
        model: name of the model.
        verdict: on its promise, or ``no promise``.
        promised: ε promised; None when nothing is.
        epsilon: the largest lower bound; None when none was computed.
        auc: of the attack that separates best, with its interval; None when there was none.
    """

    result: Result
    path: Path
    model: str
    verdict: str
    promised: float | None
    epsilon: float | None
    auc: Interval | None


def releases(folder: Path) -> list[Release]:
    """Every model of every ``result.json`` below a folder, oldest first.

    Raises:
        InputError: there is none, or one cannot be read.
    """
    paths = sorted(folder.rglob("result.json"))
    if not paths:
        raise InputError(f"there is no result.json below {folder}.")
    results = sorted(((load_result(path), path) for path in paths), key=lambda pair: pair[0].provenance.created)
    return [_release(result, path, model.name) for result, path in results for model in result.models]


def _release(result: Result, path: Path, model: str) -> Release:
    attacks = [attack for attack in result.membership.attacks if attack.model == model] if result.membership else []
    best = max(attacks, key=lambda attack: attack.auc, default=None)
    found = result.comparison(model)
    return Release(
        result=result,
        path=path,
        model=model,
        verdict=found.verdict if found is not None else "no promise",
        promised=found.claim.epsilon if found is not None else None,
        epsilon=max((bound.epsilon for bound in result.bounds(model)), default=None),
        auc=auc(best, tail=TAIL) if best is not None else None,
    )
