"""Every figure of a report, drawn from a result."""

import math
import re
from typing import Any

from dpaudit.accounting import allowed_for_replaced
from dpaudit.bounds.lower_bound import LowerBound
from dpaudit.reports.drawing import CLAIMED, COLOURS, DASHES, INK, MUTED, PAPER, SHADE, Drawing, Margins, canvas
from dpaudit.reports.verdict_words import by_severity
from dpaudit.reports.words import count_of, short
from dpaudit.reports.words import figure as number
from dpaudit.results.membership import AttackResult
from dpaudit.results.result import ModelResult, Result
from dpaudit.scores.slices import Slice

ROWS = 60  # more cannot be told apart in one figure; all of them are in its table
SIGNIFICANT = 0.05  # a slice stands out when its p-value, adjusted for all slices, is below this
CROWDED = 12  # with more rows than this, claims are lines without a label
ROOMY = 10.0  # ε up to which a ceiling is always drawn
LONGEST = 28  # characters of a name beside an axis


def claim_against_measurement(result: Result) -> Drawing:
    """One row for each model: its claim, and what was measured and could have been.

    A bar is the largest bound that holds for every mechanism, a diamond the largest within a family; hatched is what
    the audit could not have certified.
    """
    every = [
        (model, general_bound(result, model.name), family_bound(result, model.name)) for model in by_severity(result)
    ]
    shown = [(model, general, family) for model, general, family in every if general or family][:ROWS]
    allowed = [_allowed(model, general, family) for model, general, family in shown]
    bounds = [bound.epsilon for _, *both in shown for bound in both if bound is not None]
    # A ceiling far beyond every claim and measurement would leave no room for them.
    most = max([*bounds, *(min(value, 40.0) for value in allowed if value < math.inf), 1.0])
    ceilings = [largest_certifiable(result, model.name) or 0.0 for model, *_ in shown]
    limit = 1.08 * max(most, min(max(ceilings, default=0.0), max(ROOMY, 1.15 * most)))
    crowded = len(shown) > CROWDED

    def draw() -> Any:
        figure, axes = canvas(7.2, 0.75 + (0.28 if crowded else 0.5) * len(shown))
        rows = range(len(shown))
        unseen = [max(0.0, limit - each) for each in ceilings]
        axes.barh(rows, unseen, left=ceilings, height=0.62, color=SHADE, hatch="////", edgecolor=MUTED, lw=0)
        axes.barh(rows, [0.0 if general is None else general.epsilon for _, general, _ in shown], height=0.34,
                  color=COLOURS[0])  # fmt: skip
        within = [(family.epsilon, row) for row, (*_, family) in enumerate(shown) if family is not None]
        if within:
            axes.plot([at for at, _ in within], [row for _, row in within], "D", ms=6, color=COLOURS[1], mec=PAPER)
        plate = {"facecolor": PAPER, "edgecolor": "none", "pad": 1}
        for row, (model, general, family) in enumerate(shown):
            claimed, marks = allowed[row], [bound for bound in (general, family) if bound is not None]
            if len(marks) == 2 and abs(marks[0].epsilon - marks[1].epsilon) < 0.15 * limit:  # one label for both
                marks = [max(marks, key=_size)]
                labels = [f"≥ {number(general.epsilon)}, ≥ {number(family.epsilon)} within"]  # type: ignore[union-attr]
            else:
                labels = [f"≥ {number(bound.epsilon)}{' within' if bound is family else ''}" for bound in marks]
            for bound, label in zip(marks, labels, strict=True):
                # On the other side of the mark where the words would cover the line of the claim.
                left = bound.epsilon > 0.25 * limit and bound.epsilon <= claimed < bound.epsilon + 0.2 * limit
                end = bound.epsilon if left or not bound.epsilon <= claimed < bound.epsilon + 0.2 * limit else claimed
                axes.text(end + limit * (-0.015 if left else 0.015), row, label, va="center", color=INK, size=9,
                          bbox=plate, ha="right" if left else "left")  # fmt: skip
            if model.accounted is not None and not crowded:
                side = "left" if claimed < 0.1 * limit else "center" if claimed < 0.9 * limit else "right"
                words = f"claimed {number(model.accounted.claim.epsilon)}"
                if claimed != model.accounted.claim.epsilon:
                    words += f", {number(claimed)} where one is replaced"
                axes.text(min(claimed, limit), row - 0.37, words, ha=side, va="bottom", color=CLAIMED, size=8)
        lines = [(at, row) for row, at in enumerate(allowed) if at <= limit]
        axes.vlines([at for at, _ in lines], [row - 0.36 for _, row in lines], [row + 0.36 for _, row in lines],
                    color=CLAIMED, lw=2.5)  # fmt: skip
        axes.set_yticks(range(len(shown)), [_short(model.name) for model, *_ in shown])
        axes.set_ylim(len(shown) - 0.45, -0.62)
        axes.set_xlim(0, limit)
        axes.set_xlabel("ε")
        return figure

    return Drawing(draw, f"Claimed ε, measured lower bound and audit ceiling of {count_of(len(shown), 'model')}")


