"""The self-test: every bound on mechanisms of known ε, and how often it was above the truth."""

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from dpaudit import __version__
from dpaudit.runtime import check
from dpaudit.runtime.check import FloatArray
from dpaudit.runtime.jobs import Workers
from dpaudit.scores.intervals import interval
from dpaudit.scores.scores import Scores
from dpaudit.self_test.chosen import CHOICES, COLUMNS, Choice, audits_of, simulate_bounds
from dpaudit.self_test.mechanisms import Simulated, all_mechanisms
from dpaudit.self_test.methods import METHODS, Measure, Method

FALSE_ALARM = 0.01  # probability that the whole table fails although every bound holds
QUICK = {"trials": 150, "sizes": (200,), "confidences": (0.95,)}
CONFIDENCE = 0.95  # of the cells that differ in how members were chosen
FULL = {"trials": 10_000, "sizes": (200, 1000), "confidences": (0.95, 0.99)}


@dataclass(frozen=True)
class Cell:
    """One method on one mechanism.

    Args:
        method: name of the method.
        mechanism: name of the mechanism.
        size: membership coins per audit.
        confidence: nominal.
        trials: simulated audits.
        above: audits whose ε was above the truth.
        low: lower limit of the miscoverage, jointly over the table.
        high: its upper limit.
        tightness: mean of ε̂ / ε; None where ε is 0.
        mean: mean of ε̂.
        seconds: of processor time per audit.
        judged: whether the method guarantees its confidence here.
        chosen: how members were chosen; empty for fair coins in the table of methods.
    """

    method: str
    mechanism: str
    size: int
    confidence: float
    trials: int
    above: int
    low: float
    high: float
    tightness: float | None
    mean: float
    seconds: float
    judged: bool
    chosen: str = ""

    @property
    def miscoverage(self) -> float:
        """Share of the audits above the truth."""
        return self.above / self.trials

    @property
    def failed(self) -> bool:
        """Whether the bound is above the truth more often than it says, beyond chance."""
        return self.judged and self.low > 1 - self.confidence


@dataclass(frozen=True)
class SelfTest:
    """The table."""

    version: str
    seed: int
    cells: tuple[Cell, ...]

    @property
    def failures(self) -> tuple[Cell, ...]:
        """Cells in which a bound does not hold as often as it says."""
        return tuple(cell for cell in self.cells if cell.failed)

    @property
    def passed(self) -> bool:
        """Whether every judged bound holds."""
        return not self.failures

    def json(self) -> str:
        """The table for machines."""
        cells = [{**asdict(cell), "miscoverage": cell.miscoverage, "failed": cell.failed} for cell in self.cells]
        return json.dumps({"version": self.version, "seed": self.seed, "cells": cells}, indent=1, allow_nan=False)


