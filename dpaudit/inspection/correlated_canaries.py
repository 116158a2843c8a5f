"""Step canaries where noise is correlated over the steps: canaries of whole trainings, seen through the stated law.

A release is whitened: under the stated law what is left of its noise is independent in every step and coordinate. There
a canary that takes part in a step shows in the steps of one band, as far from the noise as in one Gaussian release of
the noise multiplier σ, whatever the matrix (`Choquette-Choo and others (2023) <https://arxiv.org/abs/2306.08153>`_). A
canary takes part as soon again as the claim lets a record, with signs of its own, so that noise that is used again, or
correlated over more steps than stated, does not hide it. Canaries of one direction follow each other in windows that
share no step, so every answer is independent of the others under the claim. What is left at the end has none.

A pilot sees the noise beside the canaries. It chooses how often and with which signs they take part, and the filter
that looks for them. Both are fixed before any answer is judged; while the claim holds no choice is better than it
allows. What noise remembers for longer than `OFTEN` bands is not made use of.
"""

import math
from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy.special import ndtr, rel_entr

from dpaudit.accounting.law import Banded, Law, TreeNoise, inverse_root
from dpaudit.inspection.probe import Probe
from dpaudit.runtime.check import BoolArray, FloatArray, IntArray
from dpaudit.runtime.errors import AuditFailed, InputError

Correlated = Banded | TreeNoise
HELD = 1024  # coordinates of which the pilot keeps the noise
Signs = tuple[tuple[float, ...], ...]
EVEN: Signs = ((1.0, 1.0), (1.0, -1.0))  # where no signs show more than the claim allows
OFTEN = (1, 2, 4, 8)  # times that a canary could take part in its window
MARGIN = 0.02  # by which signs must show more than the claim allows, and three standard errors


@dataclass(frozen=True)
class Windows:
    """When canaries take part, and what that does to a whitened release under the stated law.

    Args:
        whiten: turns the noise of the steps into independent draws, (steps, steps).
        starts: first step of each window of each canary, equally many for all: (canaries, windows).
        takes: steps of a window in which a canary takes part.
        signs: with which, for each kind of canary: (kinds, takes).
        shapes: a canary of each kind in a whitened window, (kinds, length).
    """

    whiten: FloatArray
    starts: IntArray
    takes: IntArray
    signs: FloatArray
    shapes: FloatArray

    @property
    def strength(self) -> float:
        """Norm of a canary in a whitened release over its clip norm, the same for every kind."""
        return float(np.linalg.norm(self.shapes[0]))

    def kind(self, canaries: IntArray) -> IntArray:
        """Of which kind each canary is."""
        return canaries % len(self.signs)