def roc(result: Result, model: ModelResult) -> Drawing:
    """Log-log ROC of the attacks on one model, the band of the best one, and the curve the claim allows."""
    attacks = attacks_on(result, model.name)
    best = max(attacks, key=lambda attack: attack.auc)
    floor = 1 / best.nonmembers
    start = 10 ** math.floor(math.log10(floor))
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    ranked = sorted(attacks, key=lambda attack: -attack.auc)[: len(COLOURS)]
    entries = 1 + len(ranked) + (model.accounted is not None)
    legend = 0.18 * math.ceil(entries / 2) + 0.1

    def draw() -> Any:
        figure, axes = canvas(4.6, 4.4 + legend, Margins(0.75, 0.25, 0.55 + legend, 0.3))
        axes.axvspan(start, min(1.0, 10 * floor), color=SHADE, lw=0)
        axes.plot([start, 1], [start, 1], color=MUTED, lw=1, ls=(0, (1, 2)), label="guessing")
        band_x, low, high = _visible(best, start)
        axes.fill_between(band_x, low, high, step="post", color=COLOURS[0], alpha=0.18, lw=0)
        for index, attack in enumerate(ranked):
            points = [(x, y) for x, y in zip(attack.curve.fpr, attack.curve.tpr, strict=True) if y > 0]
            xs = [max(x, start) for x, _ in points] or [start, 1]
            ys = [y for _, y in points] or [start, 1]
            axes.plot(xs, ys, color=COLOURS[index], lw=1.6, ls=DASHES[index % len(DASHES)], drawstyle="steps-post",
                      label=_short(attack.attack))  # fmt: skip
        if model.accounted is not None:
            inside = [(x, y) for x, y in zip(model.accounted.fpr, model.accounted.tpr, strict=True) if x >= start]
            axes.plot(
                [x for x, _ in inside],
                [y for _, y in inside],
                color=CLAIMED,
                lw=1.8,
                ls=(0, (6, 2)),
                label="allowed by the claim",
            )
        axes.set(xscale="log", yscale="log", xlim=(start, 1), ylim=(start, 1.05))
        axes.set_xlabel("false-positive rate")
        axes.set_ylabel("true-positive rate")
        axes.set_title(_short(model.name), color=INK, size=10)
        decades = [10.0**power for power in range(round(math.log10(start)), 1)]
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(FixedLocator(decades))
            axis.set_minor_locator(NullLocator())
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g} %"))
        figure.legend(loc="lower center", ncols=2, fontsize=8, frameon=False, labelcolor=INK, borderaxespad=0)
        return figure

    return Drawing(draw, f"ROC of {count_of(len(attacks), 'attack')} on {short(model.name)}, log-log")


def attacks_on(result: Result, model: str) -> list[AttackResult]:
    """The membership attacks on one model."""
    return [attack for attack in result.membership.attacks if attack.model == model] if result.membership else []


def strongest_attack(result: Result, model: str) -> AttackResult | None:
    """The attack on one model that is right most often, at its best threshold; among equals the largest AUC.

    Not the one with the largest bound: a bound says for certain how much leaks at least, and an attack with a smaller
    one can find more of the members.
    """
    return max(attacks_on(result, model), key=lambda attack: (attack.advantage, attack.auc), default=None)


def best_attack(result: Result, model: str) -> AttackResult | None:
    """The attack with the largest AUC on one model."""
    return max(attacks_on(result, model), key=lambda attack: attack.auc, default=None)


def strongest_bound(result: Result, model: str) -> LowerBound | None:
    """The largest lower bound on one model, whatever experiment found it."""
    return max(result.bounds(model), key=lambda bound: bound.epsilon, default=None)


def general_bound(result: Result, model: str) -> LowerBound | None:
    """The largest lower bound on one model that holds for every mechanism."""
    return max((bound for bound in result.bounds(model) if not bound.family), key=_size, default=None)


def family_bound(result: Result, model: str) -> LowerBound | None:
    """The largest lower bound on one model that holds within a family of mechanisms."""
    return max((bound for bound in result.bounds(model) if bound.family), key=_size, default=None)


def _size(bound: LowerBound) -> float:
    return bound.epsilon


def _allowed(model: ModelResult, general: LowerBound | None, family: LowerBound | None) -> float:
    bound = general or family
    return math.inf if bound is None else largest_allowed(model, bound)


def largest_allowed(model: ModelResult, bound: LowerBound) -> float:
    """The largest ε that a model's claim allows a bound to show; infinite without a claim.

    Where one record was replaced by another, a claim for added or removed ones allows more than its own ε.
    """
    if model.accounted is None:
        return math.inf
    claim = model.accounted.claim
    if bound.adjacency != "replace-one" or claim.adjacency == "replace-one":
        return claim.epsilon
    converted = allowed_for_replaced(claim, bound.delta, claim.mechanism or model.mechanism)
    return claim.epsilon if converted is None else converted


