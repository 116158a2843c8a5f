"""One self-contained page from a result: nothing is loaded from anywhere, readable on paper and in the dark."""

import base64
import hashlib
import math
from collections.abc import Sequence
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup

from dpaudit.gate.compare import changes
from dpaudit.reports import attack_words, figures, scope_words, verdict_words, words
from dpaudit.reports.attackers import attackers
from dpaudit.reports.drawing import Drawing
from dpaudit.reports.records import ShownRecords
from dpaudit.reports.summary import plain_verdict, risk, summary_row, would_change
from dpaudit.reports.tables import extraction, gradient
from dpaudit.reports.tables.unlearning import name_state
from dpaudit.results.membership import AttackResult
from dpaudit.results.result import ModelResult, Result
from dpaudit.runtime.files import replacing, write_text

CARDS = 9  # verdicts shown as cards, the worst first; the rest are a table
RISKS = 9  # models whose risk is told
CURVES = 9  # models whose ROC is drawn
READ_OFF = (0.001, 0.01, 0.05, 0.1, 0.25, 0.5)


def page(result: Result, baseline: Result | None = None, records: ShownRecords | None = None) -> str:
    """The whole report as HTML, with what changed since a baseline and with raw records when they are given."""
    return write_page(
        result, baseline, records, {name: drawing.svg() for name, drawing in draw_figures(result).items()}
    )


def write_page(result: Result, baseline: Result | None, records: ShownRecords | None, drawn: dict[str, str]) -> str:
    """The page around figures that are drawn already, as safe HTML by file name."""
    ordered, subjects = verdict_words.by_severity(result), verdict_words.ordered_subjects(result)
    attacked = [model for model in ordered if figures.attacks_on(result, model.name)]
    attacks = [attack for model in attacked for attack in figures.attacks_on(result, model.name)]
    slices = figures.slices(result)
    return render(
        "page.html.j2",
        result=result,
        cards=[_card(result, subject) for subject in subjects[:CARDS]],
        others=[_card(result, subject) for subject in subjects[CARDS:]],
        summary=[summary_row(result, subject) for subject in subjects],
        attackers=attackers(result),
        risks=[found for model in ordered[:RISKS] if (found := risk(result, model)) is not None],
        changers=would_change(result),
        rows=[_row(result, model) for model in ordered],
        drawn={name: Markup(svg) for name, svg in drawn.items()},  # by us, every name in them escaped
        curves=[_curve(result, model) for model in attacked[:CURVES]],
        attacked=len(attacked),
        attacks=attacks,
        rates=_rates(attacks),
        slices=slices,
        left_out=_left_out(attacks),
        records=records,
        baseline=baseline,
        changes=changes(baseline, result) if baseline is not None else [],
    )