def windows(law: Correlated, canaries: int, signs: Signs = EVEN) -> Windows:
    """The windows of so many canaries in one training.

    Of tree noise every canary has one window, the whole training, and takes part where it shows most.

    Args:
        law: of the noise.
        canaries: in directions of their own.
        signs: of the steps, a band apart, in which a canary of each kind takes part; 0 where it does not.

    Raises:
        InputError: the law is stated for fewer steps than it has bands.

    >>> law = windows(Banded((1.0, 0.5), 8), 3)
    >>> law.starts.tolist(), round(law.strength**2, 9)
    ([[0], [0], [1]], 2.0)
    """
    whiten = inverse_root(law.covariance())
    if isinstance(law, TreeNoise):
        most = int(np.argmax(np.linalg.norm(whiten, axis=0)))
        shape = whiten[:, most][None, :]
        return Windows(whiten, np.zeros((canaries, 1), np.int64), np.array([most]), np.ones((1, 1)), shape)
    bands = len(law.bands)
    if law.steps < bands:
        raise InputError(f"a law of {bands} bands is stated for {law.steps} steps: step canaries need a whole band.")
    if law.steps < bands * len(signs[0]):
        signs = ((1.0,),)
    length = bands * len(signs[0])
    offset = (np.arange(canaries) // len(signs)) % min(length, law.steps - length + 1)
    count = (law.steps - int(offset.max())) // length  # the same for all, so that none has more weight
    starts = offset[:, None] + length * np.arange(count)
    takes = bands * np.arange(len(signs[0]))
    kinds = np.array(signs)
    return Windows(whiten, starts, takes, kinds, kinds @ whiten[:length][:, takes].T)


@dataclass(frozen=True)
class Filters:
    """What answers for a canary of each kind: present where the filtered window is above the threshold."""

    weights: FloatArray  # (kinds, length)
    thresholds: FloatArray  # (kinds,)


@dataclass(frozen=True)
class Trainings:
    """Whole trainings with canaries, each by a new mechanism.

    Args:
        probe: the mechanism, which can be built anew.
        directions: of the canaries, orthonormal: (canaries, coordinates).
        norm: of a canary over the clip norm.
        law: that the mechanism states.
    """

    probe: Probe
    directions: FloatArray
    norm: float
    law: Correlated

    def run(self, plan: Windows, rng: np.random.Generator) -> tuple[BoolArray, FloatArray, FloatArray]:
        """One training: inclusions (canaries, windows), whitened windows (canaries, windows, length), noise (steps, n).

        The noise is that of coordinates without their part along the canaries, whitened and scaled to its old length.
        """
        present = rng.random(plan.starts.shape) < 0.5
        moves = np.zeros((len(plan.whiten), *plan.starts.shape))
        signs = plan.signs[plan.kind(np.arange(len(plan.starts)))]
        for canary, starts in enumerate(plan.starts):
            for take, sign in zip(plan.takes, signs[canary], strict=True):
                moves[starts + take, canary, np.arange(starts.size)] = sign
        probe = self.probe.anew()
        batches = [self._batch(move.sum(axis=1), (present * move).sum(axis=1)) for move in moves]
        released = probe.sequence([probe.arrays(batch) for batch in batches])
        divisors = np.array([probe.stated.divisor(len(batch)) for batch in batches])[:, None]
        scale = probe.stated.noise_multiplier * probe.stated.clip
        white = plan.whiten @ (released * divisors / scale)
        along = white @ self.directions.T
        length = plan.shapes.shape[1]
        seen = np.stack([along[starts[:, None] + np.arange(length), k] for k, starts in enumerate(plan.starts)])
        held = rng.choice(probe.coordinates, min(HELD, probe.coordinates), replace=False)
        left = max(1, probe.coordinates - len(self.directions))
        noise = (white[:, held] - along @ self.directions[:, held]) * math.sqrt(probe.coordinates / left)
        return present, seen, noise

    def _batch(self, asked: FloatArray, included: FloatArray) -> FloatArray:
        """The gradients of a step, from the sign of each canary that has its turn, and of those that are included."""
        stated, turn = self.probe.stated, asked != 0
        canaries = self.norm * stated.clip * self.directions[turn]
        match stated.adjacency:
            case "add-remove":
                batch = canaries[included[turn] != 0] * included[turn][included[turn] != 0, None]
            case "zero-out":
                batch = canaries * included[turn][:, None]
            case _:
                batch = canaries * np.where(included[turn] != 0, asked[turn], -asked[turn])[:, None]
        # As for independent steps: an ordinary batch where its size is public, one example more where it is not.
        others = 1 if stated.adjacency == "add-remove" else max(1, self.probe.batch_size - len(batch))
        return np.concatenate([batch, self.probe.zeros(others)])

    def pilot(self, count: int, rng: np.random.Generator) -> tuple[Windows, Filters]:
        """Windows and filters for the noise of so many trainings; thresholds midway between answers of as many more.

        Raises:
            AuditFailed: every canary of a kind was included, or none.
        """
        plan = windows(self.law, len(self.directions))
        noises = [self.run(plan, rng)[2] for _ in range(count)]
        if isinstance(self.law, Banded):
            plan = windows(self.law, len(self.directions), self._signs(plan.whiten, noises))
        covariance, _ = _covariance(noises, plan.shapes.shape[1])
        weights = np.linalg.solve(covariance, plan.shapes.T).T
        weights /= np.linalg.norm(weights, axis=1, keepdims=True)
        runs = [self.run(plan, rng) for _ in range(count)]
        kind = plan.kind(np.arange(len(plan.starts)))
        thresholds = np.zeros(len(weights))
        for each in np.unique(kind):
            present = np.concatenate([inclusions[kind == each].ravel() for inclusions, _, _ in runs])
            answers = np.concatenate([(seen[kind == each] @ weights[each]).ravel() for _, seen, _ in runs])
            if present.all() or not present.any():
                raise AuditFailed(f"all {present.size} inclusions of the pilot are alike; use more canaries in a step.")
            thresholds[each] = (answers[present].mean() + answers[~present].mean()) / 2
        return plan, Filters(weights, thresholds)

    def _signs(self, whiten: FloatArray, noises: list[FloatArray]) -> Signs:
        """Those on which so many trainings would contradict the claim most clearly, given their noise."""
        sigma = self.probe.stated.noise_multiplier
        best, clearest, bands = EVEN, 0.0, len(self.law.bands) if isinstance(self.law, Banded) else len(whiten)
        for often in OFTEN:
            length = bands * often
            if length > len(whiten):
                break
            covariance, draws = _covariance(noises, length)
            if draws <= length + 1:
                break
            inverse = np.linalg.inv(covariance) * (draws - length - 1) / draws  # without its bias
            needed = 1 + MARGIN + 3 / math.sqrt(2 * (draws - length))
            steps = whiten[:length][:, bands * np.arange(often)]
            # Steps before a canary's first tell what noise of longer memory does to it.
            signs = np.array([
                (*[0.0] * before, 1.0, *rest)
                for before in {0, often // 2}
                for rest in product((1.0, -1.0), repeat=often - before - 1)
            ])  # fmt: skip
            shapes = signs @ steps.T
            shown = np.sqrt(np.einsum("kl,lm,km->k", shapes, inverse, shapes))
            allowed = np.linalg.norm(signs, axis=1)
            right, claimed = ndtr(shown / (2 * sigma)), ndtr(allowed / (2 * sigma))
            clear = (len(whiten) // length) * (rel_entr(right, claimed) + rel_entr(1 - right, 1 - claimed))
            clear[shown < needed * allowed] = 0.0
            most = int(np.argmax(clear))
            if clear[most] > clearest:
                best, clearest = (tuple(signs[most].tolist()),), float(clear[most])
        return best

    def answers(self, plan: Windows, filters: Filters, rng: np.random.Generator) -> tuple[BoolArray, FloatArray]:
        """Inclusions and answers of one training, each (canaries times windows); above 0 says that it was included."""
        present, seen, _ = self.run(plan, rng)
        kind = plan.kind(np.arange(len(plan.starts)))
        said = np.einsum("kwl,kl->kw", seen, filters.weights[kind]) - filters.thresholds[kind][:, None]
        return present.ravel(), said.ravel()


def correlated_law(law: Law) -> Correlated | None:
    """A law that is correlated over the steps; None for one that is not."""
    return law if isinstance(law, Banded | TreeNoise) else None


def _covariance(noises: list[FloatArray], length: int) -> tuple[FloatArray, int]:
    """Of windows of whitened noise, drawn towards the stated law by as many draws as it has numbers; and how many."""
    count = len(noises[0]) // length
    cut = [
        noise[: count * length].reshape(count, length, -1).transpose(0, 2, 1).reshape(-1, length) for noise in noises
    ]
    draws = np.concatenate(cut)
    covariance: FloatArray = (draws.T @ draws + length * np.eye(length)) / (len(draws) + length)
    return covariance, len(draws)
