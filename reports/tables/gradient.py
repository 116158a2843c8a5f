"""Figures of gradient leakage: gallery, fidelity against floor, leakage against utility, success against bound."""

import math
from collections.abc import Sequence
from statistics import median
from textwrap import fill
from typing import Any

import numpy as np

from dpaudit.reports.drawing import CLAIMED, COLOURS, INK, MUTED, Drawing, canvas
from dpaudit.results.gradient import GradientResult
from dpaudit.results.prior import PriorResult
from dpaudit.results.result import Result
from dpaudit.scores.intervals import interval

EXACT = 60.0  # dB: an error of a thousandth of the range, which no eye sees; what is above is drawn there
MARKERS = ("o", "s", "^", "D", "v", "P")


def draw_gradient_figures(result: Result) -> dict[str, Drawing]:
    """Figures by file name; empty when the audit had no gradient experiment."""
    found = {}
    if result.gradient is not None:
        if result.gradient.gallery:
            found["gradient-gallery"] = gallery(result.gradient)
        if result.gradient.cells:
            found["gradient-fidelity"] = draw_fidelity(result.gradient)
        if result.gradient.cells and result.gradient.costs:
            found["gradient-utility"] = utility_rows(result.gradient)
    if result.prior is not None:
        found["reconstruction"] = draw_success(result.prior)
    return found


def gallery(outcome: GradientResult) -> Drawing:
    """The first victim's first record of each scenario: as it was, and as it was reconstructed."""
    scenarios = list(dict.fromkeys(picture.scenario for picture in outcome.gallery))
    titles = list(dict.fromkeys(picture.title for picture in outcome.gallery))
    pixels = {(p.scenario, p.title): p.pixels for p in outcome.gallery}

    def draw() -> Any:
        figure, axes = canvas(1.2 + 0.95 * len(titles), 0.4 + 1.0 * len(scenarios))
        axes.remove()
        cells = figure.subplots(len(scenarios), len(titles), squeeze=False)
        for row, scenario in enumerate(scenarios):
            for column, title in enumerate(titles):
                cell = cells[row, column]
                cell.set_xticks([])
                cell.set_yticks([])
                cell.spines[:].set_visible(False)
                if row == 0:
                    cell.set_title(fill(title, 13), size=9, color=INK)
                if column == 0:
                    cell.set_ylabel(fill(scenario, 15), size=9, color=INK, rotation=0, ha="right", va="center")
                if (scenario, title) in pixels:
                    cell.imshow(np.array(pixels[scenario, title]), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
                else:
                    cell.text(0.5, 0.5, "refused", ha="center", va="center", color=MUTED, size=9)
        return figure

    return Drawing(
        draw, f"Originals and reconstructions of {len(scenarios)} scenarios under {len(titles) - 1} defences"
    )


def draw_fidelity(outcome: GradientResult) -> Drawing:
    """PSNR of every record, by defence, over what guessing without the gradient reaches."""
    defences = list(dict.fromkeys(cell.defence for cell in outcome.cells))
    series = list(dict.fromkeys((cell.scenario, cell.attack) for cell in outcome.cells))

    def draw() -> Any:
        figure, axes = canvas(7.2, 3.2 + 0.2 * math.ceil((len(series) + 1) / 2))
        width = 0.8 / len(series)
        floors: list[tuple[float, float]] = []
        for number, key in enumerate(series):
            xs: list[float] = []
            ys: list[float] = []
            for cell in outcome.cells:
                if (cell.scenario, cell.attack) != key:
                    continue
                middle = defences.index(cell.defence) + (number + 0.5) * width - 0.4
                xs += (middle + np.linspace(-0.3, 0.3, len(cell.psnr)) * width).tolist()
                ys += [min(value, EXACT) for value in cell.psnr]
                floors.append((middle, median(cell.floor)))
            axes.plot(xs, ys, MARKERS[number % len(MARKERS)], ms=3.5, ls="", label=_named(outcome, key),
                      color=COLOURS[number % len(COLOURS)])  # fmt: skip
        at = np.array(floors)
        axes.hlines(at[:, 1], at[:, 0] - width / 2, at[:, 0] + width / 2, color=CLAIMED, lw=1.5, label="prior alone")
        axes.set_xticks(range(len(defences)), [fill(name, 12) for name in defences], size=9 if len(defences) < 9 else 7)
        _in_decibels(axes.yaxis, ys=[value for cell in outcome.cells for value in cell.psnr])
        axes.set_ylabel("PSNR in dB")
        figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=8, labelcolor=INK)
        return figure

    return Drawing(draw, f"PSNR of reconstructed records under {len(defences)} defences, with the prior's floor")


