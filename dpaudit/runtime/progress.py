"""Progress with time left, on standard error: bars on a terminal, plain lines elsewhere, nothing when quiet."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from threading import Lock
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

from dpaudit.runtime.terminal import console as terminal
from dpaudit.runtime.terminal import plain_text

Advance = Callable[[int], None]


class Progress(Protocol):
    """Where long steps say how far they are."""

    def task(self, description: str, total: int) -> AbstractContextManager[Advance]:
        """A step of ``total`` parts; call the returned function with the number of parts that have been done."""
        ...


class Silent:
    """Says nothing."""

    @contextmanager
    def task(self, description: str, total: int) -> Iterator[Advance]:
        """A step that says nothing."""
        yield lambda parts: None


class Bars:
    """Bars with time left, each removed when its step is done; steps in several threads stand below each other."""

    def __init__(self, console: Console) -> None:
        self._console, self._lock = console, Lock()
        self._shown: RichProgress | None = None

    @contextmanager
    def task(self, description: str, total: int) -> Iterator[Advance]:
        """A step with a bar."""
        with self._lock:
            if self._shown is None:
                self._shown = RichProgress(
                    TextColumn("{task.description}", markup=False),
                    BarColumn(),
                    MofNCompleteColumn(),
                    TimeRemainingColumn(),
                    console=self._console,
                    transient=True,
                )
                self._shown.start()
            bars = self._shown
            task = bars.add_task(description, total=total)
        try:
            yield lambda parts: bars.advance(task, parts)
        finally:
            with self._lock:
                bars.remove_task(task)
                if not bars.tasks:
                    bars.stop()
                    self._shown = None


class Lines:
    """A line when a step has taken two seconds, and one every ten seconds from then on."""

    def __init__(self, console: Console, *, first: float = 2.0, every: float = 10.0) -> None:
        self._console, self._first, self._every = console, first, every

    @contextmanager
    def task(self, description: str, total: int) -> Iterator[Advance]:
        """A step with lines."""
        begin = time.monotonic()
        done, due = 0, begin + self._first

        def advance(parts: int) -> None:
            nonlocal done, due
            done += parts
            now = time.monotonic()
            if now >= due and 0 < done < total:
                left = (now - begin) / done * (total - done)
                self._console.print(plain_text(f"{description}: {done} of {total}, about {left:.0f} s left"))
                due = now + self._every

        yield advance


def on_standard_error(*, quiet: bool) -> Progress:
    """Bars when standard error is a terminal, lines when it is not, nothing when quiet."""
    if quiet:
        return Silent()
    console = terminal(stderr=True)
    return Bars(console) if console.is_terminal else Lines(console)
