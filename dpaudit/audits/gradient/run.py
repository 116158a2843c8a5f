"""Gradient leakage: victims send a gradient or an update, with and without defences, and attacks invert it."""

import numpy as np

from dpaudit.audits.audit import Audit
from dpaudit.audits.gradient.settings import GradientSettings
from dpaudit.audits.gradient.stage import Invert, Inverted, Paid, Price, StageInputs, draw_victims
from dpaudit.results.gradient import GradientResult, Picture
from dpaudit.runtime.check import FloatArray
from dpaudit.training.reference_models.task_cache import run_cached, store_of


def audit_gradients(settings: GradientSettings, audit: Audit) -> GradientResult:
    """Victims are the audited records, decoys and auxiliary records the population; every cell is a task."""
    given = StageInputs(settings, audit.records(), audit.seed, audit.delta, audit.confidence)
    tasks = {
        f"invert {scenario.name}, {chosen.name}, {attack.name}": Invert(given, scenario, chosen, attack.name)
        for scenario in settings.scenario
        for chosen in settings.defence
        for attack in settings.attacks
    }
    store, workers, memory = store_of(audit.folder / "gradient"), audit.workers, audit.memory
    found: dict[str, Inverted] = {}
    with audit.progress.task("inverting gradients", len(tasks)) as advance:
        for key, outcome in run_cached(tasks, Inverted, store=store, workers=workers, memory=memory):
            found[key] = outcome
            advance(1)
    cells, gallery = [], []
    for scenario in settings.scenario:
        seed = given.seed_for(scenario.name)
        truth, _ = draw_victims(audit.dataset, scenario, settings.victims, seed=seed)
        gallery += _pictures(scenario.name, "original", truth[0, :1])
        for chosen in settings.defence:
            for attack in settings.attacks:
                outcome = found[f"invert {scenario.name}, {chosen.name}, {attack.name}"]
                cells.append(outcome.cell)
                if attack == settings.attacks[0] and outcome.first is not None:
                    gallery += _pictures(scenario.name, chosen.name, outcome.first)
    costs = []
    if settings.utility_steps:
        asked = {f"cost of {chosen.name}": Price(given, chosen) for chosen in settings.defence}
        paid = dict(run_cached(asked, Paid, store=store, workers=workers, memory=memory))
        costs = [paid[key].cost for key in asked]
    return GradientResult(cells=cells, gallery=gallery if settings.show_records else [], costs=costs, delta=audit.delta)


def _pictures(scenario: str, title: str, images: FloatArray) -> list[Picture]:
    if images.ndim != 4 or images.shape[3] != 1:
        return []
    return [Picture(scenario=scenario, title=title, pixels=np.round(i[:, :, 0], 3).tolist()) for i in images]
