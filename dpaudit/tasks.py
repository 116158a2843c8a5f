"""Heavy work as tasks, through joblib: in this process, over processes of this machine, or on a Dask cluster.

A task is a function and a small recipe: what it is called with. It may run twice and anywhere, so it depends on its
recipe alone, and whoever asked for it stores what it returns under a hash of that recipe. Results come in as they are
done. A worker that dies loses what it was at; that is done again, by another.
"""

import os
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import BrokenExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

from dpaudit import _check
from dpaudit.errors import AuditFailed, InputError, MissingDependency

T = TypeVar("T")
K = TypeVar("K")

ATTEMPTS = 3
CONNECT_SECONDS = 10
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
        return cls(_one_line(error), text, isinstance(error, AuditFailed))


class WorkerTraceback(Exception):
    """Tracebacks of tasks, as text: they happened in other processes. The cause of the `AuditFailed` that follows."""

    def __str__(self) -> str:
        return "\n".join(map(str, self.args))


@dataclass(frozen=True)
class Workers:
    """Where tasks run.

    Args:
        jobs: processes of this machine; 1 is this process, which starts none. A cluster decides for itself.
        backend: ``loky``, this machine, or ``dask=tcp://host:port``, the scheduler of a Dask cluster. TLS and
            timeouts are those of Dask's own configuration.

    >>> dict(Workers()(divmod, {"a": (7, 2), "b": (9, 4)}))
    {'a': (3, 1), 'b': (2, 1)}
    """

    jobs: int = 1
    backend: str = "loky"

    def __post_init__(self) -> None:
        _check.integer("jobs", self.jobs, at_least=1)
        if self.backend != "loky" and not self.scheduler:
            raise InputError(f"backend must be loky or dask=tcp://host:port, got {self.backend!r}.")

    @property
    def scheduler(self) -> str:
        """Address of the cluster's scheduler; empty on one machine."""
        kind, _, address = self.backend.partition("=")
        return address if kind == "dask" else ""

    @property
    def are_here(self) -> bool:
        """Whether tasks run in this very process."""
        return self.jobs == 1 and not self.scheduler

    def __call__(self, work: Callable[..., T], recipes: Mapping[K, tuple[Any, ...]]) -> Iterator[tuple[K, T]]:
        """Run ``work(*recipe)`` for every recipe; yields (key, result) as they are done, in any order.

        A task that fails is tried again, ``ATTEMPTS`` times in all, but for failures that say themselves that they
        are final (`AuditFailed`). The others are finished first, so what they found is kept.

        Raises:
            InputError: as a task raised it: the recipe is bad, and no other attempt would mend it.
            AuditFailed: tasks failed; the cause holds their tracebacks.
        """
        if not recipes:
            return
        waiting = dict(recipes)
        failed: dict[K, Failure] = {}
        with self._chosen() as stream:
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
    def _chosen(self) -> Iterator[Callable[[Callable[..., Any], dict[Any, Any]], Iterator[tuple[Any, Any]]]]:
        """How results are had: a function of the work and the recipes."""
        if self.scheduler:
            from joblib import parallel_config

            with client(self.scheduler) as cluster, parallel_config(_dask_backend(cluster)):
                # The cluster is told of all tasks at once, so that a worker that joins finds work.
                yield partial(_streamed, pre_dispatch="all")
        elif self.are_here:
            yield partial(_streamed, n_jobs=1)
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


def _over_processes(jobs: int, work: Callable[..., Any], recipes: dict[K, tuple[Any, ...]]) -> Iterator[tuple[K, Any]]:
    """The tasks over processes; when one of these dies, the tasks that are left run one at a time.

    What kills a process is most often a lack of memory, which a task has more of when it is alone; and one that dies
    alone is known by name.
    """
    options = {"n_jobs": jobs, "pre_dispatch": jobs, "threads": max(1, cores() // jobs)}
    try:
        yield from _streamed(work, recipes, **options)
    except BrokenExecutor:
        for key, recipe in list(recipes.items()):
            try:
                yield from _streamed(work, {key: recipe}, **options)
            except BrokenExecutor as error:
                yield key, Failure.of(error)


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
        reason = _one_line(error)
        raise InputError(f"no Dask scheduler answers at {address}: {reason}") from error
    return made


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


def _one_line(error: BaseException) -> str:
    text = str(error).strip().partition("\n")[0]
    return text if isinstance(error, AuditFailed) and text else f"{type(error).__name__}: {text}"


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
