"""Distance to the decision boundary by predicted classes alone, `Choquette-Choo et al. (2021)
<https://arxiv.org/abs/2007.14321>`_ with the search of HopSkipJump, `Chen et al. (2020)
<https://arxiv.org/abs/1904.02144>`_.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from dpaudit.runtime import check
from dpaudit.runtime.check import BoolArray, FloatArray, IntArray

PredictClasses = Callable[[npt.NDArray[np.float32]], object]


@dataclass(frozen=True)
class Boundary:
    """How far a record must be moved before the model changes its mind; 0 when the model is wrong already.

    The attacker sees predicted classes only. All records move at the same time, so a query is one large batch.

    Args:
        steps: rounds of estimating the boundary's direction and walking along it.
        directions: random directions per estimate in the first round; it grows with the square root of the round.
        searches: halvings when the boundary is looked for between two points.
        starts: random points tried to find one the model puts in another class.
        low: smallest value a feature may have.
        high: largest value a feature may have.
        seed: of the random points and directions.
    """

    steps: int = 10
    directions: int = 30
    searches: int = 15
    starts: int = 50
    low: float = 0.0
    high: float = 1.0
    seed: int = 0

    version: ClassVar[str] = "boundary/1"
    formula: ClassVar[str] = "smallest ‖x' - x‖₂ found with argmax p(x') ≠ y"
    paper: ClassVar[str] = "Choquette-Choo et al. (2021), arXiv 2007.14321"

    def __post_init__(self) -> None:
        for name in ("steps", "directions", "searches", "starts"):
            check.integer(name, getattr(self, name), at_least=1)

    def __call__(self, predict_classes: PredictClasses, features: object, labels: object) -> FloatArray:
        """Distances, shape (records,).

        Args:
            predict_classes: features (records, ...) -> predicted classes (records,).
            features: the records, shape (records, ...).
            labels: their true classes, shape (records,).

        A record for which no other class was found anywhere has the distance to the farthest start: a lower bound
        on the truth, and above every distance measured.
        """
        clean = check.finite("features", features)
        shape = clean.shape
        origin = clean.reshape(shape[0], -1)
        truth = check.labels("labels", labels, length=len(origin))
        rng = np.random.default_rng(self.seed)

        def other(points: FloatArray, rows: IntArray) -> BoolArray:
            classes = np.asarray(predict_classes(points.astype(np.float32).reshape(-1, *shape[1:])))
            return np.asarray(classes != truth[rows])

        rows = np.arange(len(origin))
        wrong = other(origin, rows)
        distance = np.zeros(len(origin))
        active = rows[~wrong]
        outside, found = self._start(origin[active], active, other, rng)
        distance[active[~found]] = np.linalg.norm(outside[~found] - origin[active[~found]], axis=1)
        active, outside = active[found], outside[found]
        inside = origin[active]
        at = self._search(inside, outside, active, other)
        for step in range(1, self.steps + 1):
            if not active.size:
                break
            at = self._step(inside, at, active, other, step, rng)
        distance[active] = np.linalg.norm(at - inside, axis=1)
        return distance

    def _start(
        self,
        origin: FloatArray,
        rows: IntArray,
        other: Callable[[FloatArray, IntArray], BoolArray],
        rng: np.random.Generator,
    ) -> tuple[FloatArray, BoolArray]:
        """For each record a random point that the model puts in another class, and whether one was found."""
        best = np.array(origin)
        found = np.zeros(len(origin), bool)
        for _ in range(self.starts):
            missing = np.flatnonzero(~found)
            if not missing.size:
                break
            points = rng.uniform(self.low, self.high, (missing.size, origin.shape[1]))
            farther = np.linalg.norm(points - origin[missing], axis=1) > np.linalg.norm(
                best[missing] - origin[missing], axis=1
            )
            hit = other(points, rows[missing])
            take = hit | farther
            best[missing[take]] = points[take]
            found[missing[hit]] = True
        return best, found

    def _search(
        self,
        inside: FloatArray,
        outside: FloatArray,
        rows: IntArray,
        other: Callable[[FloatArray, IntArray], BoolArray],
    ) -> FloatArray:
        """The boundary between two points by halving; the result lies on the other side of it."""
        near, far = np.zeros((len(rows), 1)), np.ones((len(rows), 1))
        for _ in range(self.searches if len(rows) else 0):
            middle = (near + far) / 2
            hit = other(inside + middle * (outside - inside), rows)[:, None]
            near, far = np.where(hit, near, middle), np.where(hit, middle, far)
        return inside + far * (outside - inside)

    def _step(
        self,
        inside: FloatArray,
        at: FloatArray,
        rows: IntArray,
        other: Callable[[FloatArray, IntArray], BoolArray],
        step: int,
        rng: np.random.Generator,
    ) -> FloatArray:
        """One round: estimate the outward direction at the boundary, walk, and search back towards the record."""
        dimension = inside.shape[1]
        length = np.linalg.norm(at - inside, axis=1, keepdims=True)
        probe = length / dimension
        count = int(self.directions * np.sqrt(step))
        votes, total = np.zeros_like(at), np.zeros_like(at)
        crossed = np.zeros((len(rows), 1))
        for _ in range(count):
            direction = rng.normal(size=at.shape)
            direction /= np.linalg.norm(direction, axis=1, keepdims=True)
            hit = np.where(other(np.clip(at + probe * direction, self.low, self.high), rows), 1.0, -1.0)[:, None]
            votes += hit * direction
            total += direction
            crossed += hit
        gradient = votes - crossed / count * total  # the mean vote is the estimate's baseline
        norm = np.linalg.norm(gradient, axis=1, keepdims=True)
        gradient = np.divide(gradient, norm, out=np.zeros_like(gradient), where=norm > 0)
        walk = length / np.sqrt(step)
        moved = np.array(at)
        waiting = np.ones(len(rows), bool)
        for _ in range(self.searches):
            tried = np.clip(at + walk * gradient, self.low, self.high)
            good = other(tried, rows) & waiting
            moved[good] = tried[good]
            waiting &= ~good
            walk = walk / 2
            if not waiting.any():
                break
        back = self._search(inside, moved, rows, other)
        closer = np.linalg.norm(back - inside, axis=1) < length[:, 0]
        return np.where(closer[:, None], back, at)