def selftest(
    *,
    quick: bool = True,
    seed: int,
    trials: int | None = None,
    methods: Sequence[Method] = METHODS,
    choices: Sequence[Choice] = CHOICES,
    jobs: int | None = 1,
    backend: str = "loky",
    progress: Callable[[str], None] | None = None,
) -> SelfTest:
    """Measure how often every bound is above the truth.

    Args:
        quick: 150 audits a cell at one size and level (under a minute), instead of 10,000 at two sizes and two levels.
        seed: of the simulations; every mechanism and size has a stream of its own.
        trials: audits a cell, when neither number fits.
        methods: what to test; anything with the same fields can be put beside ours.
        choices: ways of choosing members under which the default bound of one run is tested.
        jobs: as in `Workers`; so is ``backend``.
        progress: called with a line after every mechanism.

    >>> table = selftest(seed=0, trials=20, methods=METHODS[:1], choices=())
    >>> table.passed
    True
    """
    plan: dict[str, Any] = QUICK if quick else FULL
    audits = plan["trials"] if trials is None else check.integer("trials", trials, at_least=1)
    check.integer("seed", seed, at_least=0)
    mechanisms = all_mechanisms()
    judged = sum(method.judged_on(mechanism) for method in methods for mechanism in mechanisms)
    tests = judged * len(plan["sizes"]) * len(plan["confidences"]) + len(choices) * len(COLUMNS)
    joint = 1 - 2 * FALSE_ALARM / max(1, tests)
    recipes: dict[str, tuple[Any, ...]] = {
        f"{mechanism.name}, {size} coins": (
            mechanism,
            size,
            plan["confidences"],
            [seed, place, size],
            audits,
            joint,
            tuple(methods),
        )
        for place, mechanism in enumerate(mechanisms)
        for size in plan["sizes"]
    }
    rows: dict[str, tuple[Any, ...]] = {
        choice.name: (choice, [seed, len(mechanisms) + place], audits, joint) for place, choice in enumerate(choices)
    }
    found: dict[str, list[Cell]] = {}
    tasks: tuple[tuple[Callable[..., list[Cell]], dict[str, tuple[Any, ...]]], ...] = ((_cells, recipes), (_row, rows))
    for work, parts in tasks:
        for name, part in Workers(jobs, backend)(work, parts):
            found[name] = part
            if progress is not None:
                progress(f"{name}: {len(found)} of {len(recipes) + len(rows)}")
    cells = [cell for name in (*recipes, *rows) for cell in found[name]]
    return SelfTest(__version__, seed, tuple(cells))


def _cells(
    mechanism: Simulated,
    size: int,
    confidences: Sequence[float],
    stream: list[int],
    audits: int,
    joint: float,
    methods: Sequence[Method],
) -> list[Cell]:
    rng = np.random.default_rng(stream)
    scores = [_audit(mechanism, size, rng) for _ in range(audits)]
    return [
        _cell(method, mechanism, size, confidence, stream[0], scores[:: method.every], joint)
        for method in methods
        if method.applies_to(mechanism)
        for confidence in confidences
    ]


def _cell(
    method: Method,
    mechanism: Simulated,
    size: int,
    confidence: float,
    seed: int,
    scores: Sequence[Scores],
    joint: float,
) -> Cell:
    started = time.process_time()
    found = _measure(method.build(mechanism, size, seed), scores, mechanism.delta, confidence)
    return _summary(
        found,
        mechanism,
        joint,
        method=method.name,
        size=size,
        confidence=confidence,
        seconds=(time.process_time() - started) / len(scores),
        judged=method.judged_on(mechanism),
    )


def _row(choice: Choice, stream: list[int], audits: int, joint: float) -> list[Cell]:
    """The default bound of one run under one way of choosing members, on every column."""
    cells = []
    for place, column in enumerate(COLUMNS):
        started, number = time.process_time(), audits_of(column.size, audits)
        found = simulate_bounds(choice, column, [*stream, place], number, CONFIDENCE)
        cells.append(
            _summary(
                found,
                column.mechanism,
                joint,
                method="one-run, default",
                size=column.size,
                confidence=CONFIDENCE,
                seconds=(time.process_time() - started) / number,
                judged=True,
                chosen=choice.name,
            )
        )
    return cells


def _summary(found: FloatArray, mechanism: Simulated, joint: float, **fields: Any) -> Cell:
    # A figure equal to the truth up to rounding is not above it.
    above = int(np.count_nonzero(found > mechanism.epsilon + 1e-9))
    low, high = interval(above, found.size, joint)
    return Cell(
        mechanism=mechanism.name,
        trials=found.size,
        above=above,
        low=float(low),
        high=float(high),
        tightness=float(found.mean()) / mechanism.epsilon if mechanism.epsilon > 0 else None,
        mean=float(found.mean()),
        **fields,
    )


def _audit(mechanism: Simulated, size: int, rng: np.random.Generator) -> Scores:
    member = rng.random(size) < 0.5
    return Scores.join(mechanism.simulate(member, rng), member)


def _measure(measure: Measure, scores: Sequence[Scores], delta: float, confidence: float) -> FloatArray:
    found = np.array([measure(each, delta, confidence) for each in scores])
    if not np.isfinite(found).all():
        raise ArithmeticError(f"a bound on simulated scores was not finite: {found[~np.isfinite(found)][0]}")
    return found


