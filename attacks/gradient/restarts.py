"""Guesses of an optimising attack: several random starts for each of many victims, and the best of each."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dpaudit.attacks.gradient.objective import Observed, Setting, merged_epochs, one_hot, restored_labels, stack_views
from dpaudit.attacks.gradient.victims import Victims
from dpaudit.attacks.gradient.view import GradientView, Reconstruction
from dpaudit.runtime.check import FloatArray, IntArray


class StartingPoints(NamedTuple):
    """Where an attack starts; the guesses for one victim lie together.

    Args:
        observed: what the victims sent.
        setting: how they computed it.
        box: smallest and largest value a feature can take.
        victim: the victim of each guess, shape (guesses,).
        records: uniform in the box, shape (guesses, slots, ...); a slot is a record in an epoch.
        logits: standard normal, for attacks that find labels with the records, shape (guesses, slots, classes).
    """

    observed: Observed
    setting: Setting
    box: tuple[float, float]
    victim: IntArray
    records: FloatArray
    logits: FloatArray

    @property
    def slots(self) -> int:
        """Records in a guess: one per record and copy."""
        return self.setting.copies * self.setting.records


def draw_starting_points(
    victims: Victims, views: Sequence[GradientView], *, restarts: int, seed: int
) -> StartingPoints:
    """Starts from (seed, victim, restart) alone, so that a victim's do not depend on who is attacked with it.

    Raises:
        InputError: the views do not go together, or lack what gradient matching needs.
    """
    observed, setting, box = stack_views(victims, views)
    slots = setting.copies * setting.records
    records, logits = [], []
    for v in range(len(views)):
        for r in range(restarts):
            rng = np.random.default_rng([seed, v, r])
            records.append(rng.uniform(*box, (slots, *victims.record_shape)))
            logits.append(rng.standard_normal((slots, victims.classes)))
    victim = np.repeat(np.arange(len(views)), restarts)
    return StartingPoints(observed, setting, box, victim, np.stack(records), np.stack(logits))


def stated_or_restored(victims: Victims, views: Sequence[GradientView], start: StartingPoints) -> FloatArray:
    """Class probabilities (guesses, slots, classes): the labels the views state, or those their gradients reveal."""
    each = one_hot([restored_labels(view) for view in views], victims.classes)
    return np.tile(each, (1, start.setting.copies, 1))[start.victim]


def best_guesses(
    start: StartingPoints, values: FloatArray, records: FloatArray, classes: FloatArray
) -> list[Reconstruction]:
    """Each victim's guess with the lowest objective; the truth is not known here.

    Args:
        start: the guesses.
        values: objective of each, shape (guesses,).
        records: found, shape (guesses, slots, ...).
        classes: class probabilities or logits, shape (guesses, slots, classes).
    """
    found = []
    for v in range(int(start.victim.max()) + 1):
        own = np.flatnonzero(start.victim == v)
        chosen = own[values[own].argmin()]
        x, y = merged_epochs(records[chosen], classes[chosen].argmax(1), start.setting.copies)
        found.append(Reconstruction(x, y, float(values[chosen])))
    return found
