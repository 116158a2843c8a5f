"""Heavy work as tasks, through joblib: in this process, over processes of this machine, or on a Dask cluster.

A task is a function and a small recipe: what it is called with. It may run twice and anywhere, so it depends on its
recipe alone, and whoever asked for it stores what it returns under a hash of that recipe. Results come in as they are
done. A worker that dies loses what it was at; that is done again, by another.
"""

import logging
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import BrokenExecutor, CancelledError
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from functools import partial
from threading import Event
from typing import Any, TypeVar

from dpaudit.runtime import check
from dpaudit.runtime.errors import AuditFailed, InputError, MissingDependency, SchedulerLost, cause
from dpaudit.runtime.machine import free_memory, idle_seconds

T = TypeVar("T")
K = TypeVar("K")

ATTEMPTS = 3
CONNECT_SECONDS = 10
START_SECONDS = 6.0  # of a process until TensorFlow has been imported and its first program traced (measured)
# Of a process with TensorFlow that has compiled a small program, pages of libraries included (measured: 0.97 GB, and
# 1.11 and 1.13 GB in whole runs whose own arrays take 0.02 and 0.07 GB).
PROCESS_BYTES = 1_050_000_000
# TensorFlow reads its own two when it is imported; OMP_NUM_THREADS limits the others and not TensorFlow.
THREADS = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass(frozen=True)
class Failure:
    """A task that did not end well.

    Args:
        reason: one line.
        traceback: where it happened.
        is_final: whether it would fail again.
    """

    reason: str
    traceback: str
    is_final: bool

    @classmethod
    def of(cls, error: BaseException) -> "Failure":
        """Of what was raised."""
        text = "".join(traceback.format_exception(error))
        return cls(cause(error), text, isinstance(error, AuditFailed))


class WorkerTraceback(Exception):
    """Tracebacks of tasks, as text: they happened in other processes. The cause of the `AuditFailed` that follows."""

    def __str__(self) -> str:
        return "\n".join(map(str, self.args))


class Stopped(BaseException):
    """Work that was told to stop: no failure, and nothing is tried again."""


_told: ContextVar[Event | None] = ContextVar("_told", default=None)


@contextmanager
def stopped_by(event: Event) -> Iterator[None]:
    """Long work in this block raises `Stopped` some time after the event is set, if it asks `told_to_stop`."""
    before = _told.set(event)
    try:
        yield
    finally:
        _told.reset(before)


def told_to_stop() -> Event:
    """What says that the work of this thread should stop; it is never set outside of `stopped_by`.

    >>> event = Event()
    >>> with stopped_by(event):
    ...     told_to_stop() is event
    True
    >>> told_to_stop().is_set()
    False
    """
    return _told.get() or Event()


@dataclass(frozen=True)
class Workers:
    """Where tasks run.

    Args:
        jobs: processes of this machine; 1 is this process, which starts none (nor does a single task); None is as many
            as repay (`processes_worth_starting`). A cluster decides for itself.
        backend: ``loky``, this machine, or ``dask=tcp://host:port``, the scheduler of a Dask cluster. TLS and
            timeouts are those of Dask's own configuration.

    >>> dict(Workers()(divmod, {"a": (7, 2), "b": (9, 4)}))
    {'a': (3, 1), 'b': (2, 1)}
    """

    jobs: int | None = 1
    backend: str = "loky"

    def __post_init__(self) -> None:
        if self.jobs is not None:
            check.integer("jobs", self.jobs, at_least=1)
        if self.backend != "loky" and not self.scheduler:
            raise InputError(f"backend must be loky or dask=tcp://host:port, got {self.backend!r}.")

    @property
    def scheduler(self) -> str:
        """Address of the cluster's scheduler; empty on one machine."""
        kind, _, address = self.backend.partition("=")
        return address if kind == "dask" else ""

    def __call__(
        self,
        work: Callable[..., T],
        recipes: Mapping[K, tuple[Any, ...]],
        *,
        each: int = PROCESS_BYTES,
        memory: int | None = None,
    ) -> Iterator[tuple[K, T]]:
        """Run ``work(*recipe)`` for every recipe; yields (key, result) as they are done, in any order.

        A task that fails is tried again, ``ATTEMPTS`` times in all, but for failures that say themselves that they
        are final (`AuditFailed`). The others are finished first, so what they found is kept.

        Args:
            work: a function of a module.
            recipes: what it is called with.
            each: predicted bytes of a process that does one of the tasks; heeded when ``jobs`` is None.
            memory: bytes that such processes may use together; None is half of what is free.

        Raises:
            InputError: as a task raised it: the recipe is bad, and no other attempt would mend it.
            AuditFailed: tasks failed; the cause holds their tracebacks. `SchedulerLost` when a cluster's scheduler went
                away.
        """
        if not recipes:
            return
        waiting = dict(recipes)
        failed: dict[K, Failure] = {}
        with self._chosen(len(recipes), partial(room_for, each, memory)) as stream:
            for attempt in range(1, ATTEMPTS + 1):
                for key, result in stream(work, waiting):
                    if not isinstance(result, Failure):
                        del waiting[key]
                        yield key, result
                    elif result.is_final or attempt == ATTEMPTS:
                        del waiting[key]
                        failed[key] = result
        if failed:
            key, first = next(iter(failed.items()))
            more = f" (and {len(failed) - 1} more of {len(recipes)})" if len(failed) > 1 else ""
            raise AuditFailed(f"task {key} failed: {first.reason}{more}") from WorkerTraceback(
                *(f"task {key}:\n{failure.traceback}" for key, failure in failed.items())
            )

    @contextmanager
    def _chosen(
        self, tasks: int, room: Callable[[], int]
    ) -> Iterator[Callable[[Callable[..., Any], dict[Any, Any]], Iterator[tuple[Any, Any]]]]:
        """How results are had: a function of the work and the recipes."""
        if self.scheduler:
            with _cluster(self.scheduler):
                # The cluster is told of all tasks at once, so that a worker that joins finds work.
                yield partial(_streamed, pre_dispatch="all")
        elif self.jobs == 1 or tasks == 1:
            yield partial(_streamed, n_jobs=1)
        elif self.jobs is None:
            yield partial(_while_it_pays, room)
        else:
            yield partial(_over_processes, self.jobs)


