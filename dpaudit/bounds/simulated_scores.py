"""Counts on the scores of a Gaussian leak, drawn without drawing the scores.

Members score N(μ / 2, 1), the others N(-μ / 2, 1), and who is a member falls by coins. The ranks at which a bound
looks are order statistics of all scores: uniform spacings, drawn as Gamma variables, place them. Between two of them
the scores are independent draws from their mixture, so the members among them are binomial. The law is exact, and a
hundred trials take as long as a million.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import expit, log_ndtr, logit, ndtr

from dpaudit.runtime.check import FloatArray, IntArray

TABLE = 8192  # places at which the mixture is inverted; linear between them
REACH = 9.0  # standard deviations beyond which no score is looked for: one in 10¹⁹


@dataclass(frozen=True)
class Ranked:
    """What is known at some ranks of the scores of many audits, each of shape (audits, ranks).

    Args:
        scores: at each rank.
        members: from the lowest score up to each rank.
        in_all: members among all trials, shape (audits,).
    """

    scores: FloatArray
    members: IntArray
    in_all: IntArray


def ranked(
    ranks: IntArray, trials: int, mu: float, audits: int, rng: np.random.Generator, *, member_share: float = 0.5
) -> Ranked:
    """Scores and members at some ranks.

    Args:
        ranks: places from the bottom, from 1 to ``trials``, each higher than the one before, shape (ranks,).
        trials: coins of each audit.
        mu: how many standard deviations members lie above the others.
        audits: how many are simulated.
        rng: where they are drawn.
        member_share: probability of the coins.

    >>> found = ranked(np.array([500, 1000]), 1000, 0.0, 4000, np.random.default_rng(0))
    >>> bool(abs(found.scores[:, 0].mean()) < 0.01), bool(abs(found.members[:, 0].mean() - 250) < 1)
    (True, True)
    """
    steps = np.diff(ranks, prepend=0)
    shapes = np.append(steps, trials + 1 - ranks[-1]).astype(np.float64)
    spacings = rng.standard_gamma(shapes, (audits, shapes.size))
    below = np.cumsum(spacings[:, :-1], axis=1)
    above = np.cumsum(spacings[:, :0:-1], axis=1)[:, ::-1]  # summed from the top, so that no digit of a tail is lost
    worlds = _Worlds(mu, member_share)
    scores = worlds.placed(below, above)
    lower = np.concatenate([np.full((audits, 1), -np.inf), scores[:, :-1]], axis=1)
    between = rng.binomial(steps - 1, worlds.members_between(lower, scores))
    at = rng.random(scores.shape) < expit(mu * scores + logit(member_share))
    members = np.cumsum(between + at, axis=1)
    last = worlds.members_between(scores[:, -1], np.full(audits, np.inf))
    return Ranked(scores, members, members[:, -1] + rng.binomial(trials - ranks[-1], last))


@dataclass(frozen=True)
class _Worlds:
    """The mixture of the scores of members and of the others."""

    mu: float
    member_share: float

    def placed(self, below: FloatArray, above: FloatArray) -> FloatArray:
        """Scores with these odds of the mixture below to that above them."""
        grid = np.linspace(-self.mu / 2 - REACH, self.mu / 2 + REACH, TABLE)
        ours, others = math.log(self.member_share), math.log1p(-self.member_share)
        low = np.logaddexp(ours + log_ndtr(grid - self.mu / 2), others + log_ndtr(grid + self.mu / 2))
        high = np.logaddexp(ours + log_ndtr(self.mu / 2 - grid), others + log_ndtr(-self.mu / 2 - grid))
        # The logarithm of the odds keeps the digits of both tails.
        scores: FloatArray = np.interp(np.log(below / above), low - high, grid)
        return scores

    def members_between(self, low: FloatArray, high: FloatArray) -> FloatArray:
        """Share of members between two scores; one half where there is no room between them."""
        mirrored = low > -high  # so that differences are taken in the lower tail, where they are exact
        start, stop = np.where(mirrored, -high, low), np.where(mirrored, -low, high)
        shift = np.where(mirrored, -self.mu / 2, self.mu / 2)
        ours, others = (ndtr(stop - centre) - ndtr(start - centre) for centre in (shift, -shift))
        ours, every = self.member_share * ours, self.member_share * ours + (1 - self.member_share) * others
        share: FloatArray = np.divide(ours, every, out=np.full_like(every, 0.5), where=every > 0)
        return share
