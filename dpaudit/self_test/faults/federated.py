"""A DP-FedAvg server in replaceable parts, and the wrong parts people have written."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dpaudit.inspection.mechanism import Array, Stated
from dpaudit.inspection.server import Server
from dpaudit.runtime.check import FloatArray
from dpaudit.self_test.faults.dp_sgd import clip_each_variable, clip_examples, norms, only_finite, weighted

PLANNED = 32
COUNT_NOISE = PLANNED / 20


@dataclass
class FedAvg:
    """Updates clipped per client, summed with equal weights, noised, divided by the clients that were planned.

    Args:
        rng: of the noise; this server exists to be audited.
        clip_norm: C, the first one when it adapts.
        noise_multiplier: z.
        weighted: weigh updates by the examples a client reports.
        divide_by_present: divide by the clients that answered, with the noise made for the planned ones.
        noise_shares: each client adds its share of the noise; those that drop out take theirs along.
        clip_each_array: clip each array of an update at C.
        clip_model: clip the new average instead of the updates.
        adapt: learning rate of an adaptive clip; 0 keeps it fixed, below 0 turns the sign.
        stale: noise is made for the first clip norm.
        count_noise: standard deviation of the noise on the number of updates below a clip that adapts.
        counts_noised: rounds in which the count has noise.
        follow_median: after the first round updates are clipped at the round's median norm.
        noise_follows: and the noise is made for that median.
        present_later: after the first round the sum is divided by the clients that answered.
        follow_largest: the clip of a round is the largest norm of the round before.
        limit_count: the noisy share of updates below the clip is limited to what a share can be, which is right.
    """

    rng: np.random.Generator
    clip_norm: float = 1.0
    noise_multiplier: float = 1.0
    weighted: bool = False
    divide_by_present: bool = False
    noise_shares: bool = False
    clip_each_array: bool = False
    clip_model: bool = False
    adapt: float = 0.0
    stale: bool = False
    count_noise: float = COUNT_NOISE
    counts_noised: float = math.inf
    follow_median: bool = False
    noise_follows: bool = False
    present_later: bool = False
    follow_largest: bool = False
    limit_count: bool = False

    def __post_init__(self) -> None:
        self.first_clip, self.round = self.clip_norm, 0
        # What the count costs, the sum has more noise for.
        self.sum_multiplier = self.noise_multiplier
        if self.adapt:
            self.sum_multiplier = (self.noise_multiplier**-2 - (2 * COUNT_NOISE) ** -2) ** -0.5

    def __call__(self, model: Sequence[Array], updates: Sequence[Array], weights: Array) -> list[FloatArray]:
        """One round: model, updates (clients, \\*shape), weights (clients,) -> new model."""
        deltas = only_finite([np.asarray(u, np.float64) for u in updates])
        present, later = len(deltas[0]), self.round > 0
        self.round += 1
        found = norms(deltas)
        clip = float(np.median(found)) if self.follow_median and later and present else self.clip_norm
        if self.clip_model:
            means = [d.sum(axis=0, keepdims=True) / max(present, 1) for d in deltas]
            total = [PLANNED * s for s in clip_examples(means, self.clip_norm)]
        elif self.clip_each_array:
            total = clip_each_variable(deltas, self.clip_norm)
        else:
            factors = np.minimum(1.0, clip / np.maximum(found, 1e-300))
            if self.weighted and present:
                factors = factors * np.asarray(weights, np.float64) / max(float(np.mean(weights)), 1e-300)
            total = weighted(factors, deltas)
        scale = self.sum_multiplier * (
            self.first_clip if self.stale else clip if self.noise_follows else self.clip_norm
        )
        if self.noise_shares:
            scale *= math.sqrt(present / PLANNED)
        if (self.divide_by_present or (self.present_later and later)) and present:
            noisy = [t / present + self.rng.normal(0.0, scale / PLANNED, t.shape) for t in total]
        else:
            noisy = [(t + self.rng.normal(0.0, scale, t.shape)) / PLANNED for t in total]
        self._adapt(found)
        return [np.asarray(m, np.float64) + n for m, n in zip(model, noisy, strict=True)]

    def _adapt(self, found: FloatArray) -> None:
        """Towards the median norm: `Andrew et al. (2021) <https://arxiv.org/abs/1905.03871>`_, with a noisy count."""
        if self.follow_largest:
            self.clip_norm = float(np.clip(found.max(initial=0.0), 0.01, 100.0))
        elif self.adapt:
            noise = self.rng.normal(0.0, self.count_noise) if self.round <= self.counts_noised else 0.0
            share = (float((found <= self.clip_norm).sum()) + noise) / PLANNED
            if self.limit_count:
                share = min(max(share, 0.0), 1.0)
            self.clip_norm *= math.exp(-self.adapt * (share - 0.5))

    @property
    def stated(self) -> Stated:
        """What it says of itself, broken or not."""
        return Stated(self.first_clip, self.noise_multiplier, PLANNED)


def server(seed: int, *, adapt: float = 0.0, noise: float = 1.0, states_count: bool = True, **flags: Any) -> Server:
    """A server that adds ``noise``, with flags of `FedAvg`; each start draws on one generator."""
    rng = np.random.default_rng(seed)
    return Server(
        lambda: FedAvg(rng, noise_multiplier=noise, adapt=adapt, **flags),
        adaptive=adapt != 0,
        count_noise=COUNT_NOISE if adapt and states_count else None,
    )
