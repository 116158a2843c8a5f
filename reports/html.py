"""One self-contained page from a result: no script, no remote asset, readable on paper and in the dark."""

from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from dpaudit.experiments.membership import AttackOutcome
from dpaudit.files import write_text
from dpaudit.reports import figures
from dpaudit.reports.text import verdict
from dpaudit.result import ModelResult, Result

SYMBOLS = {"contradicted": "✕", "consistent": "✓", "too weak": "?", "no promise": "–"}


def page(result: Result) -> str:
    """The whole report as HTML."""
    template = _environment().get_template("page.html.j2")
    return template.render(
        result=result,
        headline=headline(result),
        cards=[_card(result, model) for model in result.models],
        promise_figure=Markup(figures.promise_against_measurement(result)) if result.membership else None,
        models=[_section(result, model) for model in result.models if figures.attacks_on(result, model.name)],
        assumptions=assumptions(result),
        not_tested=not_tested(result),
    )


def write_report(result: Result, folder: Path) -> None:
    """Write ``report.html``, and the figures as SVG files of their own."""
    write_text(folder / "report.html", page(result))
    if result.membership is None:
        return
    folder = folder / "figures"
    write_text(folder / "promise.svg", figures.promise_against_measurement(result))
    for model in result.models:
        if figures.attacks_on(result, model.name):
            write_text(folder / f"{figures.file_name(result, model)}.svg", figures.roc(result, model))


def headline(result: Result) -> str:
    """The audit in one sentence."""
    judged = result.comparisons
    broken = [found.subject for found in judged if found.verdict == "contradicted"]
    weak = [found.subject for found in judged if found.verdict == "too weak"]
    if broken:
        return f"{_several(broken)} {'leaks' if len(broken) == 1 else 'leak'} more than promised."
    if weak:
        fine = len(judged) - len(weak)
        rest = f" Nothing contradicts the {'other promise' if fine == 1 else f'other {fine} promises'}." if fine else ""
        return f"This audit was too weak to judge {_several(weak)}.{rest}"
    if judged:
        return f"Nothing contradicts the {'promise' if len(judged) == 1 else f'{len(judged)} promises'} examined."
    return "No promise was made; this is what an attacker can find out."


def in_words(attack: AttackOutcome) -> str:
    """What an attacker can do, for a reader who knows no ROC curve."""
    point = min((point for point in attack.tpr_at_fpr if point.measurable), key=lambda point: point.fpr, default=None)
    if point is None:
        return f"Too few records ({attack.nonmembers} non-members) to say how many members an attacker finds."
    return (
        f"An attacker who wrongly accuses {_share(point.fpr)} people finds {_percent(point.tpr)} "
        f"({_percent(point.low)} to {_percent(point.high)}) of the real members; guessing finds {_percent(point.fpr)}."
    )


def assumptions(result: Result) -> list[str]:
    """What must be true for the bounds to hold, each once."""
    found: list[str] = []
    for attack in result.membership.attacks if result.membership else []:
        found += [text for text in attack.bound.assumptions if text not in found]
    return found


def not_tested(result: Result) -> list[str]:
    """What this audit did not look at; no verdict speaks of it."""
    gaps = [
        "Whether the code that trained the models clips and adds noise as it says; only what leaks from the outputs.",
        "Attackers who see gradients, updates or intermediate models.",
        "Privacy of preprocessing and of choices made on private data before the training.",
    ]
    if result.membership is not None and result.membership.design == "one-run":
        gaps.append("The worst-case record: the audited records are ordinary ones, and an outlier may leak more.")
    return gaps


def _card(result: Result, model: ModelResult) -> dict[str, Any]:
    word = verdict(result, model.name)
    found = result.comparison(model.name)
    best = figures.strongest(result, model.name)
    sentence = found.sentence if found is not None else "It promises nothing, so there is nothing to contradict."
    return {
        "name": model.name,
        "verdict": word,
        "symbol": SYMBOLS[word],
        "class": word.replace(" ", "-"),
        "sentence": sentence,
        "words": in_words(best) if best is not None else "",
    }


def _section(result: Result, model: ModelResult) -> dict[str, Any]:
    return {
        "model": model,
        "figure": Markup(figures.roc(result, model)),  # drawn by us, every name in it escaped
        "attacks": figures.attacks_on(result, model.name),
        "curve": _readings(result, model),
    }


def _readings(result: Result, model: ModelResult) -> list[dict[str, Any]]:
    """The ROC as a table: each attack and the promise at a few false-positive rates."""
    best = figures.strongest(result, model.name)
    assert best is not None
    rates = [rate for rate in (0.001, 0.01, 0.05, 0.1, 0.25, 0.5) if rate >= 1 / best.nonmembers]
    rows = []
    for attack in figures.attacks_on(result, model.name):
        rows.append({"name": attack.attack, "tpr": [_at(attack.curve.fpr, attack.curve.tpr, rate) for rate in rates]})
    if model.promise is not None:
        allowed = [_interpolated(model.promise.fpr, model.promise.tpr, rate) for rate in rates]
        rows.append({"name": "allowed by the promise", "tpr": allowed})
    return [{"name": "false-positive rate", "tpr": rates}, *rows]


def _at(xs: list[float], ys: list[float], x: float) -> float:
    return max(y for x_, y in zip(xs, ys, strict=True) if x_ <= x)


def _interpolated(xs: list[float], ys: list[float], x: float) -> float:
    import numpy as np

    return float(np.interp(x, xs, ys))


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("dpaudit.reports", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = _percent
    environment.filters["figure"] = _figure
    return environment


def _percent(value: float) -> str:
    """A share with as many digits as it deserves.

    >>> _percent(0.0084), _percent(0.214), _percent(0.0)
    ('0.84 %', '21 %', '0 %')
    """
    percent = 100 * value
    if percent in (0, 100):
        return f"{percent:.0f} %"
    digits = 0 if 10 <= percent < 99.5 else 1 if 1 <= percent < 10 or percent >= 99.5 else 2
    return f"{percent:.{digits}f} %"


def _figure(value: float | None) -> str:
    """A number for a table: three significant digits, ∞ when infinite."""
    if value is None:
        return "–"
    return "∞" if value == float("inf") else f"{value:.3g}"


def _share(fpr: float) -> str:
    return f"1 in {round(1 / fpr):,}"


def _several(names: list[str]) -> str:
    shown = [name if len(name) <= 60 else f"{name[:59]}…" for name in names]
    if len(shown) > 3:
        return f"{', '.join(shown[:3])} and {len(shown) - 3} more"
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)