def _streamed(
    work: Callable[..., Any], recipes: dict[K, tuple[Any, ...]], *, threads: int | None = None, **options: Any
) -> Iterator[tuple[K, Any]]:
    from joblib import Parallel, delayed

    # One task at a time to a process, so that a process needs the memory of one task.
    parallel = Parallel(batch_size=1, return_as="generator_unordered", **options)
    # A list of them, for the caller takes out of the recipes what is done.
    return parallel(delayed(_attempted)(key, recipe, work, threads) for key, recipe in list(recipes.items()))  # type: ignore[no-any-return]  # joblib has no types


def _while_it_pays(
    room: Callable[[], int], work: Callable[..., Any], recipes: dict[K, tuple[Any, ...]]
) -> Iterator[tuple[K, Any]]:
    """The tasks in this process, until the cores that it leaves idle would repay starting others."""
    left, seconds, busy, idle = dict(recipes), 0.0, 0.0, 0.0
    for done, (key, recipe) in enumerate(list(recipes.items()), start=1):
        wall, own, others = time.perf_counter(), time.process_time(), idle_seconds()
        results = list(_streamed(work, {key: recipe}, n_jobs=1))
        seconds += time.perf_counter() - wall
        busy += time.process_time() - own
        idle += max(idle_seconds() - others, 0.0)
        del left[key]
        yield from results
        jobs = processes_worth_starting(
            seconds * len(left) / done, tasks=len(left), busy=busy / seconds, idle=idle / seconds, room=room
        )
        if jobs > 1:
            yield from _over_processes(jobs, work, left)
            return


def processes_worth_starting(seconds: float, *, tasks: int, busy: float, idle: float, room: Callable[[], int]) -> int:
    """How many processes are worth starting: 1 is none but this.

    As many as there are cores, tasks and room for, when the cores that are idle would save twice the time that starting
    processes takes.

    Args:
        seconds: that the tasks would take in this process, one after the other.
        tasks: how many there are.
        busy: cores that this process keeps busy with them.
        idle: cores that nobody uses meanwhile.
        room: how many processes fit the memory; asked only when the rest speaks for it.

    >>> processes_worth_starting(600.0, tasks=60, busy=1.0, idle=1.0, room=lambda: 8) == min(cores(), 8)
    True
    >>> processes_worth_starting(20.0, tasks=60, busy=1.0, idle=1.0, room=lambda: 8)
    1
    >>> processes_worth_starting(600.0, tasks=60, busy=2.0, idle=0.0, room=lambda: 8)
    1
    """
    jobs = min(cores(), tasks)
    faster = min(float(jobs), 1 + idle / max(busy, 1e-9))
    if jobs < 2 or seconds * (1 - 1 / faster) < 2 * START_SECONDS:
        return 1
    return max(1, min(jobs, room()))


