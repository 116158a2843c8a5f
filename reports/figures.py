"""Figures as inline SVG: they follow the page's colours, need no script, and stand as files of their own too."""

import io
import math
import re
from functools import lru_cache
from typing import Any

from dpaudit.experiments.membership import AttackOutcome
from dpaudit.result import ModelResult, Result

# Drawn with these, written as CSS variables with the light theme as fall-back: the page turns them dark.
INK, MUTED, PAPER, SHADE = "#1d2733", "#6b7785", "#fffffe", "#e9edf1"
VARIABLES = {INK: "--ink", MUTED: "--muted", PAPER: "--paper", SHADE: "--shade"}
# Okabe and Ito's palette, which colour-blind readers can tell apart; without black, yellow and vermilion (the promise).
COLOURS = ("#0072b2", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
PROMISED = "#d55e00"
DASHES: tuple[Any, ...] = ("solid", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2)))


def promise_against_measurement(result: Result) -> str:
    """Bars of the strongest lower bound on each model, its promise, and hatched what the audit could not have seen."""
    rows = [(model, strongest(result, model.name)) for model in result.models]
    shown = [(model, attack) for model, attack in rows if attack is not None]
    promised = [
        m.promise.claim.epsilon for m, _ in shown if m.promise is not None and m.promise.claim.epsilon < math.inf
    ]
    limit = 1.08 * max([attack.bound.ceiling for _, attack in shown] + [min(value, 40.0) for value in promised] + [1.0])
    figure, axes = _canvas(7.2, 0.75 + 0.5 * len(shown))
    for row, (model, attack) in enumerate(shown):
        bound = attack.bound
        axes.barh(
            row,
            limit - bound.ceiling,
            left=bound.ceiling,
            height=0.62,
            color=SHADE,
            hatch="////",
            edgecolor=MUTED,
            lw=0,
        )
        axes.barh(row, bound.epsilon, height=0.34, color=COLOURS[0])
        axes.text(bound.epsilon + limit * 0.008, row, f"≥ {bound.epsilon:.2f}", va="center", color=INK, size=9)
        if model.promise is not None:
            claimed = model.promise.claim.epsilon
            if claimed <= limit:
                axes.plot([claimed, claimed], [row - 0.36, row + 0.36], color=PROMISED, lw=2.5, solid_capstyle="butt")
            side = "center" if claimed < 0.9 * limit else "right"
            words = f"promised {claimed:.3g}"
            axes.text(min(claimed, limit), row - 0.37, words, ha=side, va="bottom", color=PROMISED, size=8)
    axes.set_yticks(range(len(shown)), [_short(model.name) for model, _ in shown])
    axes.set_ylim(len(shown) - 0.45, -0.62)
    axes.set_xlim(0, limit)
    axes.set_xlabel("ε")
    return _svg(figure, f"Promised ε, measured lower bound and audit ceiling of {len(shown)} models")


