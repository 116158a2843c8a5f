"""The part of an audit whose membership coins were fair and independent: what every bound of one run is judged on.

The theorems of one run are about fair coins. Members chosen otherwise are brought there by leaving records out at
random, decided by a seed before any score is seen:

* `Coins` of probability p: each record of the likelier side is kept with probability min(p, 1 - p) / max(p, 1 - p). A
  kept record was a member with probability 1/2, independently of all others. Neighbouring data sets stay those of the
  claim.
* `RandomSplit` of M members and N - M non-members: with k ~ Bin(m, 1/2), k members and m - k non-members are drawn at
  random. For any set D of m records and any coins s of it with k heads,

      P[D is drawn, its coins are s] = C(N - m, M - k) / C(N, M) · C(m, k) / 2^m / (C(M, k) C(N - M, m - k))
                                     = 1 / (2^m C(N, m)),

  so given D its coins are fair and independent. The rest compensates: one member more in D is one member fewer outside,
  and the coupling of the two moves a random member of the rest. What is bounded is the ε of *replacing* one record by
  another. m is as large as a thousandth of the level allows: with that probability the drawn k does not exist.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.special import betainc

from dpaudit.accounting.claim import Adjacency
from dpaudit.data.member_choice import Coins, MemberChoice, RandomSplit, refuse_other_coins
from dpaudit.runtime import check
from dpaudit.runtime.errors import InputError
from dpaudit.scores.scores import Scores, Sides

SHARE_FOR_SPLIT = 1e-3  # of the level, for a number of members that the split does not have
FAIR = Coins(0.5)


@dataclass(frozen=True)
class FairPart:
    """Scores whose membership coins were fair and independent.

    Args:
        scores: of the records kept; a side may be empty.
        level: what is left of the level.
        replaces: True when the coins are about replacing one record by another.
        assumption: how members were chosen and what was kept, in one sentence.
    """

    scores: Sides
    level: float
    replaces: bool
    assumption: str

    @property
    def both(self) -> Scores:
        """The same, of which neither side may be empty."""
        return Scores(self.scores.member, self.scores.nonmember)

    def adjacency(self, asked: Adjacency) -> Adjacency:
        """The neighbouring data sets that the coins speak of, where ``asked`` is that of the claim."""
        return "replace-one" if self.replaces else asked


def fair_part(scores: Scores, chosen: MemberChoice, *, seed: int, level: float, independent: bool = False) -> FairPart:
    """The records of an audit that a bound for fair coins may be judged on.

    Args:
        scores: of all members and non-members.
        chosen: how members were chosen.
        seed: of what is left out; it must not depend on the scores.
        level: probability of being above the truth.
        independent: whether every trial is a run of its own, which nothing outside of it compensates.

    Raises:
        InputError: members were not chosen at random, or not by the coins that are stated.

    >>> scores = Scores(np.zeros(800), np.zeros(200))
    >>> fair_part(scores, Coins(0.8), seed=0, level=0.05).scores.member.size
    206
    >>> part = fair_part(scores, RandomSplit(), seed=0, level=0.05)
    >>> len(part.scores), part.adjacency("add-remove")
    (330, 'replace-one')
    """
    check.integer("seed", seed, at_least=0)
    match chosen:
        case Coins(probability):
            _refuse_other_coins(chosen, scores.member.size, len(scores))
            return _coins(scores, probability, seed, level)
        case RandomSplit():
            return _split(scores, chosen, seed, level, independent=independent)
        case _:
            raise InputError("members were not chosen at random: no bound on ε follows from their scores.")


@lru_cache(maxsize=65536)  # the attacks of one audit have the same members
def _refuse_other_coins(chosen: Coins, members: int, trials: int) -> None:
    refuse_other_coins(chosen, members=members, trials=trials)


def _coins(scores: Scores, probability: float, seed: int, level: float) -> FairPart:
    if probability == 0.5:
        return FairPart(scores, level, False, "every record was in by its own fair coin")
    rng = _stream(seed)
    rarer = min(probability, 1 - probability)
    keep, kept = rarer / (1 - rarer), "members" if probability > 0.5 else "non-members"
    member, nonmember = scores.member, scores.nonmember
    if probability > 0.5:
        member = member[rng.random(member.size) < keep]
    else:
        nonmember = nonmember[rng.random(nonmember.size) < keep]
    said = (
        f"every record was in by its own coin of probability {probability:g}; {kept} were kept with probability "
        f"{keep:.3g}, drawn without looking at scores, so that the coins of the kept ones are fair"
    )
    return FairPart(Sides(member, nonmember), level, False, said)


def _split(scores: Scores, chosen: RandomSplit, seed: int, level: float, *, independent: bool) -> FairPart:
    rng, members, others = _stream(seed), scores.member.size, scores.nonmember.size
    trials = _coins_of_split(members, others, SHARE_FOR_SPLIT * level)
    # Beyond what the split has, with the probability paid for, the nearest number there is.
    heads = int(np.clip(rng.binomial(trials, 0.5), trials - others, members))
    stated = "" if chosen.stated else " (taken as the weakest random choice, for nobody said how)"
    said = (
        f"the members are a random set of a fixed size{stated}; a random part of members and non-members was judged, "
        "whose coins are fair"
    )
    if not independent:
        said += " while the rest compensates, so the bound is about replacing one record by another"
    return FairPart(
        Sides(
            rng.choice(scores.member, heads, replace=False), rng.choice(scores.nonmember, trials - heads, replace=False)
        ),
        (1 - SHARE_FOR_SPLIT) * level,
        not independent,
        said,
    )


def _stream(seed: int) -> np.random.Generator:
    return np.random.default_rng([seed, 1])


@lru_cache(maxsize=1024)  # the attacks of one audit have the same split
def _coins_of_split(members: int, others: int, level: float) -> int:
    """Most coins m so that Bin(m, 1/2) lies in [m - others, members] but for a probability of ``level``."""
    low, high = min(members, others), 2 * min(members, others)
    while low < high:
        middle = (low + high + 1) // 2
        # As scipy.stats has it to the last bit, which takes longer to import than most audits take.
        outside = sum(float(betainc(side + 1, middle - side, 0.5)) for side in (members, others) if side < middle)
        low, high = (middle, high) if outside <= level else (low, middle - 1)
    return low
