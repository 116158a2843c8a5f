"""The default bound of one run under every way of choosing members: coins of any probability, splits of fixed sizes.

Each audit has a seed of its own, for the part that is judged and for ties; a single seed would make all audits of a
cell share one draw.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from dpaudit.bounds.default import default_bound
from dpaudit.data.member_choice import Coins, MemberChoice, RandomSplit
from dpaudit.runtime.check import BoolArray, FloatArray
from dpaudit.runtime.errors import AuditFailed, InputError
from dpaudit.scores.scores import Scores
from dpaudit.self_test.mechanisms import Generator, Simulated, gaussian, null, randomised_response

PROBABILITIES = (0.02, 0.1, 0.25, 0.45, 0.5, 0.6, 0.83, 0.98)
SPLITS = (0.02, 0.17, 0.5, 0.83)  # share of members
AUDITS = ((10_000, 1.0), (200_000, 0.02), (np.inf, 0.005))  # records up to which a cell has so large a share of them


@dataclass(frozen=True)
class Choice:
    """A way to choose members, and a draw of it.

    Args:
        name: for the table.
        chosen: what the bound is told.
        draw: (records, random generator) -> membership, shape (records,).
    """

    name: str
    chosen: MemberChoice
    draw: Callable[[int, Generator], BoolArray]


@dataclass(frozen=True)
class Column:
    """A mechanism at a number of records, on which every choice is measured."""

    mechanism: Simulated
    size: int

    @property
    def name(self) -> str:
        """For the table."""
        return f"{self.mechanism.name}, {self.size:,} records"


def coins(probability: float) -> Choice:
    """Independent coins."""
    return Choice(f"coins, p = {probability:g}", Coins(probability), lambda n, rng: rng.random(n) < probability)


def split(share: float) -> Choice:
    """A random set of a fixed size, at least one record on each side."""

    def draw(n: int, rng: Generator) -> BoolArray:
        members = min(n - 1, max(1, round(share * n)))
        return rng.permutation(np.arange(n) < members)

    return Choice(f"random split, {100 * share:g} % members", RandomSplit(), draw)


def constant() -> Simulated:
    """One score for all."""
    return Simulated("constant scores", 0.0, 0.0, True, True, lambda member, rng: np.zeros(member.size))


def coarse() -> Simulated:
    """Scores of three values that have nothing to do with membership."""

    def simulate(member: BoolArray, rng: Generator) -> FloatArray:
        return rng.integers(0, 3, member.size).astype(np.float64)

    return Simulated("null scores of three values", 0.0, 0.0, True, True, simulate)


def laplace(epsilon: float) -> Simulated:
    """The coin with Laplace noise."""

    def simulate(member: BoolArray, rng: Generator) -> FloatArray:
        return np.asarray(member + rng.laplace(0, 1 / epsilon, member.size), np.float64)

    return Simulated(f"Laplace ε={epsilon:g}", epsilon, 0.0, True, False, simulate)


def rest(epsilon: float) -> Simulated:
    """How many members the first half holds, with Laplace noise, and nothing else: every coin leaks through the others.

    When the first half holds more than its share, its records score higher than all others, else lower.
    """

    def simulate(member: BoolArray, rng: Generator) -> FloatArray:
        first = np.arange(member.size) < member.size // 2
        more = member[first].sum() + rng.laplace(0, 1 / epsilon) > member.mean() * first.sum()
        return np.where(first == more, 1.0, -1.0)

    return Simulated(f"noisy count of a half ε={epsilon:g}", epsilon, 0.0, False, False, simulate)


CHOICES = (*map(coins, PROBABILITIES), *map(split, SPLITS))
COLUMNS = (
    *(Column(replace(null(), delta=0.0), size) for size in (10, 1000, 1_000_000)),
    Column(constant(), 1000),
    Column(coarse(), 1000),
    Column(replace(randomised_response(1.0), delta=0.0), 1000),
    Column(laplace(2.0), 1000),
    Column(gaussian(2.5), 1000),
    Column(rest(1.0), 1000),
)


def audits_of(size: int, audits: int) -> int:
    """How many audits a cell has: fewer where each has many records.

    >>> audits_of(1000, 10_000), audits_of(1_000_000, 10_000)
    (10000, 50)
    """
    return max(1, round(audits * next(share for most, share in AUDITS if size <= most)))


def simulate_bounds(choice: Choice, column: Column, stream: list[int], audits: int, confidence: float) -> FloatArray:
    """Lower bounds of so many simulated audits, shape (audits,).

    An audit that could not be made (all records on one side, coins refuted by the number of members) finds 0.

    Raises:
        AuditFailed: more audits were refused than right coins allow.
    """
    refused, found, rng = 0, np.zeros(audits), np.random.default_rng(stream)
    for audit in range(audits):
        member = choice.draw(column.size, rng)
        values = column.mechanism.simulate(member, rng)
        if member.all() or not member.any():
            continue
        bound = default_bound("one-run", choice.chosen, seed=audit)
        try:
            found[audit] = bound(
                Scores(values[member], values[~member]),
                delta=column.mechanism.delta,
                confidence=confidence,
                adjacency="replace-one",
                unit="record",
            ).epsilon
        except InputError as error:  # right coins are refused once in a million audits
            refused += 1
            if refused > 3:
                raise AuditFailed(f"{choice.name}: {refused} of {audit + 1} audits were refused: {error}") from error
    return found