def table_as_text(table: SelfTest) -> str:
    """The table for people, one line per cell, failures marked.

    >>> "clopper-pearson" in table_as_text(selftest(seed=0, trials=5, methods=METHODS[:1], choices=()))
    True
    """
    lines = [
        f"{'method':40} {'mechanism':48} {'coins':>7} {'conf.':>6} {'above truth':>11} {'interval':>17} "
        f"{'ε̂/ε':>6} {'ms':>7}"
    ]
    for cell in table.cells:
        tight = "" if cell.tightness is None else f"{cell.tightness:6.3f}"
        mark = "  FAILS" if cell.failed else "" if cell.judged else "  (no guarantee here)"
        lines.append(
            f"{cell.chosen or cell.method:40} {cell.mechanism:48} {cell.size:7d} {cell.confidence:6.2f} "
            f"{cell.miscoverage:11.4f} [{cell.low:.4f}, {cell.high:.4f}] {tight:>6} {1000 * cell.seconds:7.2f}{mark}"
        )
    return "\n".join(lines)


def table_as_markdown(table: SelfTest, *, confidence: float, size: int) -> str:
    """Miscoverage in percent and mean ε̂ / ε, methods by mechanisms, for the documentation."""
    shown = [
        cell
        for cell in table.cells
        if cell.size == size and math.isclose(cell.confidence, confidence) and not cell.chosen
    ]
    cells = {(cell.method, cell.mechanism): cell for cell in shown}
    mechanisms = list(dict.fromkeys(mechanism for _, mechanism in cells))
    methods = list(dict.fromkeys(method for method, _ in cells))
    caption = (
        f"Audits above the truth, and mean ε̂ / ε: {max(cell.trials for cell in shown):,} audits a cell of {size} coins "
        f"each ({min(cell.trials for cell in shown):,} for joint-beta), nominal {100 * (1 - confidence):.3g} %, seed "
        f"{table.seed}, version {table.version}. In brackets: no guarantee there; empty: not defined there."
    )
    lines = [caption, "", "| method | " + " | ".join(mechanisms) + " |", "|---" * (len(mechanisms) + 1) + "|"]
    for method in methods:
        row = [_entry(cells[method, each]) if (method, each) in cells else "" for each in mechanisms]
        lines.append(f"| {method} | " + " | ".join(row) + " |")
    return "\n".join(lines)


def choices_as_markdown(table: SelfTest) -> str:
    """Miscoverage in percent and mean ε̂ / ε of the default bound, ways of choosing members by mechanisms."""
    shown = {(cell.chosen, cell.mechanism, cell.size): cell for cell in table.cells if cell.chosen}
    columns = list(dict.fromkeys((mechanism, size) for _, mechanism, size in shown))
    names = list(dict.fromkeys(chosen for chosen, _, _ in shown))
    heads = [
        f"{mechanism}, {size:,} records, {shown[names[0], mechanism, size].trials:,} audits"
        for mechanism, size in columns
    ]
    caption = (
        "The default bound of one run, by how members were chosen: audits above the truth, and mean ε̂ / ε; nominal "
        f"{100 * (1 - CONFIDENCE):.3g} %, seed {table.seed}, version {table.version}. The balanced case is the row of "
        "p = 0.5. A split is held against the ε of replacing one record."
    )
    lines = [caption, "", "| members | " + " | ".join(heads) + " |", "|---" * (len(heads) + 1) + "|"]
    for name in names:
        row = [_entry(shown[name, mechanism, size]) for mechanism, size in columns]
        lines.append(f"| {name} | " + " | ".join(row) + " |")
    return "\n".join(lines)


def _entry(cell: Cell) -> str:
    tight = "" if cell.tightness is None else f" · {cell.tightness:.2f}"
    text = f"{100 * cell.miscoverage:.2f} %{tight}"
    return f"**{text}**" if cell.failed else text if cell.judged else f"({text})"
