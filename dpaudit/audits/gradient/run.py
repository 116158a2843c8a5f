"""Gradient leakage: victims send a gradient or an update, with and without defences, and attacks invert it."""

from collections.abc import Mapping

import numpy as np

from dpaudit.audits.audit import Audit
from dpaudit.audits.gradient.scan import Scan, Scanned
from dpaudit.audits.gradient.settings import GradientSettings, under_defence
from dpaudit.audits.gradient.stage import Invert, Inverted, Paid, Price
from dpaudit.audits.gradient.stage_inputs import StageInputs, draw_victims, victim_rows
from dpaudit.audits.gradient.texts import PaidInText, PriceInText, ReadTexts, TextsRead, refuse_short, text_of
from dpaudit.data.tokens import tokenizer_named
from dpaudit.results.gradient import FacedServer, GradientResult, Picture
from dpaudit.results.text_gradient import ShownText
from dpaudit.runtime.check import FloatArray
from dpaudit.training.reference_models.task_cache import run_cached, store_of


def audit_gradients(settings: GradientSettings, audit: Audit) -> GradientResult:
    """Victims are the audited records, decoys and auxiliary records the population; every cell is a task."""
    given = StageInputs(settings, audit.records(), audit.seed, audit.delta, audit.confidence)
    for scenario in settings.scenario:  # what the data are too few for is said before anything is measured
        for chosen in settings.defence:
            victim_rows(audit.dataset, under_defence(scenario, chosen), settings.victims, seed=0)
    if audit.dataset.task == "next-token":
        refuse_short(audit.dataset)
        return _of_texts(given, audit)
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
    return GradientResult(
        cells=cells,
        gallery=gallery if settings.show_records else [],
        costs=costs,
        delta=audit.delta,
        server=_faced(given, audit, texts=False),
    )


def _faced(given: StageInputs, audit: Audit, *, texts: bool) -> FacedServer:
    task = {"server": Scan(given, texts)}
    store, workers = store_of(audit.folder / "gradient"), audit.workers
    ((_, found),) = run_cached(task, Scanned, store=store, workers=workers, memory=audit.memory)
    return found.server


def _of_texts(given: StageInputs, audit: Audit) -> GradientResult:
    """The same for a language model."""
    settings = given.settings
    tasks = {
        (scenario.name, chosen.name, attack.name): ReadTexts(given, scenario, chosen, attack.name)
        for scenario in settings.scenario
        for chosen in settings.defence
        for attack in settings.attacks
    }
    store, workers, memory = store_of(audit.folder / "gradient"), audit.workers, audit.memory
    found: dict[tuple[str, str, str], TextsRead] = {}
    with audit.progress.task("reading gradients", len(tasks)) as advance:
        for key, outcome in run_cached(tasks, TextsRead, store=store, workers=workers, memory=memory):
            found[key] = outcome
            advance(1)
    costs = []
    if settings.utility_steps:
        asked = {chosen.name: PriceInText(given, chosen) for chosen in settings.defence}
        paid = dict(run_cached(asked, PaidInText, store=store, workers=workers, memory=memory))
        costs = [paid[key].cost for key in asked]
    cells = [found[key].cell for key in tasks]
    shown = _shown(given, audit, {key: bool(found[key].first[0]) for key in tasks}) if settings.show_records else []
    return GradientResult(
        cells=[],
        texts=cells,
        gallery=[],
        shown=shown,
        costs=costs,
        delta=audit.delta,
        server=_faced(given, audit, texts=True),
    )


def _shown(given: StageInputs, audit: Audit, read: Mapping[tuple[str, str, str], bool]) -> list[ShownText]:
    """The first victim's first text of each scenario, and whether any attack recovered it under each defence."""
    assert audit.source is not None
    assert audit.source.text is not None
    tokenizer, settings = tokenizer_named(audit.source.text.tokenizer), given.settings
    shown = []
    for scenario in settings.scenario:
        row = victim_rows(audit.dataset, scenario, settings.victims, seed=given.seed_for(scenario.name))[0, 0]
        text = tokenizer.decode(text_of(audit.dataset, row))
        for chosen in settings.defence:
            recovered = any(read[scenario.name, chosen.name, attack.name] for attack in settings.attacks)
            shown.append(
                ShownText(scenario=scenario.name, defence=chosen.name, text=text, found=text if recovered else None)
            )
    return shown


def _pictures(scenario: str, title: str, images: FloatArray) -> list[Picture]:
    if images.ndim != 4 or images.shape[3] != 1:
        return []
    return [Picture(scenario=scenario, title=title, pixels=np.round(i[:, :, 0], 3).tolist()) for i in images]
