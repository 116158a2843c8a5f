"""Leakage over releases as a page."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from dpaudit.gate.history import ModelRelease, runs
from dpaudit.gate.release_answers import ReleaseAnswer, chance_of_any
from dpaudit.reports.drawing import COLOURS, INK, MUTED, Drawing, canvas
from dpaudit.reports.html import render
from dpaudit.reports.words import short
from dpaudit.runtime.files import write_text

CHANGES = 40  # keys of a plan that are listed for one step
GATE_CLASS = {"passes": "consistent", "stopped": "contradicted", "no verdict": "no-verdict", "refused": "no-verdict"}
LINES = len(COLOURS)  # models drawn; all of them are in the table


def write_history(
    releases: Sequence[ModelRelease], folder: Path, answers: Mapping[Path, ReleaseAnswer] | None = None
) -> None:
    """Write ``history.html``.

    Args:
        releases: oldest first.
        folder: to write into.
        answers: of the gate, by the path of a result; none where there were no claims.
    """
    drawing = over_time(releases)
    results = {each.path: each.result for each in releases}
    levels = [result.level for result in results.values() if result.level.bounds]
    audits = len({each.path for each in releases})
    models = len({each.model for each in releases})
    write_text(
        folder / "history.html",
        render(
            "history.html.j2",
            releases=releases,
            audits=audits,
            models=models,
            drawn=LINES,
            answers=answers or {},
            folders={each.path: each.folder for each in releases},
            steps=_steps(releases),
            bounded=len(levels),
            by_chance=min(1.0, sum(1 - level.confidence for level in levels)),
            CHANGES=CHANGES,
            GATE_CLASS=GATE_CLASS,
            stopped_by_chance=chance_of_any(answers or {}),
            figure=Markup(drawing.svg()),  # drawn by us, names escaped
        ),
    )


def _steps(releases: Sequence[ModelRelease]) -> list[tuple[ModelRelease, list[str]]]:
    """The first release of each step from one result to another, with the models that took it."""
    found: dict[tuple[str, str], tuple[ModelRelease, list[str]]] = {}
    for each in releases:
        if each.before and each.before != each.folder:
            found.setdefault((each.before, each.folder), (each, []))[1].append(each.model)
    return list(found.values())


def over_time(releases: Sequence[ModelRelease]) -> Drawing:
    """AUC of the best attack on each model, release by release, with 95 % intervals.

    A line is broken where a release cannot be compared with the one before it.
    """
    paths = list(dict.fromkeys(each.path for each in releases))
    place = {path: index for index, path in enumerate(paths)}
    models = list(dict.fromkeys(each.model for each in releases if each.auc is not None))
    ticks = {each.path: f"{each.result.provenance.created[:10]}\n{short(each.folder, 16)}" for each in releases}

    def draw() -> Any:
        figure, axes = canvas(7.2, 3.6)
        axes.axhline(0.5, color=MUTED, lw=1, ls=(0, (1, 2)))
        for colour, model in zip(COLOURS, models[:LINES], strict=False):
            parts = [
                [(place[each.path], each.auc) for each in run if each.auc is not None] for run in runs(releases, model)
            ]
            for number, points in enumerate(filter(None, parts)):
                xs = [x for x, _ in points]
                values = [interval.value for _, interval in points]
                below = [interval.value - interval.low for _, interval in points]
                above = [interval.high - interval.value for _, interval in points]
                label = None if number else short(model, 28)
                axes.errorbar(xs, values, yerr=[below, above], fmt="o-", color=colour, ms=4, lw=1.4, label=label)
        step = max(1, len(paths) // 8)
        axes.set_xticks(range(0, len(paths), step), [ticks[path] for path in paths[::step]])
        axes.set_ylabel("AUC of the best attack")
        if axes.get_legend_handles_labels()[1]:  # none of results without a membership attack
            figure.legend(loc="outside lower center", ncols=3, fontsize=8, frameon=False, labelcolor=INK)
        return figure

    return Drawing(draw, f"AUC of the best attack on {len(models)} models over {len(paths)} results")
