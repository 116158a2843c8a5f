"""What the inspection of mechanisms detects with more effort: the known faults, subtle ones, and right mechanisms."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from rich.table import Table

from dpaudit.inspection.mechanism import Mechanism
from dpaudit.runtime import check
from dpaudit.runtime.check import FloatArray
from dpaudit.runtime.errors import InputError
from dpaudit.runtime.jobs import Workers
from dpaudit.self_test.faults import inspections
from dpaudit.self_test.faults.dp_sgd import BreakableDpSgd, NoiseStep, fresh_noise
from dpaudit.self_test.faults.fault import Detection
from dpaudit.self_test.faults.hidden import truncated
from dpaudit.self_test.faults.right import RIGHT
from dpaudit.self_test.faults.rung_1 import RUNG_1

TAKE_EFFORT = (inspections.mechanism, inspections.unusual, inspections.server)
KINDS = ("fault", "subtle fault", "right mechanism")
HEAD = """# Faults and effort

What rung 1 detects with more effort (`--effort` of `dpaudit inspect`): the known faults of mechanisms and servers that
run without TensorFlow, subtle faults made to be near the limit of effort 1, and right mechanisms. One inspection each,
at level 1e-6. The page is made by `{command}`.
"""


def every(steps: int) -> NoiseStep:
    """Noise at all steps but every so many."""

    def noise(mechanism: BreakableDpSgd, sums: list[FloatArray]) -> list[FloatArray]:
        return sums if mechanism.calls % steps == 0 else fresh_noise(mechanism, sums)

    return noise


def cut_off(deviations: float) -> NoiseStep:
    """Gaussian noise drawn again where it is beyond so many deviations."""

    def noise(mechanism: BreakableDpSgd, sums: list[FloatArray]) -> list[FloatArray]:
        return [s + mechanism.scale * truncated(mechanism.rng, s.shape, deviations) for s in sums]

    return noise


def one_coordinate(share: float) -> NoiseStep:
    """Less noise in the first coordinate."""

    def noise(mechanism: BreakableDpSgd, sums: list[FloatArray]) -> list[FloatArray]:
        noisy = fresh_noise(mechanism, sums)
        noisy[0].ravel()[0] = sums[0].ravel()[0] + share * (noisy[0].ravel()[0] - sums[0].ravel()[0])
        return noisy

    return noise


def little_less(share: float) -> NoiseStep:
    """Less noise everywhere."""

    def noise(mechanism: BreakableDpSgd, sums: list[FloatArray]) -> list[FloatArray]:
        return [s + share * mechanism.rng.normal(0.0, mechanism.scale, s.shape) for s in sums]

    return noise


def of_bits(bits: int) -> NoiseStep:
    """A seed of so many bits for each step."""

    def noise(mechanism: BreakableDpSgd, sums: list[FloatArray]) -> list[FloatArray]:
        seeded = BreakableDpSgd(seed=int(mechanism.rng.integers(2**bits)))
        return fresh_noise(seeded, sums)

    return noise


# Near what 3,000 calls can see, on both sides.
SUBTLE: dict[str, NoiseStep] = {
    "no noise in one step of 2,000": every(2000),
    "no noise in one step of 5,000": every(5000),
    "no noise in one step of 50,000": every(50_000),
    "noise cut off at 4 deviations": cut_off(4.0),
    "noise cut off at 5 deviations": cut_off(5.0),
    "0.9 of the noise in one coordinate": one_coordinate(0.9),
    "0.94 of the noise in one coordinate": one_coordinate(0.94),
    "0.98 of the noise": little_less(0.98),
    "0.988 of the noise": little_less(0.988),
    "seeds of 20 bits": of_bits(20),
    "seeds of 24 bits": of_bits(24),
}


@dataclass(frozen=True)
class AtEfforts:
    """One mechanism at several efforts.

    Args:
        name: of the mechanism.
        kind: one of `KINDS`.
        seen: the check that reported it at each effort; empty where none did.
        seconds: processor time of each inspection.
    """

    name: str
    kind: str
    seen: tuple[str, ...]
    seconds: tuple[float, ...]


@dataclass(frozen=True)
class EffortTable:
    """What each effort detects.

    Args:
        efforts: factors on the calls and the time of an inspection.
        rows: one for each mechanism.
    """

    efforts: tuple[float, ...]
    rows: tuple[AtEfforts, ...]

    @property
    def wrong(self) -> tuple[str, ...]:
        """Right mechanisms with an alarm, and known faults that were missed; subtle ones may be."""
        return tuple(
            row.name
            for row in self.rows
            if (row.kind == KINDS[0] and not all(row.seen)) or (row.kind == KINDS[2] and any(row.seen))
        )

    def summary(self) -> list[tuple[str, ...]]:
        """For each kind how many were reported at each effort, and how long an inspection took."""
        lines = []
        for kind in KINDS:
            rows = [row for row in self.rows if row.kind == kind]
            cells = []
            for index in range(len(self.efforts)):
                reported = sum(bool(row.seen[index]) for row in rows)
                words = (
                    f"{len(rows) - reported} of {len(rows)} quiet"
                    if kind == KINDS[2]
                    else (f"{reported} of {len(rows)} caught")
                )
                each = sum(row.seconds[index] for row in rows) / max(1, len(rows))
                cells.append(f"{words}, {each:.1f} CPU s each")
            lines.append((kind, *cells))
        return lines

    def table(self) -> Table:
        """As a table for the terminal."""
        table = Table(title="Rung 1 at several efforts")
        for column in ("kind", *(f"effort {effort:g}" for effort in self.efforts)):
            table.add_column(column)
        for line in self.summary():
            table.add_row(*line)
        for row in self.rows:
            if row.kind == KINDS[1] or row.name in self.wrong:
                table.add_row(row.name, *(seen or "nothing" for seen in row.seen))
        return table

    def markdown(self, command: str) -> str:
        """As a page; ``command`` is what made it."""
        columns = " | ".join(f"effort {effort:g}" for effort in self.efforts)
        rule = "|---" * (1 + len(self.efforts)) + "|"
        lines = [HEAD.format(command=command), f"| kind | {columns} |", rule]
        lines += [f"| {' | '.join(line)} |" for line in self.summary()]
        for kind in KINDS:
            lines += ["", f"| {kind} | {columns} |", rule]
            nothing = "quiet" if kind == KINDS[2] else "missed"
            lines += [
                f"| {row.name} | {' | '.join(seen or nothing for seen in row.seen)} |"
                for row in self.rows
                if row.kind == kind
            ]
        return "\n".join(lines) + "\n"


def run_efforts(
    efforts: Sequence[float], *, seed: int, jobs: int | None = 1, backend: str = "loky", names: Sequence[str] = ()
) -> EffortTable:
    """Inspect known faults, subtle ones and right mechanisms at each effort.

    Args:
        efforts: as in `dpaudit.inspection.inspect.inspect_mechanism`.
        seed: of the mechanisms' noise and of the canaries.
        jobs: as in `Workers`; so is ``backend``.
        names: only these mechanisms; all when empty.

    Raises:
        InputError: a name is that of none.
    """
    for effort in efforts:
        check.positive("effort", effort)
    known = _subjects()
    if unknown := [name for name in names if name not in known]:
        raise InputError(f"there is no mechanism {unknown[0]!r} among those that take an effort.")
    wanted = [name for name in known if not names or name in names]
    found = dict(Workers(jobs, backend)(_called, {name: (name, tuple(efforts), seed) for name in wanted}))
    return EffortTable(tuple(efforts), tuple(found[name] for name in wanted))


def _subjects() -> dict[str, tuple[str, Callable[..., Detection]]]:
    def takes(inspect: object) -> bool:
        return isinstance(inspect, partial) and inspect.func in TAKE_EFFORT

    found: dict[str, tuple[str, Callable[..., Detection]]] = {}
    found |= {fault.name: (KINDS[0], fault.inspect) for fault in RUNG_1 if takes(fault.inspect)}
    for name, noise in SUBTLE.items():
        found[name] = (KINDS[1], partial(inspections.mechanism, partial(_dp_sgd, noise)))
    found |= {name: (KINDS[2], inspect) for name, (inspect, _) in RIGHT.items() if takes(inspect)}
    return found


def _dp_sgd(noise: NoiseStep, seed: int) -> Mechanism:
    return BreakableDpSgd(seed=seed, noise=noise).mechanism()


def _called(name: str, efforts: tuple[float, ...], seed: int) -> AtEfforts:
    kind, inspect = _subjects()[name]
    seen, seconds = [], []
    for effort in efforts:
        start = time.process_time()
        seen.append(inspect(seed, effort=effort).check)
        seconds.append(time.process_time() - start)
    return AtEfforts(name, kind, tuple(seen), tuple(seconds))
