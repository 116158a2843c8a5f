"""A sweep as tables and figures: measured against claimed ε, and what the models are good for."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.table import Table

from dpaudit.reports.drawing import CLAIMED, COLOURS, INK, SHADE, Drawing, canvas
from dpaudit.reports.export import write_table
from dpaudit.reports.words import count_of, figure, short
from dpaudit.results.sweep import SweepRuns, summarise_sweep
from dpaudit.runtime.files import replacing, write_text
from dpaudit.runtime.terminal import plain_text

if TYPE_CHECKING:
    import pandas as pd

FORMS = ("csv", "md", "tex")
SERIES = len(COLOURS)  # models drawn; all of them are in the tables
WIDE = 20.0  # from this ratio of claimed ε on, the axis is logarithmic


def write_sweep(table: "pd.DataFrame", runs: SweepRuns, folder: Path) -> None:
    """Write the tables ``runs`` and ``summary``, and the figures ``epsilon`` and ``utility`` as SVG and PNG.

    Args:
        table: from `dpaudit.read_sweep`.
        runs: of the sweep.
        folder: of the sweep.
    """
    summary = summarise_sweep(table, runs.keys)
    write_table(table, folder, "runs", FORMS)
    write_table(summary, folder, "summary", FORMS)
    for name, drawing in draw_sweep(summary, runs.keys).items():
        write_text(folder / f"{name}.svg", drawing.svg())
        with replacing(folder / f"{name}.png") as temporary:
            temporary.write_bytes(drawing.png())


def tabulate_sweep(table: "pd.DataFrame", runs: SweepRuns) -> Table:
    """One row for each setting and model, for the terminal: means over the seeds, ± half the 95 % interval."""
    drawn = Table(box=None, header_style="bold", padding=(0, 1, 0, 0))
    for key in runs.keys:
        drawn.add_column(plain_text(key.rpartition(".")[2]), overflow="fold")
    for heading in ("model", "seeds", "claimed\nε ≤", "measured\nε ≥", "AUC", "test", "contra-\ndicted"):
        drawn.add_column(heading, justify="left" if heading == "model" else "right", no_wrap=heading != "model")
    for _, row in summarise_sweep(table, runs.keys).iterrows():
        cells = [str(row[key]) for key in runs.keys] + [
            row["model"],
            str(row["seeds"]),
            _number(row["claimed_epsilon"]),
        ]
        cells += [_with_reach(row, column) for column in ("epsilon", "auc", "test")]
        claimed = row["claimed_epsilon"] == row["claimed_epsilon"] and row["claimed_epsilon"] is not None
        cells.append(f"{row['contradicted']} of {row['seeds']}" if claimed else "–")
        drawn.add_row(*map(plain_text, cells))
    count = len(runs.runs)
    said = (
        f"Means over the seeds, ± a 95 % interval. All bounds of the {count_of(count, 'run')} hold together with "
        f"{runs.confidence:.0%} confidence."
    )
    if count > 1 and table["claimed_epsilon"].notna().any():
        said += (
            " A claimed ε is that of one training: publishing the best of several by private data costs more "
            "(dpaudit epsilon --selection)."
        )
    drawn.caption = plain_text(
        said,
        "table.caption",
    )
    drawn.caption_justify = "left"
    return drawn


def draw_sweep(summary: "pd.DataFrame", keys: list[str]) -> dict[str, Drawing]:
    """Figures by file name, as far as there is something to draw."""
    found = {}
    if summary["epsilon"].notna().any():
        said = "the largest lower bound on ε, mean over the seeds with 95 % interval"
        found["epsilon"] = _figure(summary, keys, "epsilon", "measured ε ≥", said)
    if summary["test"].notna().any():
        said = "the metric of utility on unseen records, mean over the seeds with 95 % interval"
        metrics = " or ".join(dict.fromkeys(summary["metric"]))
        found["utility"] = _figure(summary, keys, "test", f"{metrics} on unseen records", said)
    return found


def _figure(summary: "pd.DataFrame", keys: list[str], column: str, label: str, said: str) -> Drawing:
    models = list(dict.fromkeys(summary["model"]))[:SERIES]
    places = _Places(summary, keys)
    joined = "-" if len(keys) == 1 else ""  # with several, neighbours on the axis are no neighbours

    def draw() -> Any:
        drawn, axes = canvas(7.2, 3.8)
        for index, model in enumerate(models):
            rows = summary[(summary["model"] == model) & summary[column].notna()]
            points = sorted((places.of(row), row[column], *_reach(row, column)) for _, row in rows.iterrows())
            if points:
                xs, ys, below, above = zip(*points, strict=True)
                style = {"fmt": "osD^v"[index] + joined, "color": COLOURS[index], "ms": 5, "lw": 1.2}
                axes.errorbar(xs, ys, yerr=[below, above], label=short(model, 28), **style)
        if column == "epsilon" and places.claimed:
            line = np.geomspace(places.claimed[0], places.claimed[-1], 200)
            axes.plot(line, line, color=CLAIMED, lw=1.8, ls=(0, (6, 2)), label="claimed ε")
        if column == "epsilon":
            axes.set_ylim(0, 1.15 * max(_highest(summary), 0.1))
        if places.logarithmic:
            axes.set_xscale("log")
        axes.set_xticks(*places.ticks)
        axes.minorticks_off()
        axes.grid(axis="y", color=SHADE, lw=0.8)
        axes.set_xlabel(places.title)
        axes.set_ylabel(label)
        drawn.legend(loc="outside lower center", ncols=3, fontsize=8, frameon=False, labelcolor=INK)
        return drawn

    over = "claimed ε" if places.claimed else "the settings"
    return Drawing(draw, f"{said}, against {over}, of {count_of(len(models), 'model')}")


class _Places:
    """Where a setting lies on the horizontal axis: at its claimed ε, or, where no model claims any, in a row."""

    def __init__(self, summary: "pd.DataFrame", keys: list[str]) -> None:
        self._keys = keys
        self.claimed = sorted({float(each) for each in summary["claimed_epsilon"].dropna() if 0 < each < math.inf})
        self._settings = list(dict.fromkeys(self._setting(row) for _, row in summary.iterrows()))
        self.logarithmic = bool(self.claimed) and self.claimed[-1] > WIDE * self.claimed[0]
        self._unclaimed = any(self._claim(row) is None for _, row in summary.iterrows())

    def of(self, row: Any) -> float:
        """Of one row of the summary."""
        if not self.claimed:
            return float(self._settings.index(self._setting(row)))
        claim = self._claim(row)
        return self._beyond if claim is None else claim

    @property
    def title(self) -> str:
        """Of the axis."""
        return "claimed ε" if self.claimed else ", ".join(self._keys) or "setting"

    @property
    def ticks(self) -> tuple[list[float], list[str]]:
        """Places and their words."""
        if not self.claimed:
            return [float(place) for place in range(len(self._settings))], [short(each, 20) for each in self._settings]
        apart: list[float] = []
        for value in self.claimed:  # close ones would write over each other
            last = apart[-1] if apart else None
            near = last is not None and (
                value < 1.25 * last if self.logarithmic else value - last < 0.06 * self.claimed[-1]
            )
            if not near:
                apart.append(value)
        words = [figure(value) for value in apart]
        return ([*apart, self._beyond], [*words, "no claim"]) if self._unclaimed else (apart, words)

    @property
    def _beyond(self) -> float:
        """Where models without a claim are drawn: to the right of all others."""
        last, width = self.claimed[-1], self.claimed[-1] - self.claimed[0]
        return last * (last / self.claimed[0]) ** 0.2 if self.logarithmic else last + max(0.2 * width, 0.2 * last)

    def _setting(self, row: Any) -> str:
        return ", ".join(str(row[key]) for key in self._keys) or "all seeds"

    @staticmethod
    def _claim(row: Any) -> float | None:
        claim = row["claimed_epsilon"]
        return float(claim) if claim == claim and claim is not None and 0 < claim < math.inf else None


def _reach(row: Any, column: str) -> tuple[float, float]:
    """How far the interval reaches below and above the mean; not at all with one seed."""
    low, high = row[f"{column}_low"], row[f"{column}_high"]
    if low is None or low != low:
        return 0.0, 0.0
    return float(row[column] - low), float(high - row[column])


def _number(value: Any) -> str:
    return figure(None if value is None or value != value else float(value))


def _with_reach(row: Any, column: str) -> str:
    _, above = _reach(row, column)
    return _number(row[column]) + (f" ± {above:.2g}" if above else "")


def _highest(summary: "pd.DataFrame") -> float:
    return max(float(summary[name].max()) for name in ("epsilon", "epsilon_high") if summary[name].notna().any())
