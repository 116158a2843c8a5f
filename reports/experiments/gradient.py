"""Figures of gradient leakage: gallery, fidelity against floor, leakage against utility, success against bound."""

from statistics import median

import numpy as np
from scipy.stats import beta

from dpaudit.experiments.gradient_outcome import Outcome
from dpaudit.experiments.prior import Outcome as PriorOutcome
from dpaudit.reports.drawing import COLOURS, INK, MUTED, PROMISED, Drawing, canvas
from dpaudit.result import Result

# The promise has a colour of its own.
SERIES = tuple(colour for colour in COLOURS if colour != PROMISED)
MARKERS = ("o", "s", "^", "D", "v", "P")


def drawings(result: Result) -> dict[str, Drawing]:
    """Figures by file name; empty when the audit had no gradient experiment."""
    found = {}
    if result.gradient is not None:
        if result.gradient.gallery:
            found["gradient-gallery"] = gallery(result.gradient)
        found["gradient-fidelity"] = fidelity(result.gradient)
        if result.gradient.costs:
            found["gradient-utility"] = utility(result.gradient)
    if result.prior is not None:
        found["reconstruction"] = success(result.prior)
    return found


def gallery(outcome: Outcome) -> Drawing:
    """The first victim's first record of each scenario: as it was, and as it was reconstructed."""
    scenarios = list(dict.fromkeys(picture.scenario for picture in outcome.gallery))
    titles = list(dict.fromkeys(picture.title for picture in outcome.gallery))
    pixels = {(p.scenario, p.title): p.pixels for p in outcome.gallery}
    figure, axes = canvas(0.4 + 1.15 * len(titles), 0.3 + 1.25 * len(scenarios))
    axes.remove()
    cells = figure.subplots(len(scenarios), len(titles), squeeze=False)
    for row, scenario in enumerate(scenarios):
        for column, title in enumerate(titles):
            cell = cells[row, column]
            cell.set_xticks([])
            cell.set_yticks([])
            cell.spines[:].set_visible(False)
            if row == 0:
                cell.set_title(title, size=8, color=INK)
            if column == 0:
                cell.set_ylabel(scenario, size=8, color=INK)
            if (scenario, title) in pixels:
                cell.imshow(np.array(pixels[scenario, title]), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            else:
                cell.text(0.5, 0.5, "refused", ha="center", va="center", color=MUTED, size=8)
    return Drawing(
        figure, f"Originals and reconstructions of {len(scenarios)} scenarios under {len(titles) - 1} defences"
    )


def fidelity(outcome: Outcome) -> Drawing:
    """PSNR of every record, by defence, over what guessing without the gradient reaches."""
    defences = list(dict.fromkeys(cell.defence for cell in outcome.cells))
    series = list(dict.fromkeys((cell.scenario, cell.attack) for cell in outcome.cells))
    figure, axes = canvas(7.2, 3.4)
    width = 0.8 / len(series)
    for number, (scenario, attack) in enumerate(series):
        first = True
        for cell in outcome.cells:
            if (cell.scenario, cell.attack) != (scenario, attack):
                continue
            middle = defences.index(cell.defence) + (number + 0.5) * width - 0.4
            spread = middle + np.linspace(-0.3, 0.3, len(cell.psnr)) * width
            label = f"{scenario}, {attack}" if first else None
            axes.plot(
                spread, cell.psnr, MARKERS[number % len(MARKERS)], ms=3.5, ls="", label=label,
                color=SERIES[number % len(SERIES)],
            )  # fmt: skip
            edges = [middle - width / 2, middle + width / 2]
            axes.plot(
                edges,
                [median(cell.floor)] * 2,
                color=PROMISED,
                lw=1.5,
                label="prior alone" if first and not number else None,
            )
            first = False
    axes.set_xticks(range(len(defences)), defences)
    axes.set_ylabel("PSNR in dB")
    axes.legend(frameon=False, fontsize=8)
    return Drawing(figure, f"PSNR of reconstructed records under {len(defences)} defences, with the prior's floor")


def utility(outcome: Outcome) -> Drawing:
    """Median PSNR above the floor against the accuracy a short training with the same defence reaches."""
    accuracy = {cost.defence: cost.accuracy for cost in outcome.costs}
    figure, axes = canvas(4.6, 3.4)
    series = list(dict.fromkeys((cell.scenario, cell.attack) for cell in outcome.cells))
    for number, key in enumerate(series):
        cells = [cell for cell in outcome.cells if (cell.scenario, cell.attack) == key]
        above = [median(cell.psnr) - median(cell.floor) for cell in cells]
        axes.plot(
            [accuracy[cell.defence] for cell in cells], above, MARKERS[number % len(MARKERS)], ls="", ms=5,
            color=SERIES[number % len(SERIES)], label=", ".join(key),
        )  # fmt: skip
        if number == 0:
            for cell, height in zip(cells, above, strict=True):
                axes.annotate(cell.defence, (accuracy[cell.defence], height), xytext=(4, 4), textcoords="offset points",
                              size=8, color=INK)  # fmt: skip
    axes.axhline(0, color=PROMISED, lw=1)
    axes.set_xlabel("accuracy after the same short training")
    axes.set_ylabel("PSNR above the prior's floor, dB")
    axes.legend(frameon=False, fontsize=8)
    return Drawing(figure, "Leakage against utility of every defence")


def success(outcome: PriorOutcome) -> Drawing:
    """Share of games won with its exact 95 % interval, the proved bound, and the reference curves."""
    figure, axes = canvas(7.2, 3.4)
    numbers = sorted({cell.candidates for cell in outcome.cells})
    for index, number in enumerate(numbers):
        cells = [cell for cell in outcome.cells if cell.candidates == number]
        colour, x = SERIES[index % len(SERIES)], np.arange(len(cells)) + 0.16 * (index - (len(numbers) - 1) / 2)
        shares = [cell.successes / cell.runs for cell in cells]
        low = [beta.ppf(0.025, c.successes, c.runs - c.successes + 1) if c.successes else 0.0 for c in cells]
        high = [beta.ppf(0.975, c.successes + 1, c.runs - c.successes) if c.successes < c.runs else 1.0 for c in cells]
        lengths = [
            [s - a for s, a in zip(shares, low, strict=True)],
            [b - s for s, b in zip(shares, high, strict=True)],
        ]
        axes.errorbar(
            x, shares, lengths, fmt=MARKERS[index % len(MARKERS)], color=colour, ms=4, label=f"won, {number} candidates"
        )
        axes.plot(
            x, [c.gamma for c in cells], "_", ms=14, mew=2, color=PROMISED, label=None if index else "bound γ(1/M)"
        )
        axes.plot(x, [c.orthogonal for c in cells], "_", ms=9, mew=1, color=MUTED,
                  label=None if index else "orthogonal candidates (not proved)")  # fmt: skip
        axes.plot(x, [1 / number] * len(x), ":", color=colour, lw=1, label=f"guessing, {number} candidates")
    some = [cell for cell in outcome.cells if cell.candidates == numbers[0]]
    axes.set_xticks(range(len(some)), [f"σ = {c.noise_multiplier:g}\nclaimed ε = {c.epsilon:.3g}" for c in some])
    axes.set_ylim(0, 1.02)
    axes.set_ylabel("share of games won")
    axes.legend(frameon=False, fontsize=8)
    return Drawing(figure, "Success of the candidate attack beside the reconstruction bound")
