"""Tasks: the same results wherever they run, what fails is named with its traceback, and the rest is kept."""

import os
import sys
import time
from pathlib import Path

import pytest
from joblib.externals.loky import get_reusable_executor

from dpaudit.runtime import jobs as tasks
from dpaudit.runtime.errors import AuditFailed, InputError
from dpaudit.runtime.jobs import ATTEMPTS, THREADS, Workers, WorkerTraceback

HERE, TWO, MANY = Workers(), Workers(2), Workers(None)


def square(number: int) -> int:
    return number * number


def counting(folder: Path, number: int, *, fails: int, final: bool = False) -> int:
    """Fails so many times for number 2, leaving a file for each attempt."""
    if number == 2:
        tried = len(list(folder.iterdir()))
        (folder / f"{tried}").touch()
        if tried < fails:
            raise AuditFailed("it diverged") if final else ZeroDivisionError("two is bad")
    return number * number


def often(folder: Path, number: int) -> int:
    return counting(folder, number, fails=ATTEMPTS)


def once(folder: Path, number: int) -> int:
    return counting(folder, number, fails=1)


def diverging(folder: Path, number: int) -> int:
    return counting(folder, number, fails=ATTEMPTS, final=True)


def dying(folder: Path, number: int) -> int:
    """The process dies with number 2."""
    if number == 2:
        (folder / f"{os.getpid()}").touch()
        os._exit(1)
    return number * number


def refused(number: int) -> int:
    raise InputError(f"{number} is no good.")


def threads() -> dict[str, str | None]:
    return {name: os.environ.get(name) for name in THREADS}


def tensorflow_is_there() -> bool:
    return "tensorflow" in sys.modules


@pytest.mark.parametrize("workers", [HERE, TWO])
def test_results_come_with_their_keys(workers: Workers) -> None:
    """Every recipe has its result, in this process and in two."""
    assert dict(workers(square, {f"{i}": (i,) for i in range(7)})) == {f"{i}": i * i for i in range(7)}


def test_nothing_to_do_starts_nothing() -> None:
    """No recipe, no result, no worker: not even a scheduler is asked."""
    assert list(Workers(backend="dask=tcp://127.0.0.1:1")(square, {})) == []


@pytest.mark.parametrize("workers", [HERE, TWO])
def test_a_task_that_keeps_failing_is_reported_and_the_rest_kept(workers: Workers, tmp_path: Path) -> None:
    """Three attempts, then one line with the task's name, and its traceback as the cause; the others have finished."""
    kept: dict[str, int] = {}
    with pytest.raises(AuditFailed, match="task 2 failed: ZeroDivisionError: two is bad") as raised:
        kept.update(workers(often, {f"{i}": (tmp_path, i) for i in range(5)}))
    assert kept == {"0": 0, "1": 1, "3": 9, "4": 16}
    assert len(list(tmp_path.iterdir())) == ATTEMPTS
    assert isinstance(raised.value.__cause__, WorkerTraceback)
    assert "in counting" in str(raised.value.__cause__)


def test_a_task_that_fails_once_is_done_again(tmp_path: Path) -> None:
    """A failure that passes leaves no trace in the results."""
    assert dict(HERE(once, {i: (tmp_path, i) for i in range(4)})) == {0: 0, 1: 1, 2: 4, 3: 9}
    assert len(list(tmp_path.iterdir())) == 2


def test_what_would_fail_again_is_not_tried_again(tmp_path: Path) -> None:
    """A training that diverged diverges every time: one attempt."""
    with pytest.raises(AuditFailed, match="task 2 failed: it diverged"):
        list(HERE(diverging, {i: (tmp_path, i) for i in range(4)}))
    assert len(list(tmp_path.iterdir())) == 1


def test_bad_input_stays_bad_input() -> None:
    """What a task says about its input is said as it is, and at once."""
    with pytest.raises(InputError, match=r"^1 is no good\.$"):
        list(HERE(refused, {1: (1,)}))


@pytest.mark.long
def test_a_task_that_kills_its_process_is_named(tmp_path: Path) -> None:
    """The process of one task dies each time: that task is named, all others are finished."""
    kept: dict[int, int] = {}
    with pytest.raises(AuditFailed, match="task 2 failed: TerminatedWorkerError"):
        kept.update(TWO(dying, {i: (tmp_path, i) for i in range(5)}))
    assert kept == {0: 0, 1: 1, 3: 9, 4: 16}


