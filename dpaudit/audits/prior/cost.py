"""What ``[prior]`` would take: a few games of two lengths are played, and time is a line in their steps."""

from dataclasses import replace
from functools import partial

from dpaudit.audits.prior.run import PriorSettings, audit_reconstruction
from dpaudit.audits.table_cost import TableCost, Untrained
from dpaudit.runtime.progress import Silent
from dpaudit.training.reference_models.speed import measured_once

GAMES, SHORT, LONG = 20, 1, 6  # games that are played, of so many steps


def cost(settings: PriorSettings, untrained: Untrained) -> TableCost:
    """Of all games: each step of each costs the same, whatever the noise."""
    audit = replace(untrained.audit, progress=Silent())
    text = settings.model_dump_json(exclude={"noise_multipliers", "claimed_noise", "steps", "runs"})
    what = text, audit.dataset.features.shape
    took = [
        measured_once(partial(audit_reconstruction, _few(settings, steps), audit), "games", what, steps)
        for steps in (SHORT, LONG)
    ]
    step = took[1].less(took[0]) * (1 / (LONG - SHORT))
    cells = len(settings.noise_multipliers)
    return TableCost(0, (took[0].less(step) + step * (settings.steps * settings.runs / GAMES)) * cells)


def _few(settings: PriorSettings, steps: int) -> PriorSettings:
    noise = settings.noise_multipliers[:1]
    return settings.model_copy(
        update={"noise_multipliers": noise, "claimed_noise": None, "steps": steps, "runs": GAMES}
    )
