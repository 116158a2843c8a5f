"""Run the ladder on known faults: does each rung detect its own, and are there no false alarms on right mechanisms?"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table

from dpaudit.runtime import check
from dpaudit.runtime.errors import InputError
from dpaudit.runtime.jobs import Workers
from dpaudit.self_test.faults.catalogue import FAULTS
from dpaudit.self_test.faults.fault import Detection, Fault
from dpaudit.self_test.faults.right import RIGHT


@dataclass(frozen=True)
class Row:
    """One fault and whether it was detected.

    Args:
        fault: the fault.
        seen: what its rung observed.
        seconds: of processor time that the inspection took, which a busy machine does not change.
    """

    fault: Fault
    seen: Detection
    seconds: float

    @property
    def caught(self) -> bool:
        """Whether the rung that must catch it did."""
        return bool(self.seen.check)


@dataclass(frozen=True)
class Alarms:
    """How often a correct mechanism raised a false alarm."""

    mechanism: str
    runs: int
    alarms: int


@dataclass(frozen=True)
class FaultsReport:
    """The results on all known faults.

    Args:
        rows: one for each fault.
        right: one for each correct mechanism.
        seconds: how long everything took.
    """

    rows: tuple[Row, ...]
    right: tuple[Alarms, ...]
    seconds: float

    @property
    def missed(self) -> tuple[str, ...]:
        """Names of the faults that were not detected."""
        return tuple(row.fault.name for row in self.rows if not row.caught)

    @property
    def passed(self) -> bool:
        """Whether every fault was detected and no correct mechanism raised an alarm."""
        return not self.missed and not any(found.alarms for found in self.right)

    def table(self) -> Table:
        """As a table for the terminal."""
        caught = sum(row.caught for row in self.rows)
        table = Table(title=f"Known faults: {caught} of {len(self.rows)} faults detected in {self.seconds:.0f} s")
        for column in ("rung", "fault is in", "fault", "detected by", "σ measured", "CPU s"):
            table.add_column(column, justify="right" if column in ("rung", "σ measured", "CPU s") else "left")
        for row in self.rows:
            sigma = row.seen.noise_multiplier
            table.add_row(
                str(row.fault.rung),
                row.fault.subject,
                row.fault.name,
                row.seen.check or "NOTHING",
                "" if sigma is None else f"{sigma:.3g}",
                f"{row.seconds:.2f}",
            )
        for found in self.right:
            table.add_row(
                "", found.mechanism, "none: it is correct", f"{found.alarms} alarms in {found.runs} runs", "", ""
            )
        return table


def run_faults(
    *,
    seed: int,
    rungs: Sequence[int] = (0, 1, 2, 3, 4),
    right_runs: int = 1,
    tensorflow: bool = True,
    jobs: int | None = 1,
    backend: str = "loky",
) -> FaultsReport:
    """Inspect every fault with the rung that must detect it, and every correct mechanism.

    Args:
        seed: of the mechanisms' noise and of the canaries.
        rungs: which rungs of the ladder; only their faults are inspected.
        right_runs: inspections of each correct mechanism, each with a seed of its own.
        tensorflow: whether to include the faults that need TensorFlow.
        jobs: as in `Workers`; so is ``backend``.

    Raises:
        InputError: no fault belongs to the rungs.

    >>> run_faults(seed=1, rungs=(0,), right_runs=0).missed
    ()
    """
    check.integer("seed", seed, at_least=0)
    check.integer("right_runs", right_runs, at_least=0)
    chosen = [fault for fault in FAULTS if fault.rung in rungs and (tensorflow or not fault.tensorflow)]
    if not chosen:
        known = sorted({fault.rung for fault in FAULTS})
        raise InputError(f"rungs must hold some of {known}, got {list(rungs)}.")
    names = [
        name for name, (_, needs_tensorflow) in RIGHT.items() if right_runs and (tensorflow or not needs_tensorflow)
    ]
    start, workers = time.perf_counter(), Workers(jobs, backend)
    # TensorFlow starts once in each process, so what needs it stays together.
    inspections: dict[str, tuple[Any, ...]]
    inspections = {fault.name: (_inspect, fault.name, seed) for fault in chosen if not fault.tensorflow}
    inspections |= {f"{name} (right)": (_right, name, seed, right_runs) for name in names if not RIGHT[name][1]}
    inspections |= {fault.name: (_inspect, fault.name, seed) for fault in chosen if fault.tensorflow}
    inspections |= {f"{name} (right)": (_right, name, seed, right_runs) for name in names if RIGHT[name][1]}
    found = dict(workers(_called, inspections))
    # Faults hold functions that do not travel between processes: they come back by name.
    rows = {item[0]: Row(_by_name(item[0]), item[1], item[2]) for item in found.values() if isinstance(item, tuple)}
    return FaultsReport(
        rows=tuple(rows[fault.name] for fault in chosen),
        right=tuple(found[f"{name} (right)"] for name in names),
        seconds=time.perf_counter() - start,
    )


def _called(inspect: Callable[..., Any], *recipe: object) -> Any:
    return inspect(*recipe)


def _inspect(name: str, seed: int) -> tuple[str, Detection, float]:
    start = time.process_time()
    seen = _by_name(name).inspect(seed)
    return name, seen, time.process_time() - start


def _by_name(name: str) -> Fault:
    return next(fault for fault in FAULTS if fault.name == name)


def _right(name: str, seed: int, runs: int) -> Alarms:
    inspect = RIGHT[name][0]
    return Alarms(name, runs, sum(bool(inspect(seed + run).check) for run in range(runs)))