def ceiling(result: Result, model: str) -> float | None:
    """The largest ε that a perfect attack could have certified, by any bound that holds as widely as the strongest."""
    strongest = strongest_bound(result, model)
    if strongest is None:
        return None
    return max(bound.ceiling for bound in result.bounds(model) if bound.family == strongest.family)


def largest_certifiable(result: Result, model: str) -> float | None:
    """The same for every mechanism, or within a family where no bound holds for every mechanism."""
    bounds = result.bounds(model)
    widest = [bound for bound in bounds if not bound.family] or bounds
    return max((bound.ceiling for bound in widest), default=None)


def slices(result: Result) -> list[tuple[AttackResult, Slice]]:
    """Every slice of every attack, the most exposed first."""
    found = [
        (attack, part)
        for attack in (result.membership.attacks if result.membership else [])
        if attack.slices is not None
        for part in attack.slices.found
    ]
    return sorted(found, key=lambda pair: (pair[1].p_value, -pair[1].auc))


def most_exposed(result: Result) -> Drawing:
    """AUC with its 95 % interval within the twenty slices that stand out most."""
    shown = slices(result)[:20]

    def draw() -> Any:
        figure, axes = canvas(7.2, 0.9 + 0.26 * len(shown))
        axes.axvline(0.5, color=MUTED, lw=1, ls=(0, (1, 2)))
        for exposed, marker, face, colour in ((True, "o", COLOURS[0], COLOURS[0]), (False, "s", "none", MUTED)):
            rows = [row for row, (_, part) in enumerate(shown) if (part.p_value < SIGNIFICANT) == exposed]
            parts = [shown[row][1] for row in rows]
            aucs, spreads = [part.auc for part in parts], [1.96 * part.auc_standard_error for part in parts]
            axes.errorbar(aucs, rows, xerr=spreads, fmt=marker, mfc=face, color=colour, ms=5, lw=1.4)
        labels = [f"{_short(attack.model)}: {_short(f'{part.by} {part.value}')}" for attack, part in shown]
        axes.set_yticks(range(len(shown)), labels)
        axes.set_ylim(len(shown) - 0.5, -0.5)
        axes.set_xlabel("AUC within the slice")
        return figure

    return Drawing(draw, f"AUC of the {len(shown)} most exposed slices of {len(slices(result))}")


def utility_against_leakage(result: Result) -> Drawing:
    """How good each model is on unseen records, beside how well its members are told apart."""
    points = [
        (model, model.utility, best)
        for model in result.models
        if model.utility is not None and (best := best_attack(result, model.name)) is not None
    ]
    metric = points[0][1].metric
    labelled = len(points) <= 2 * len(COLOURS)
    beside = 0.6 + 0.065 * max(len(_short(model.name)) for model, *_ in points) if labelled else 0.15

    def draw() -> Any:
        figure, axes = canvas(7.2, 3.2, Margins(0.62, beside, 0.5, 0.1))
        # Without labels the points cannot be told apart anyway, and one series is drawn at once.
        for index, series in enumerate([[point] for point in points] if labelled else [points]):
            axes.errorbar(
                [utility.test for _, utility, _ in series],
                [best.auc for _, _, best in series],
                yerr=[1.96 * best.auc_standard_error for _, _, best in series],
                fmt="os^Dv<"[index % 6],
                color=COLOURS[index % len(COLOURS)],
                ms=6,
                lw=1.2,
                label=_short(series[0][0].name) if labelled else None,
            )
        axes.axhline(0.5, color=MUTED, lw=1, ls=(0, (1, 2)))
        axes.set_xlabel(f"{metric} on unseen records")
        axes.set_ylabel("AUC of the best attack")
        if labelled:
            figure.legend(loc="center right", fontsize=8, frameon=False, labelcolor=INK)
        return figure

    return Drawing(draw, f"{metric} on unseen records against the AUC of the best attack, by model")


def has_utility(result: Result) -> bool:
    """Whether there are two models to compare in `utility_against_leakage`."""
    return sum(model.utility is not None and bool(attacks_on(result, model.name)) for model in result.models) > 1


def _visible(attack: AttackResult, start: float) -> tuple[list[float], list[float], list[float]]:
    curve = attack.curve
    xs = [max(x, start) for x in curve.fpr]
    return xs, [max(y, start / 10) for y in curve.low], [max(y, start / 10) for y in curve.high]


def _short(name: str) -> str:
    return short(name, LONGEST)


def file_name(result: Result, model: ModelResult) -> str:
    """Name of a model's figure without its suffix: a name from somebody else's result is no path here.

    A plan's own names stay as they are; others lose what is no letter, digit, dot, dash or underscore, and get the
    model's number, so that no two meet.
    """
    plain = re.sub(r"[^A-Za-z0-9._-]", "_", model.name)[:64]
    number = result.models.index(model)
    return f"roc-{model.name}" if plain == model.name else f"roc-{number}-{plain}"
