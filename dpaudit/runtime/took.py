"""How long work takes, on the clock and in time of the processor."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Took:
    """Seconds of some work; sums and multiples are those of both.

    Args:
        wall: on the clock. It grows when other programs share the cores.
        cpu: of the processor, summed over the threads of the process.

    >>> Took(2.0, 3.0) * 2 + Took(1.0, 1.0)
    Took(wall=5.0, cpu=7.0)
    """

    wall: float = 0.0
    cpu: float = 0.0

    def __add__(self, other: "Took") -> "Took":
        return Took(self.wall + other.wall, self.cpu + other.cpu)

    def __mul__(self, times: float) -> "Took":
        return Took(self.wall * times, self.cpu * times)

    def less(self, other: "Took") -> "Took":
        """What remains without the other, at least nothing.

        >>> Took(2.0, 3.0).less(Took(0.5, 4.0))
        Took(wall=1.5, cpu=0.0)
        """
        return Took(max(self.wall - other.wall, 0.0), max(self.cpu - other.cpu, 0.0))


def _now() -> Took:
    return Took(time.perf_counter(), time.process_time())


_ends: ContextVar[list[Took] | None] = ContextVar("_ends", default=None)


def epoch_done() -> None:
    """What a training calls at the end of each of its epochs or rounds; whoever times it hears that."""
    if (ends := _ends.get()) is not None:
        ends.append(_now())


@contextmanager
def hearing_epochs() -> Iterator[list[Took]]:
    """When the epochs of a training in this block end.

    >>> with hearing_epochs() as ends:
    ...     epoch_done()
    >>> len(ends)
    1
    """
    ends: list[Took] = []
    token = _ends.set(ends)
    try:
        yield ends
    finally:
        _ends.reset(token)


def timed(work: Callable[[], object]) -> Took:
    """Do some work and say how long it took."""
    return result_of(work)[1]


def result_of(work: Callable[[], T]) -> tuple[T, Took]:
    """What some work returns, and how long it took."""
    begin = _now()
    result = work()
    return result, _now().less(begin)


def total(parts: "list[Took | None]") -> Took | None:
    """The sum; None when a part is unknown.

    >>> total([Took(1.0, 1.0), Took(2.0, 1.0)])
    Took(wall=3.0, cpu=2.0)
    >>> total([Took(1.0, 1.0), None])
    """
    known = [part for part in parts if part is not None]
    return sum(known, Took()) if len(known) == len(parts) else None
