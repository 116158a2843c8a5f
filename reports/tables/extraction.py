"""Extraction from a language model: the curves over samples and probabilities, and what was found in sentences."""

import math
from typing import Any

from dpaudit.reports.drawing import COLOURS, DASHES, INK, Drawing, canvas
from dpaudit.reports.words import count_of, percent
from dpaudit.results.extraction import ExtractionPoint, ExtractionResult, ExtractionSide
from dpaudit.results.result import Result


def draw_extraction_figures(result: Result) -> dict[str, Drawing]:
    """Figures by file name; empty when nothing was to be extracted, or for one number of samples only."""
    return {
        figure_name(found): curves(found)
        for found in result.extraction
        if len({point.n for point in found.records.points}) > 1
    }


def figure_name(found: ExtractionResult) -> str:
    """Of the file with the curves of one model."""
    return f"extraction-{found.model}" if found.model else "extraction"


def curves(found: ExtractionResult) -> Drawing:
    """Share of records that n samples hold with probability p, with intervals; of others in a paler line."""
    levels = list(dict.fromkeys(point.p for point in found.records.points))

    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    def draw() -> Any:
        figure, axes = canvas(7.2, 3.4)
        for number, p in enumerate(levels):
            colour = COLOURS[number % len(COLOURS)]
            dashes = DASHES[number % len(DASHES)]
            points = _at(found.records, p)
            n = [point.n for point in points]
            axes.fill_between(n, [point.low for point in points], [point.high for point in points], color=colour,
                              alpha=0.18, lw=0)  # fmt: skip
            axes.plot(n, [point.share for point in points], color=colour, ls=dashes, lw=1.8, marker="o", ms=3.5,
                      label=f"records, p = {p:g}")  # fmt: skip
            if found.others is not None:
                shares = [point.share for point in _at(found.others, p)]
                axes.plot(n, shares, color=colour, ls=dashes, lw=0.9, marker="x", ms=4, label=f"others, p = {p:g}")
        axes.set(xscale="log", ylim=(-0.02, 1.02))
        axes.xaxis.set_major_locator(FixedLocator(sorted({point.n for point in found.records.points})))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        axes.set_xlabel("samples for each record, n")
        axes.set_ylabel("share extracted")
        figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=8, labelcolor=INK)
        return figure

    return Drawing(draw, f"Share of records that are extracted, over the number of samples, for {len(levels)} levels")


def _at(side: ExtractionSide, p: float) -> list[ExtractionPoint]:
    return sorted((point for point in side.points if point.p == p), key=lambda point: point.n)


def extraction_in_words(found: ExtractionResult) -> list[str]:
    """What was found, one sentence each."""
    number = len(found.records.log_probabilities)
    of = f"{number} canaries" if found.of == "canaries" else count_of(number, found.of.removesuffix("s"))
    over = "all tokens" if found.top_k is None else f"the {found.top_k} likeliest tokens"
    sampler = f"Sampling at temperature {found.temperature:g} from {over}"
    least = found.records.least_queries(0.5)
    if math.isinf(least) and least > 0:
        said = [f"{sampler} never gives any of the {of}."]
    else:
        samples = max(1, math.ceil(10**least - 1e-9)) if least < 12 else 0
        needs = f"{samples:,} sample{'s' * (samples > 1)}" if samples else f"10^{least:.0f} samples"
        said = [f"{sampler}, the likeliest of {of} is among {needs} with probability 1/2."]
    if found.secrets:
        first = sum(each.first for each in found.secrets)
        top = max(each.by_rank for each in found.secrets)
        fits = [each.by_fit for each in found.secrets if each.first]
        fit = f". The fit, which extrapolates, gives these {_range(fits)} bits." if first else ""
        said.append(
            f"{first:,} of {len(found.secrets):,} secrets are likelier than all {found.candidates:,} candidates: their "
            f"exposure by rank is {math.log2(found.candidates + 1):.1f} bits, the most it can be"
            + (fit or f"; the largest is {top:.1f} bits.")
        )
    if found.reproduced is not None:
        one = found.reproduced
        said.append(
            f"Found in {count_of(one.generations, 'generation')}: {one.verbatim:,} of {count_of(one.texts, 'text')} "
            f"word for word, {one.near:,} at least nearly ({percent(one.near / one.texts)}), {one.run:,} with "
            f"{one.words} words in a row."
        )
    return said


def _range(values: list[float]) -> str:
    low, high = f"{min(values):.1f}", f"{max(values):.1f}"
    return low if low == high else f"{low} to {high}"
