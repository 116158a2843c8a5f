"""Many independent boxed minimisations that ask for their function values together.

Every problem runs scipy's own L-BFGS-B on a thread of its own; a value is computed when all that still run have asked,
in one call for all of them. Problems stay independent: line searches and curvature are each one's own.
"""

import threading
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import minimize
from threadpoolctl import threadpool_limits  # comes with scikit-learn

from dpaudit.runtime import check
from dpaudit.runtime.check import FloatArray, IntArray
from dpaudit.runtime.errors import AuditFailed

# Points (k, d) of the problems `which` (k,) -> values (k,) and slopes (k, d).
Evaluate = Callable[[FloatArray, IntArray], tuple[FloatArray, FloatArray]]


class Minimum(NamedTuple):
    """Best point of one problem, its value, and how often its function was evaluated."""

    x: FloatArray
    value: float
    evaluations: int


class _Enough(Exception):
    """Raised inside a minimisation that has reached the tolerance."""


def minimise(
    evaluate: Evaluate,
    starts: FloatArray,
    *,
    bounds: tuple[FloatArray, FloatArray],
    iterations: int,
    tolerance: float,
    memory: int = 50,
) -> list[Minimum]:
    """Minimise from each start (problems, d) inside the box, each until ``tolerance``, convergence or ``iterations``.

    Args:
        evaluate: values and slopes of some of the problems.
        starts: shape (problems, d).
        bounds: smallest and largest value of each coordinate, each (d,); infinite where free.
        iterations: of each problem.
        tolerance: value at which a problem is solved.
        memory: curvature pairs kept.

    >>> square = lambda x, which: ((x**2).sum(1), 2 * x)
    >>> box = (np.full(2, 0.5), np.full(2, 9.0))
    >>> minimise(square, np.ones((1, 2)), bounds=box, iterations=10, tolerance=0.0)[0].x
    array([0.5, 0.5])
    """
    check.integer("iterations", iterations, at_least=1)
    problems = len(starts)
    ring: _Ring | _Alone = _Ring(evaluate, problems) if problems > 1 else _Alone(evaluate)
    low, high = bounds
    found: list[Minimum | None] = [None] * problems

    def solve(index: int) -> None:
        best = Minimum(starts[index], np.inf, 0)

        def value_and_slope(x: FloatArray) -> tuple[float, FloatArray]:
            nonlocal best
            value, slope = ring.ask(index, x)
            if value < best.value:
                best = Minimum(x.copy(), value, best.evaluations)
            best = best._replace(evaluations=best.evaluations + 1)
            if value <= tolerance:
                raise _Enough
            return value, slope

        options: Any = {"maxiter": iterations, "maxfun": 2 * iterations, "maxcor": memory, "ftol": 0.0, "gtol": 1e-13}
        box = np.column_stack([low, high]).tolist()
        try:
            minimize(
                value_and_slope, np.clip(starts[index], low, high), (), "L-BFGS-B", True, bounds=box, options=options
            )
        except _Enough:
            pass
        except threading.BrokenBarrierError:
            return  # another problem failed; the ring has its error
        finally:
            ring.leave(index)
        found[index] = best

    # L-BFGS-B's matrices are small: threads of its linear algebra only wait for each other (four times slower).
    with threadpool_limits(1, user_api="blas"):
        if isinstance(ring, _Alone):
            solve(0)
        else:
            threads = [threading.Thread(target=solve, args=(i,), daemon=True) for i in range(problems)]
            for thread in threads:
                thread.start()
            ring.serve()
            for thread in threads:
                thread.join()
    missing = [i for i, minimum in enumerate(found) if minimum is None]
    if missing:
        raise AuditFailed(f"minimisation {missing[0]} of {problems} ended without a result.")
    return [minimum for minimum in found if minimum is not None]


class _Alone:
    """One problem needs no threads."""

    def __init__(self, evaluate: Evaluate) -> None:
        self._evaluate = evaluate

    def ask(self, index: int, x: FloatArray) -> tuple[float, FloatArray]:
        values, slopes = _finite(*self._evaluate(x[None], np.array([index])))
        return float(values[0]), slopes[0]

    def leave(self, index: int) -> None:
        """Nobody waits."""


class _Ring:
    """Collects one question of every running problem, answers them all at once."""

    def __init__(self, evaluate: Evaluate, problems: int) -> None:
        self._evaluate = evaluate
        self._running = set(range(problems))
        self._asked: dict[int, FloatArray] = {}
        self._answers: dict[int, tuple[float, FloatArray]] = {}
        self._change = threading.Condition()
        self._broken = False

    def ask(self, index: int, x: FloatArray) -> tuple[float, FloatArray]:
        with self._change:
            self._asked[index] = x.copy()
            self._change.notify_all()
            self._change.wait_for(lambda: index in self._answers or self._broken)
            if self._broken:
                raise threading.BrokenBarrierError
            return self._answers.pop(index)

    def leave(self, index: int) -> None:
        with self._change:
            self._running.discard(index)
            self._change.notify_all()

    def serve(self) -> None:
        while True:
            with self._change:
                self._change.wait_for(lambda: self._asked.keys() >= self._running)
                if not self._running:
                    return
                which = np.array(sorted(self._asked))
                points = np.stack([self._asked.pop(i) for i in which])
            try:
                values, slopes = _finite(*self._evaluate(points, which))
            except BaseException:
                with self._change:
                    self._broken = True
                    self._change.notify_all()
                raise
            with self._change:
                self._answers.update({int(i): (float(v), s) for i, v, s in zip(which, values, slopes, strict=True)})
                self._change.notify_all()


def _finite(values: FloatArray, slopes: FloatArray) -> tuple[FloatArray, FloatArray]:
    if not (np.isfinite(values).all() and np.isfinite(slopes).all()):
        raise AuditFailed("the matching objective is not finite; the model's gradient overflowed.")
    return values, slopes