def utility_rows(outcome: GradientResult) -> Drawing:
    """Each defence a row: the accuracy a short training with it reaches, and the median PSNR it leaves an attacker."""
    defences = [cost.defence for cost in outcome.costs]
    series = list(dict.fromkeys((cell.scenario, cell.attack) for cell in outcome.cells))

    def draw() -> Any:
        figure, axes = canvas(7.2, 0.8 + 0.32 * len(defences) + 0.2 * math.ceil((len(series) + 1) / 2))
        axes.remove()
        left, right = figure.subplots(1, 2, sharey=True, width_ratios=(2, 3))
        left.barh(range(len(defences)), [cost.accuracy for cost in outcome.costs], height=0.5, color=MUTED)
        left.set_xlim(0, 1)
        left.set_xlabel("accuracy after the same short training")
        left.set_yticks(range(len(defences)), [fill(name, 24) for name in defences])
        left.set_ylim(len(defences) - 0.5, -0.5)
        for number, key in enumerate(series):
            cells = [cell for cell in outcome.cells if (cell.scenario, cell.attack) == key and cell.refused is None]
            rows = [defences.index(cell.defence) + 0.5 * ((number + 0.5) / len(series) - 0.5) for cell in cells]
            medians = [cell.typical(cell.psnr).median for cell in cells]
            right.plot([min(value, EXACT) for value in medians], rows, MARKERS[number % len(MARKERS)], ls="", ms=5,
                       color=COLOURS[number % len(COLOURS)], label=_named(outcome, key))  # fmt: skip
        floor = median(value for cell in outcome.cells for value in cell.floor)
        right.axvline(floor, color=CLAIMED, lw=1, label="prior alone")
        _in_decibels(right.xaxis, ys=[value for cell in outcome.cells for value in cell.psnr])
        right.set_xlabel("median PSNR in dB")
        for part in (left, right):
            part.patch.set_alpha(0)
            part.spines[["top", "right"]].set_visible(False)
        figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=8, labelcolor=INK)
        return figure

    return Drawing(draw, f"Accuracy and leakage under {len(defences)} defences")


def _in_decibels(axis: Any, *, ys: Sequence[float]) -> None:
    """Ticks up to where a reconstruction is exact to the eye, when any is that good."""
    if max(ys, default=0.0) >= EXACT:
        axis.set_ticks([0, 20, 40, EXACT], ["0", "20", "40", f"≥ {EXACT:.0f}"])


def _named(outcome: GradientResult, key: tuple[str, str]) -> str:
    """A series by its scenario, and by its attack where there are several."""
    scenario, attack = key
    return scenario if len({cell.attack for cell in outcome.cells}) == 1 else f"{scenario}, {attack}"


def draw_success(outcome: PriorResult) -> Drawing:
    """Share of games won with its exact 95 % interval, the proved bound, and the reference curves."""

    def draw() -> Any:
        figure, axes = canvas(7.2, 3.4)
        numbers = sorted({cell.candidates for cell in outcome.cells})
        top = 0.0
        for index, number in enumerate(numbers):
            cells = [cell for cell in outcome.cells if cell.candidates == number]
            colour, x = COLOURS[index % len(COLOURS)], np.arange(len(cells)) + 0.16 * (index - (len(numbers) - 1) / 2)
            shares = [cell.successes / cell.runs for cell in cells]
            limits = [interval(cell.successes, cell.runs, 0.95) for cell in cells]
            top = max([top, *(float(high) for _, high in limits), *(cell.gamma for cell in cells)])
            lengths = [
                [share - low for share, (low, _) in zip(shares, limits, strict=True)],
                [high - share for share, (_, high) in zip(shares, limits, strict=True)],
            ]
            axes.errorbar(
                x,
                shares,
                lengths,
                fmt=MARKERS[index % len(MARKERS)],
                color=colour,
                ms=4,
                label=f"won, {number} candidates",
            )
            axes.plot(
                x, [c.gamma for c in cells], "_", ms=14, mew=2, color=CLAIMED, label=None if index else "bound γ(1/M)"
            )
            axes.plot(x, [c.orthogonal for c in cells], "_", ms=9, mew=1, color=MUTED,
                      label=None if index else "orthogonal candidates (not proved)")  # fmt: skip
            axes.plot(x, [1 / number] * len(x), ":", color=colour, lw=1, label=f"guessing, {number} candidates")
        some = [cell for cell in outcome.cells if cell.candidates == numbers[0]]
        axes.set_xticks(range(len(some)), [f"σ = {c.noise_multiplier:g}\nclaimed ε = {c.epsilon:.3g}" for c in some])
        axes.set_ylim(0, min(1.02, 1.15 * top))
        axes.set_ylabel("share of games won")
        figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=8, labelcolor=INK)
        return figure

    return Drawing(draw, "Success of the candidate attack beside the reconstruction bound")
