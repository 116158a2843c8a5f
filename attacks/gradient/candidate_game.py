"""The reconstruction game: train with one hidden record drawn from M candidates, keep the trace, and hide the answer.

This is the side that knows the truth. It hands an attack the trace alone; the hidden index comes back only in
`play_games`, where the guesses are counted.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from dpaudit.accounting.claim import GaussianSteps, Poisson
from dpaudit.attacks.gradient.candidate_attack import CandidateAttack, Contributions, PrivacyUnits
from dpaudit.attacks.gradient.dense_network import Floats
from dpaudit.attacks.gradient.view import NoisyReleases
from dpaudit.runtime import check
from dpaudit.runtime.check import BoolArray, FloatArray, IntArray
from dpaudit.runtime.errors import InputError


@dataclass(frozen=True)
class Game:
    """A DP-SGD or DP-FedAvg run as the reconstruction game plays it.

    Args:
        contributions: what a record or user adds to a release.
        known: records or users the attacker knows.
        noise_multiplier: standard deviation of the noise over the clip norm.
        steps: releases per run.
        learning_rate: the server's step on the noisy mean.
        rate: probability that a record or user takes part in a step.
        direction: -1 when contributions are gradients (descend), +1 when they are updates (add).
    """

    contributions: Contributions
    known: PrivacyUnits
    noise_multiplier: float
    steps: int
    learning_rate: float
    rate: float = 1.0
    direction: int = -1

    def __post_init__(self) -> None:
        check.nonnegative("noise_multiplier", self.noise_multiplier)
        check.integer("steps", self.steps, at_least=1)
        check.positive("learning_rate", self.learning_rate)
        Poisson(self.rate)
        if self.direction not in (-1, 1):
            raise InputError(f"direction must be -1 or 1, got {self.direction!r}.")

    @property
    def mechanism(self) -> GaussianSteps:
        """What the accountant is told."""
        return GaussianSteps(self.noise_multiplier, self.steps, Poisson(self.rate))

    def traces(self, initial: Floats, candidates: PrivacyUnits, hidden: IntArray, *, seed: int) -> list[NoisyReleases]:
        """Train one run per hidden index, all at once, from the same initial weights (parameters,)."""
        runs, clip = len(hidden), self.contributions.clip
        rng = np.random.default_rng(seed)
        expected = self.rate * (len(self.known) + 1)
        weights = np.repeat(initial[None], runs, axis=0)
        before = np.empty((runs, self.steps, initial.size), initial.dtype)
        releases = np.empty_like(before)
        took_part = np.ones((runs, self.steps, len(self.known)), bool)
        own = np.arange(len(candidates)) == hidden[:, None]
        for step in range(self.steps):
            if self.rate < 1:
                took_part[:, step] = rng.random((runs, len(self.known))) < self.rate
            entered = own & (rng.random((runs, 1)) < self.rate)
            total = self.contributions.total(weights, self.known, took_part[:, step])
            total += self.contributions.total(weights, candidates, entered)
            noise = rng.standard_normal((runs, initial.size), dtype=np.float32)
            before[:, step], releases[:, step] = weights, total + self.noise_multiplier * clip * noise
            weights = weights + (self.direction * self.learning_rate / expected) * releases[:, step]
            if not np.isfinite(weights).all():
                raise InputError(f"training diverged at step {step}: lower learning_rate {self.learning_rate:g}.")
        everyone = self.rate == 1
        return [
            NoisyReleases(
                before[r], releases[r], clip, self.noise_multiplier, self.rate, None if everyone else took_part[r]
            )
            for r in range(runs)
        ]


@dataclass(frozen=True)
class Played:
    """Outcome of many runs.

    Args:
        scores: the attack's, shape (runs, candidates); higher is more likely.
        hidden: which candidate was trained on, shape (runs,).
        mean_norm: average norm of the candidates' contributions over the clip norm; below 1 the attack cannot reach
            what the accountant allows.
    """

    scores: FloatArray
    hidden: IntArray
    mean_norm: float

    @property
    def guessed(self) -> BoolArray:
        """Whether the best-scored candidate was the hidden one; a tie for the best counts as a miss."""
        own = self.scores[np.arange(len(self.hidden)), self.hidden]
        others = self.scores.copy()
        others[np.arange(len(self.hidden)), self.hidden] = -np.inf
        return np.asarray(own > others.max(1))

    @property
    def successes(self) -> int:
        """Runs in which the hidden candidate was named."""
        return int(self.guessed.sum())


def play_games(
    game: Game,
    attack: CandidateAttack,
    initial: Floats,
    candidates: PrivacyUnits,
    *,
    runs: int,
    seed: int,
    at_once: int = 20,
    progress: Callable[[int], None] | None = None,
) -> Played:
    """Play ``runs`` games: the hidden candidate is drawn uniformly and independently of everything else.

    Args:
        game: the training.
        attack: sees each run's trace, the known records and the candidates; never the hidden index.
        initial: initial weights, shape (parameters,), known to the attacker.
        candidates: at least two, all different.
        runs: games.
        seed: of the hidden indices, the sampling and the noise.
        at_once: runs trained together.
        progress: called with the number of runs done so far.
    """
    check.integer("runs", runs, at_least=1)
    check.integer("at_once", at_once, at_least=1)
    if len(candidates) < 2:
        raise InputError(f"a candidate attack needs at least 2 candidates, got {len(candidates)}.")
    distinct = np.unique(candidates.features.reshape(len(candidates), -1), axis=0)
    if len(distinct) < len(candidates):
        raise InputError(f"candidates must all differ: {len(candidates) - len(distinct)} are repeated.")
    coins, noise = np.random.SeedSequence(seed).spawn(2)
    hidden = np.random.default_rng(coins).integers(len(candidates), size=runs)
    seeds = noise.generate_state(-(-runs // at_once))
    scores, norms = np.empty((runs, len(candidates))), []
    for chunk, start in enumerate(range(0, runs, at_once)):
        rows = slice(start, min(start + at_once, runs))
        for offset, trace in enumerate(game.traces(initial, candidates, hidden[rows], seed=int(seeds[chunk]))):
            scores[start + offset] = attack(trace, known=game.known, candidates=candidates)
            if offset == 0:
                squared = game.contributions.inner(trace.weights, candidates, trace.releases)[1]
                norms.append(float(np.sqrt(squared).mean()) / game.contributions.clip)
        if progress is not None:
            progress(rows.stop)
    return Played(scores, hidden, float(np.mean(norms)))