def room_for(each: int, memory: int | None) -> int:
    """How many processes of so many bytes fit the memory; None is half of what is free, where the system says so."""
    try:
        return (free_memory() // 2 if memory is None else memory) // each
    except InputError:  # no number to divide: one process, which is what there is already
        return 1


def _over_processes(jobs: int, work: Callable[..., Any], recipes: dict[K, tuple[Any, ...]]) -> Iterator[tuple[K, Any]]:
    """The tasks over processes; when one of these dies, the tasks that are left run one at a time.

    What kills a process is most often a lack of memory, which a task has more of when it is alone; and one that dies
    alone is known by name.
    """
    options = {"n_jobs": jobs, "pre_dispatch": jobs, "threads": max(1, cores() // jobs)}
    left = dict(recipes)
    try:
        for key, result in _streamed(work, recipes, **options):
            del left[key]
            yield key, result
    except BrokenExecutor:
        for key, recipe in left.items():
            yield _alone(work, key, recipe, options)


def _alone(work: Callable[..., Any], key: K, recipe: tuple[Any, ...], options: dict[str, Any]) -> tuple[K, Any]:
    """A task with all processes to itself, again when its process dies; never in this one, which it might kill."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            ((_, result),) = _streamed(work, {key: recipe}, **options)
        except BrokenExecutor as error:
            result = replace(Failure.of(error), is_final=attempt == ATTEMPTS)
        else:
            break
    return key, result


def cores() -> int:
    """Cores this process may use: what the affinity mask and the control group leave."""
    from joblib import cpu_count

    count: int = cpu_count()
    return count


def client(address: str) -> AbstractContextManager[Any]:
    """A client of a Dask scheduler; what it computed is forgotten when the block ends.

    Raises:
        MissingDependency: Dask is not installed here.
        InputError: nobody answers at the address.
    """
    try:
        from distributed import Client
    except ImportError as error:
        raise MissingDependency("a Dask cluster needs: pip install 'dpaudit[dask]'") from error
    try:
        made: AbstractContextManager[Any] = Client(  # type: ignore[no-untyped-call]  # Dask types only a part of itself
            address, timeout=CONNECT_SECONDS, set_as_default=False
        )
    except (OSError, ValueError) as error:
        if address in _answered:
            raise SchedulerLost(f"the Dask scheduler at {address} was lost") from error
        raise InputError(f"no Dask scheduler answers at {address}: {cause(error)}") from error
    _answered.add(address)
    return made


_answered: set[str] = set()  # addresses where a scheduler was in the life of this process: one that is gone was lost


@contextmanager
def _cluster(address: str) -> Iterator[None]:
    """joblib's work goes to a Dask cluster; a scheduler that goes away says so in one line, ours."""
    from distributed.comm.core import CommClosedError
    from joblib import parallel_config

    log = logging.getLogger("distributed.client")
    level = log.level
    try:
        with client(address) as cluster, parallel_config(_dask_backend(cluster)):
            log.setLevel(logging.CRITICAL)
            yield
    except (CancelledError, CommClosedError) as error:
        raise SchedulerLost(f"the Dask scheduler at {address} was lost") from error
    finally:
        log.setLevel(level)


def limit_threads(threads: int) -> None:
    """Let the libraries of this process start so many threads; those that are imported already keep theirs."""
    for name in THREADS:
        os.environ[name] = str(threads)


def _attempted(key: K, recipe: tuple[Any, ...], work: Callable[..., T], threads: int | None) -> tuple[K, T | Failure]:
    if threads is None and "distributed.worker" in sys.modules:
        threads = _threads_of_worker()
    if threads is not None:
        limit_threads(threads)
    try:
        return key, work(*recipe)
    except (InputError, MissingDependency):
        raise
    except Exception as error:  # noqa: BLE001  # whatever it is, it is reported, with its traceback
        return key, Failure.of(error)


def _threads_of_worker() -> int | None:
    """Threads a Dask worker was started with; None outside of one."""
    from distributed import get_worker

    try:
        return int(get_worker().state.nthreads)
    except ValueError:
        return None


def _dask_backend(cluster: Any) -> Any:
    """joblib's own, which never hears of a task that Dask gave up (joblib 1.6) and would wait for it for ever."""
    from joblib._dask import DaskDistributedBackend

    class Backend(DaskDistributedBackend):  # type: ignore[misc]  # joblib has no types
        def submit(self, func: Any, callback: Any = None) -> Any:
            ((_, (key, *_), _),) = func.items

            def told(future: Any) -> None:
                if (error := future.exception()) is not None:
                    callback([(key, replace(Failure.of(error), is_final=True))])  # Dask has tried it several times

            future = super().submit(func, callback)
            future.add_done_callback(told)
            return future

    return Backend(client=cluster, wait_for_workers_timeout=CONNECT_SECONDS)