def roc(result: Result, model: ModelResult) -> str:
    """Log-log ROC of the attacks on one model, the band of the best one, and the curve the promise allows."""
    attacks = attacks_on(result, model.name)
    best = max(attacks, key=lambda attack: attack.auc)
    floor = 1 / best.nonmembers
    start = 10 ** math.floor(math.log10(floor))
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    figure, axes = _canvas(4.6, 4.6)
    axes.axvspan(start, min(1.0, 10 * floor), color=SHADE, lw=0)
    axes.plot([start, 1], [start, 1], color=MUTED, lw=1, ls=(0, (1, 2)), label="guessing")
    band_x, low, high = _visible(best, start)
    axes.fill_between(band_x, low, high, step="post", color=COLOURS[0], alpha=0.18, lw=0)
    ranked = sorted(attacks, key=lambda attack: -attack.auc)[: len(COLOURS)]
    for index, attack in enumerate(ranked):
        points = [(x, y) for x, y in zip(attack.curve.fpr, attack.curve.tpr, strict=True) if y > 0]
        xs = [max(x, start) for x, _ in points] or [start, 1]
        ys = [y for _, y in points] or [start, 1]
        axes.plot(xs, ys, color=COLOURS[index], lw=1.6, ls=DASHES[index % len(DASHES)], drawstyle="steps-post",
                  label=_short(attack.attack))  # fmt: skip
    if model.promise is not None:
        inside = [(x, y) for x, y in zip(model.promise.fpr, model.promise.tpr, strict=True) if x >= start]
        axes.plot(
            [x for x, _ in inside],
            [y for _, y in inside],
            color=PROMISED,
            lw=1.8,
            ls=(0, (6, 2)),
            label="allowed by the promise",
        )
    axes.set(xscale="log", yscale="log", xlim=(start, 1), ylim=(start, 1.05))
    axes.set_xlabel("false-positive rate")
    axes.set_ylabel("true-positive rate")
    axes.set_title(_short(model.name), color=INK, size=10)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(base=10, numticks=8))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g} %"))
        axis.set_minor_formatter(NullFormatter())
    figure.legend(loc="outside lower center", ncols=2, fontsize=8, frameon=False, labelcolor=INK)
    return _svg(figure, f"ROC curves of {len(attacks)} attacks on {model.name}, log-log")


def attacks_on(result: Result, model: str) -> list[AttackOutcome]:
    """The membership attacks on one model."""
    return [attack for attack in result.membership.attacks if attack.model == model] if result.membership else []


def strongest(result: Result, model: str) -> AttackOutcome | None:
    """The attack with the largest lower bound on one model; among equals the one with the largest AUC."""
    return max(attacks_on(result, model), key=lambda attack: (attack.bound.epsilon, attack.auc), default=None)


def _visible(attack: AttackOutcome, start: float) -> tuple[list[float], list[float], list[float]]:
    curve = attack.curve
    xs = [max(x, start) for x in curve.fpr]
    return xs, [max(y, start / 10) for y in curve.low], [max(y, start / 10) for y in curve.high]


def _short(name: str) -> str:
    return name if len(name) <= 28 else f"{name[:27]}…"


@lru_cache(maxsize=1)
def _matplotlib() -> Any:
    import matplotlib
    from matplotlib.figure import Figure

    matplotlib.rcParams.update(
        {
            "svg.fonttype": "none",
            "svg.hashsalt": "dpaudit",
            "hatch.linewidth": 0.5,
            "text.parse_math": False,  # a model may be called $x$
            "axes.edgecolor": MUTED,
            "axes.labelcolor": INK,
            "xtick.color": MUTED,
            "ytick.color": MUTED,
            "xtick.labelcolor": INK,
            "ytick.labelcolor": INK,
            "text.color": INK,
            "font.size": 9,
        }
    )
    return Figure


def _canvas(width: float, height: float) -> tuple[Any, Any]:
    figure = _matplotlib()(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    figure.patch.set_alpha(0)
    axes.patch.set_alpha(0)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _svg(figure: Any, description: str) -> str:
    """SVG text without a prologue, with the theme's colours as CSS variables and a description for screen readers."""
    stream = io.StringIO()
    figure.savefig(
        stream, format="svg", transparent=True, metadata={"Date": None, "Creator": None, "Format": None, "Type": None}
    )
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S)
    for colour, variable in VARIABLES.items():
        text = text.replace(colour, f"var({variable}, {colour})")
    head, rest = text.split(">", 1)
    head = re.sub(r' width="[^"]*"| height="[^"]*"', "", head)
    return f'{head} role="img" aria-label="{_escaped(description)}">{rest.strip()}'


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")


def file_name(result: Result, model: ModelResult) -> str:
    """Name of a model's figure without its suffix: a name from somebody else's result is no path here.

    A plan's own names stay as they are; others lose what is no letter, digit, dot, dash or underscore, and get the
    model's number, so that no two meet.
    """
    plain = re.sub(r"[^A-Za-z0-9._-]", "_", model.name)[:64]
    number = result.models.index(model)
    return f"roc-{model.name}" if plain == model.name else f"roc-{number}-{plain}"
