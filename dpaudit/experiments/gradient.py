"""Gradient leakage: victims send a gradient or an update, with and without defences, and attacks invert it."""

import numpy as np

from dpaudit._check import FloatArray
from dpaudit.experiments.audit import Audit
from dpaudit.experiments.gradient_settings import Settings
from dpaudit.experiments.gradient_stage import Given, cell, cost, drawn
from dpaudit.results.gradient import DefenceCost, GradientCell, GradientResult, Picture
from dpaudit.training.kept import kept, store_of
from dpaudit.training.store import Arrays


def run(settings: Settings, audit: Audit) -> GradientResult:
    """Victims are the audited records, decoys and auxiliary records the population; every cell is a task."""
    given = Given(settings, audit.records(), audit.seed, audit.delta, audit.confidence)
    recipes = {
        f"invert {scenario.name}, {chosen.name}, {name}": (given, scenario, chosen, name)
        for scenario in settings.scenario
        for chosen in settings.defence
        for name in settings.attacks
    }
    store, workers, memory = store_of(audit.folder / "gradient"), audit.workers, audit.memory
    found: dict[str, Arrays] = {}
    with audit.progress.task("inverting gradients", len(recipes)) as advance:
        for key, arrays in kept(cell, recipes, store=store, workers=workers, memory=memory):
            found[key] = arrays
            advance(1)
    cells, gallery = [], []
    for scenario in settings.scenario:
        seed = given.seed_for(scenario.name)
        truth, _ = drawn(audit.dataset, scenario, settings.victims, seed=seed)
        gallery += _pictures(scenario.name, "original", truth[0, :1])
        for chosen in settings.defence:
            for name in settings.attacks:
                arrays = found[f"invert {scenario.name}, {chosen.name}, {name}"]
                cells.append(GradientCell.model_validate_json(str(arrays["cell"])))
                if name == settings.attacks[0] and "first" in arrays:
                    gallery += _pictures(scenario.name, chosen.name, arrays["first"])
    costs = []
    if settings.utility_steps:
        asked = {f"cost of {chosen.name}": (given, chosen) for chosen in settings.defence}
        paid = dict(kept(cost, asked, store=store, workers=workers, memory=memory))
        costs = [DefenceCost.model_validate_json(str(paid[key]["cost"])) for key in asked]
    return GradientResult(cells=cells, gallery=gallery if settings.show_records else [], costs=costs, delta=audit.delta)


def _pictures(scenario: str, title: str, images: FloatArray) -> list[Picture]:
    if images.ndim != 4 or images.shape[3] != 1:
        return []
    return [Picture(scenario=scenario, title=title, pixels=np.round(i[:, :, 0], 3).tolist()) for i in images]
