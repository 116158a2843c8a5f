"""Which attacks cannot run on what a plan gives them, found on a few random signals before anything is trained."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np

from dpaudit.attacks.membership.pools import audited_part
from dpaudit.audits.membership.cost import noise_pool
from dpaudit.audits.membership.run import MembershipSettings, chosen_groups
from dpaudit.data.dataset import Task
from dpaudit.runtime.errors import InputError
from dpaudit.scores.signals import Signals

MODELS, RECORDS, CLASSES = 8, 40, 3


def refuse_attacks(settings: MembershipSettings, task: Task) -> None:
    """Refuse attacks and slices that lack what the plan does not give: classes, references, queries, checkpoints.

    An attack is refused only where it runs on the same random signals once nothing is missing: what it says of the
    number of records is left to the real ones.

    Raises:
        InputError: the first that cannot run, and why.

    >>> refuse_attacks(MembershipSettings(attacks=["loss"]), "next-token")
    >>> refuse_attacks(MembershipSettings(attacks=["gap"]), "next-token")
    Traceback (most recent call last):
    ...
    dpaudit.runtime.errors.InputError: membership.attacks: 'gap' cannot run on this plan (task next-token): this \
attack needs the probabilities of all classes and the true classes, but the signals hold only one number per record.
    """
    whole = noise_pool(MODELS, RECORDS, CLASSES, copies=1, checkpoints=1).target(0)
    classes = task in ("multiclass", "binary")
    planned = _lacking(whole, settings, classes=classes)
    compared = _lacking(whole, settings.model_copy(update={"references": MODELS}), classes=classes)
    for item in settings.attacks:
        error = _error(item.built, planned)
        if error is None or _error(item.built, whole) is not None:
            continue
        why = "it needs reference models; set membership.references, for example to 8."
        why = why if not settings.references and _error(item.built, compared) is None else str(error)
        raise InputError(f"membership.attacks: {item.name!r} cannot run on this plan (task {task}): {why}") from error
    chosen_groups(planned, [by for by in settings.slices if by not in settings.columns], {})


def _error(attack: Any, signals: Signals) -> InputError | None:
    try:
        attack(audited_part(attack, signals, np.arange(len(signals)) % 2 == 0)[0])
    except InputError as error:
        return error
    return None


def _lacking(signals: Signals, settings: MembershipSettings, *, classes: bool) -> Signals:
    """The signals without what the plan does not give."""

    def below(others: Iterable[Signals]) -> tuple[Signals, ...]:
        return tuple(_lacking(each, settings, classes=classes) for each in others)

    missing: dict[str, Any] = {}
    if not classes:
        missing |= {"labels": None, "log_probabilities": None}
    if not classes or not settings.references:
        missing |= {"reference_log_probabilities": None}
    if not settings.references:
        missing |= {"reference": np.empty((0, 0)), "included": np.empty((0, 0), bool)}
    return replace(
        signals,
        population=None if signals.population is None else below([signals.population])[0],
        queries=below(signals.queries) if settings.queries else (),
        checkpoints=below(signals.checkpoints) if settings.checkpoints else (),
        **missing,
    )