@pytest.mark.long
def test_threads_are_set_before_tensorflow_is_imported() -> None:
    """A worker has its share of the cores, TensorFlow's own two variables among them, and has not imported it yet."""
    get_reusable_executor().shutdown(wait=True)  # workers that other tests left may have imported it
    found = dict(TWO(threads, dict.fromkeys(range(2), ())))
    assert all(set(values.values()) <= {"1", str(max(1, (os.cpu_count() or 1) // 2))} for values in found.values())
    assert not any(dict(TWO(tensorflow_is_there, dict.fromkeys(range(2), ()))).values())


def process(number: int) -> int:
    return os.getpid()


def test_a_single_task_starts_nothing() -> None:
    """However many processes were asked for."""
    assert dict(TWO(process, {0: (0,)})) == {0: os.getpid()}


def test_processes_start_when_they_repay(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where starting costs nothing, cores are idle and memory is there, all but the first task are done by others."""
    asked = {i: (i,) for i in range(6)}
    monkeypatch.setattr(tasks, "cores", lambda: 2)
    monkeypatch.setattr(tasks, "idle_seconds", time.perf_counter)  # a second core, with nothing to do
    assert set(dict(MANY(process, asked)).values()) == {os.getpid()}  # nothing is saved: the tasks take no time
    monkeypatch.setattr(tasks, "START_SECONDS", 0.0)
    assert set(dict(MANY(process, asked, memory=1)).values()) == {os.getpid()}
    found = dict(MANY(process, asked, memory=2 * tasks.PROCESS_BYTES))
    assert found[0] == os.getpid()
    assert os.getpid() not in [found[i] for i in range(1, 6)]


@pytest.mark.long
def test_a_task_that_kills_its_process_never_runs_in_this_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Task 2 dies in a worker, and again alone, and is named; a second attempt here would end the tests."""
    monkeypatch.setattr(tasks, "START_SECONDS", 0.0)
    monkeypatch.setattr(tasks, "cores", lambda: 2)
    monkeypatch.setattr(tasks, "idle_seconds", time.perf_counter)
    kept: dict[int, int] = {}
    with pytest.raises(AuditFailed, match="task 2 failed: TerminatedWorkerError"):
        kept.update(MANY(dying, {i: (tmp_path, i) for i in range(5)}, memory=2 * tasks.PROCESS_BYTES))
    assert kept == {0: 0, 1: 1, 3: 9, 4: 16}


@pytest.mark.parametrize(
    ("seconds", "busy", "idle", "room", "expected"),
    [
        (15.9, 1.0, 3.0, 9, 1),  # four cores save three quarters, 12 s of 16
        (16.1, 1.0, 3.0, 9, 4),
        (1e6, 4.0, 0.0, 9, 1),
        (1e6, 1.0, 0.0, 9, 1),  # others use the cores
        (1e6, 1.0, 3.0, 2, 2),
        (1e6, 1.0, 3.0, 0, 1),
    ],
)
def test_what_repays(
    monkeypatch: pytest.MonkeyPatch, seconds: float, busy: float, idle: float, room: int, expected: int
) -> None:
    """Four cores, starting takes 6 s: saved is what idle cores would take over."""
    monkeypatch.setattr(tasks, "cores", lambda: 4)
    assert tasks.processes_worth_starting(seconds, tasks=100, busy=busy, idle=idle, room=lambda: room) == expected


def test_no_more_processes_than_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three tasks keep three cores busy."""
    monkeypatch.setattr(tasks, "cores", lambda: 8)
    assert tasks.processes_worth_starting(1e6, tasks=3, busy=1.0, idle=7.0, room=lambda: 99) == 3


@pytest.mark.parametrize("backend", ["dask", "dask=", "spark=tcp://a:1", ""])
def test_unknown_backends_are_refused(backend: str) -> None:
    """The message says what would be right."""
    with pytest.raises(InputError, match=r"backend must be loky or dask=tcp://host:port, got"):
        Workers(backend=backend)


def test_the_scheduler_is_the_address() -> None:
    """The address goes to Dask as it is, TLS among its schemes."""
    assert Workers(backend="dask=tls://host:8786").scheduler == "tls://host:8786"