def render(template: str, **context: Any) -> str:
    """A page from a template, its style and its script inside, and nothing else allowed to run or load."""
    script = resources.files("dpaudit.reports").joinpath("script.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return _environment().get_template(template).render(script=Markup(script), script_hash=digest, **context)


def write_report(
    result: Result, folder: Path, baseline: Result | None = None, records: ShownRecords | None = None
) -> None:
    """Write ``report.html``, and the figures as SVG files of their own."""
    drawn = {name: drawing.svg() for name, drawing in draw_figures(result).items()}
    write_text(folder / "report.html", write_page(result, baseline, records, drawn))
    for name, svg in drawn.items():
        write_text(folder / "figures" / f"{name}.svg", svg)


def write_pixels(result: Result, folder: Path) -> None:
    """Write the figures as PNG files, for papers and slides."""
    for name, drawing in draw_figures(result).items():
        with replacing(folder / "figures" / f"{name}.png") as temporary:
            temporary.write_bytes(drawing.png())


def draw_figures(result: Result) -> dict[str, Drawing]:
    """Every figure of a report by file name."""
    found = {}
    apart = [result.unlearning, *result.extraction]
    if result.models and any(all(outcome is not each for each in apart) for outcome in result.outcomes):
        found["claim"] = figures.claim_against_measurement(result)
    attacked = [model for model in verdict_words.by_severity(result) if figures.attacks_on(result, model.name)]
    for model in attacked[:CURVES]:
        found[figures.file_name(result, model)] = figures.roc(result, model)
    if figures.slices(result):
        found["slices"] = figures.most_exposed(result)
    if figures.has_utility(result):
        found["utility"] = figures.utility_against_leakage(result)
    return {**found, **gradient.draw_gradient_figures(result), **extraction.draw_extraction_figures(result)}


def _card(result: Result, subject: str) -> dict[str, Any]:
    word = verdict_words.verdict(result, subject)
    best = figures.strongest_attack(result, subject)
    listed = [each for each in (result.membership.exposed if result.membership else []) if each.model == subject]
    sentences = [attack_words.in_words(best)] if best is not None else []
    sentences += [attack_words.exposed_in_words(each) for each in listed if each.exposed.found]
    return {
        "name": subject,
        "verdict": word,
        "symbol": verdict_words.SYMBOLS[word],
        "class": word.replace(" ", "-"),
        "sentence": plain_verdict(result, subject),
        "full": verdict_words.describe_verdict(result, subject),
        "caveats": () if (found := result.comparison(subject)) is None else found.caveats,
        "words": " ".join(sentences),
    }


def _left_out(attacks: Sequence[AttackResult]) -> list[tuple[tuple[str, ...], list[str]]]:
    """Slices that could not be judged, with the models they could not be judged on; each set of slices once."""
    found: dict[tuple[str, ...], list[str]] = {}
    for attack in attacks:
        if attack.slices is not None and attack.slices.left_out:
            whose = found.setdefault(attack.slices.left_out, [])
            if attack.model not in whose:
                whose.append(attack.model)
    return list(found.items())


def _row(result: Result, model: ModelResult) -> dict[str, Any]:
    bound = figures.strongest_bound(result, model.name)
    claimed = None if model.accounted is None else model.accounted.claim.epsilon
    return {
        "model": model,
        "allowed": claimed if bound is None else figures.largest_allowed(model, bound),
        "ceiling": figures.largest_certifiable(result, model.name),
        "general": figures.general_bound(result, model.name),
        "family": figures.family_bound(result, model.name),
        "verdict": verdict_words.verdict(result, model.name),
        "best": figures.best_attack(result, model.name),
    }


def _curve(result: Result, model: ModelResult) -> dict[str, Any]:
    return {
        "model": model,
        "figure": figures.file_name(result, model),
        "attacks": figures.attacks_on(result, model.name),
        "readings": _readings(result, model),
    }


def _readings(result: Result, model: ModelResult) -> list[dict[str, Any]]:
    """The ROC as a table: each attack and the claim at a few false-positive rates."""
    attacks = figures.attacks_on(result, model.name)
    fewest = min(attack.nonmembers for attack in attacks)
    rates = [rate for rate in READ_OFF if attack_words.resolves_fpr(fewest, rate)]
    rows: list[dict[str, Any]] = [{"name": "false-positive rate", "tpr": rates}]
    for attack in attacks:
        rows.append({"name": attack.attack, "tpr": [_at(attack, rate) for rate in rates]})
    if model.accounted is not None:
        allowed = np.interp(rates, model.accounted.fpr, model.accounted.tpr).tolist() if rates else []
        rows.append({"name": "allowed by the claim", "tpr": allowed})
    return rows


def _rates(attacks: Sequence[AttackResult]) -> list[float]:
    """False-positive rates worth a column: those at which any attack could be measured, or else the largest."""
    points = [point for attack in attacks for point in attack.tpr_at_fpr]
    measurable = sorted({point.fpr for point in points if point.measurable}, reverse=True)
    return measurable or sorted({point.fpr for point in points})[-1:]


def _at(attack: AttackResult, rate: float) -> float:
    """TPR on the curve of an attack at a false-positive rate of new records, as in `dpaudit.scores.roc.Roc.tpr_at`."""
    counted = (math.floor(rate * (attack.nonmembers + 1) * (1 + 1e-12)) - 0.5) / attack.nonmembers
    return max((y for x, y in zip(attack.curve.fpr, attack.curve.tpr, strict=True) if x <= counted), default=0.0)


@lru_cache(maxsize=1)  # a template is compiled once, which takes longer than to fill it in
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("dpaudit.reports", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(percent=words.percent, figure=words.figure)
    environment.globals.update(
        words=words, verdict_words=verdict_words, attack_words=attack_words, scope_words=scope_words
    )
    environment.globals["words_of_extraction"] = extraction.extraction_in_words
    environment.globals["name_state"] = name_state
    environment.globals["figure_of_extraction"] = extraction.figure_name
    return environment
