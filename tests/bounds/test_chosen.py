"""How members were chosen: coins of any probability and random splits give fair coins, and nothing else does."""

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations, product
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom, chisquare

from dpaudit.bounds.accuracy import Accuracy
from dpaudit.bounds.choosing import Fixed, FixedGuesses, HeldOut, SeveralSplits, UnionGuesses
from dpaudit.bounds.clopper_pearson import ClopperPearson
from dpaudit.bounds.conditional import Conditional
from dpaudit.bounds.default import HELD_OUT, Bound, default_bound
from dpaudit.bounds.fair_coins import FAIR, fair_part
from dpaudit.bounds.hypothesis import Definition
from dpaudit.bounds.lower_bound import Procedure
from dpaudit.bounds.one_run import OneRun, one_run
from dpaudit.bounds.one_run_trade_off import OneRunTradeOff
from dpaudit.bounds.sequential import Sequential
from dpaudit.bounds.trial_counts import Guesses, guess_counts
from dpaudit.data.member_choice import Coins, MemberChoice, NotRandom, RandomSplit
from dpaudit.runtime.check import BoolArray
from dpaudit.runtime.errors import InputError
from dpaudit.scores.scores import Scores

RECORD: Any = {"delta": 0.0, "confidence": 0.95, "adjacency": "add-remove", "unit": "record"}
LEVEL = 0.05


def _split(total: int, members: int, rng: np.random.Generator) -> BoolArray:
    drawn: BoolArray = rng.permutation(np.arange(total) < members)
    return drawn


@pytest.mark.parametrize(("total", "members", "judged"), [(5, 2, 2), (6, 3, 3), (7, 2, 2), (6, 4, 2)])
def test_coins_of_a_part_of_a_split_are_fair_and_independent(total: int, members: int, judged: int) -> None:
    """Every split, every number of heads and every part, enumerated: part and coins have probability 1 / (2^m C(N, m)).

    The splits are equally likely, the heads binomial, and the parts of so many members and non-members equally likely.
    """
    chance: Counter[tuple[tuple[int, ...], tuple[int, ...]]] = Counter()
    for inside in combinations(range(total), members):
        outside = tuple(set(range(total)) - set(inside))
        for heads in range(judged + 1):
            parts = list(product(combinations(inside, heads), combinations(outside, judged - heads)))
            for ins, outs in parts:
                part = tuple(sorted(ins + outs))
                coins = tuple(int(record in ins) for record in part)
                weight = math.comb(judged, heads) / 2**judged / math.comb(total, members) / len(parts)
                chance[part, coins] += weight  # type: ignore[assignment]
    assert len(chance) == 2**judged * math.comb(total, judged)
    assert list(chance.values()) == pytest.approx([1 / len(chance)] * len(chance))


@pytest.mark.long
def test_the_part_is_drawn_as_it_says() -> None:
    """4 records, 2 members: all 24 pairs of a part and its coins come equally often (false alarms 1e-4)."""
    rng, seen = np.random.default_rng(0), Counter[tuple[Any, ...]]()
    for seed in range(12_000):
        member, names = _split(4, 2, rng), np.arange(4.0)
        part = fair_part(Scores(names[member], names[~member]), RandomSplit(), seed=seed, level=LEVEL)
        seen[tuple(sorted(part.scores.member)), tuple(sorted(part.scores.nonmember))] += 1
    assert len(seen) == 24
    assert chisquare(list(seen.values())).pvalue > 1e-4


@pytest.mark.parametrize("probability", [0.02, 0.3, 0.5, 0.83])
def test_kept_coins_are_fair(probability: float) -> None:
    """Twice the rarer side is kept, half of it members: binomial within four standard deviations."""
    rng = np.random.default_rng(1)
    member = rng.random(200_000) < probability
    part = fair_part(Scores.join(np.zeros(200_000), member), Coins(probability), seed=5, level=LEVEL)
    kept, expected = len(part.scores), 400_000 * min(probability, 1 - probability)
    assert abs(kept - expected) <= 4 * np.sqrt(expected)
    assert abs(part.scores.member.size - kept / 2) < 4 * np.sqrt(kept / 4)
    assert part.adjacency("add-remove") == "add-remove"


@pytest.mark.parametrize("probability", [0.2, 0.5, 0.7])
@pytest.mark.parametrize("epsilon", [0.0, 0.5, 1.5])
def test_randomised_response_is_overstated_in_no_more_audits_than_said(probability: float, epsilon: float) -> None:
    """All coins, answers and parts of 5 records, enumerated, at a level of 0.3 (the worst mechanism at δ = 0).

    Told the coins were fair, the same guesses overstate ε = 0 far more often when they were not.
    """
    records, level, told_right = 5, 0.3, 1 / (1 + math.exp(-epsilon))
    rarer = min(probability, 1 - probability)
    keep = {True: rarer / probability, False: rarer / (1 - probability)}
    above = naive = 0.0
    for coins in product([True, False], repeat=records):
        chance = math.prod(probability if coin else 1 - probability for coin in coins)
        # All are guessed to be on the likelier side when nobody looks at how members were chosen.
        likelier = sum(coin == (probability > 0.5) for coin in coins)
        naive += chance * (one_run(Guesses(records, records, likelier), 0.0, level) > 0)
        for kept in product([True, False], repeat=records):
            part = chance * math.prod(
                keep[coin] if here else 1 - keep[coin] for coin, here in zip(coins, kept, strict=True)
            )
            for right in range(sum(kept) + 1) if part else ():
                found = one_run(Guesses(sum(kept), sum(kept), right), 0.0, level) if any(kept) else 0.0
                above += part * float(binom.pmf(right, sum(kept), told_right)) * (found > epsilon + 1e-9)
    assert above <= level
    assert naive > level or probability == 0.5


@pytest.mark.parametrize("epsilon", [0.3, 1.0, 3.0])
def test_the_rest_of_a_split_leaks_up_to_replacing_one(epsilon: float) -> None:
    """A mechanism that says how many members are outside of the part, with two-sided geometric noise of ε.

    It never reads the judged records, so adding or removing one of them changes nothing; yet each of their coins can be
    told with odds of e^ε, enumerated over all coins: that is ε for replacing one record, and no more.
    """
    judged, members = 3, 4
    odds = []
    for said in range(-30, 40):
        for first in range(judged):
            for past in product([0, 1], repeat=first):
                weight = {0: 0.0, 1: 0.0}
                for later in product([0, 1], repeat=judged - first):
                    outside = members - sum(past) - sum(later)
                    weight[later[0]] += math.exp(-epsilon * abs(said - outside))
                odds.append(max(weight[0] / weight[1], weight[1] / weight[0]))
    assert max(odds) == pytest.approx(math.exp(epsilon))


def test_an_exact_count_of_the_rest_breaks_the_add_remove_reading() -> None:
    """Told how many members are outside, one guesses all 401 on the majority's side: ε > 0 in a tenth of audits.

    The mechanism has ε = 0 for adding a judged record, where a twentieth is allowed; for replacing one it has none.
    """
    heads = np.arange(402)
    alarms = [one_run(Guesses(401, 401, int(max(k, 401 - k))), 0.0, LEVEL) > 0 for k in heads]
    assert 0.075 < float(binom.pmf(heads, 401, 0.5) @ np.array(alarms)) < 0.1


ONE_RUN: dict[str, Callable[[MemberChoice, int], Bound]] = {
    "held out": lambda choice, seed: OneRun(HeldOut(seed, 0.5), choice, seed),
    "union": lambda choice, seed: OneRun(UnionGuesses((0.05, 0.3, 1.0), seed), choice, seed),
    "several splits": lambda choice, seed: OneRun(SeveralSplits(seed, 3), choice, seed),
    "top only": lambda choice, seed: OneRun(FixedGuesses(60, 0, seed), choice, seed),
    "trade-off": lambda choice, seed: OneRunTradeOff(HeldOut(seed, 0.5), Definition(), choice, seed),
    "conditional": lambda choice, seed: Conditional(HeldOut(seed, 0.5), choice, seed),
    "accuracy": lambda choice, seed: Accuracy(Fixed(0.5), "runs", Definition(), choice, seed),
    "sequential": lambda choice, seed: Sequential(Fixed(0.5), "runs", Definition(), choice, seed),
    "clopper-pearson": lambda choice, seed: ClopperPearson(HeldOut(seed)),
    "default": lambda choice, seed: default_bound("one-run", choice, seed=seed),
}


@pytest.mark.parametrize("kind", ["normal", "constant", "two values"])
@pytest.mark.parametrize("choice", [Coins(0.83), RandomSplit()], ids=str)
@pytest.mark.parametrize("bound", ONE_RUN)
@pytest.mark.long
def test_uneven_and_tied_scores_without_a_leak_raise_no_alarm(bound: str, choice: MemberChoice, kind: str) -> None:
    """200 audits of 600 records: more than 23 alarms at a level of 1/20 have probability 1e-4 (seed fixed)."""
    rng, alarms = np.random.default_rng(11), 0
    for seed in range(200):
        share = choice.probability if isinstance(choice, Coins) else 0.83
        member = rng.random(600) < share if isinstance(choice, Coins) else _split(600, 498, rng)
        scores = {
            "normal": rng.normal(size=600),
            "constant": np.zeros(600),
            "two values": 1.0 * (rng.random(600) < 0.6),
        }
        made = ONE_RUN[bound](choice, seed)
        alarms += made(Scores.join(scores[kind], member), **RECORD).epsilon > 0
    assert alarms <= 23


def test_the_same_guesses_on_all_records_raise_the_alarm() -> None:
    """Without the part: 83 % members and no leak give ε = 1.3, the logarithm of the odds less the confidence."""
    rng = np.random.default_rng(3)
    scores = Scores(rng.normal(size=5000), rng.normal(size=1000))
    naive = guess_counts(scores, HeldOut(0, 0.5), lambda guesses: one_run(guesses, 0.0, LEVEL))
    assert naive.bound(lambda guesses, at: one_run(guesses, 0.0, at), LEVEL) > 1.3
    assert OneRun(HeldOut(0, 0.5), Coins(5 / 6))(scores, **RECORD).epsilon < 0.2
    with pytest.raises(InputError, match=r"5000 of 6000 are members, which coins of probability 0\.5 do not give"):
        OneRun(HeldOut(0, 0.5))(scores, **RECORD)


def test_parts_of_coins_are_drawn_without_looking_at_membership() -> None:
    """A part of equal membership would tell those who choose on the other how many members it holds.

    Each of 400 records is a judged member with probability 1/4, so their number has variance 75 (four standard errors).
    """
    rng, members = np.random.default_rng(4), []
    for seed in range(1000):
        scores = Scores.join(np.zeros(400), rng.random(400) < 0.5)
        members.append(next(HeldOut(seed, 0.5).sides(scores))[1].member.size)
    assert np.var(members) == pytest.approx(75, abs=4 * 75 * np.sqrt(2 / 1000))


def test_a_bound_says_how_members_were_chosen() -> None:
    """A split is judged on replacing one record whatever was asked for, with the coins that were used."""
    scores = Scores(np.linspace(1, 2, 500), np.linspace(-1, 0.5, 100))
    split = default_bound("one-run", RandomSplit(stated=False), seed=1)(scores, **RECORD)
    assert split.adjacency == "replace-one"
    assert "nobody said how" in split.assumptions[0]
    assert 105 < split.trials < 140  # without those that chose the numbers of guesses
    coins = default_bound("one-run", Coins(5 / 6), seed=1)(scores, **RECORD)
    assert coins.adjacency == "add-remove"
    assert "coin of probability 0.833" in coins.assumptions[0]
    assert 119 < coins.trials < 161
    for bound in (coins, split):  # the share that was held out, within four standard deviations of that of the coins
        (share,) = bound.procedure.figures
        assert share == pytest.approx(HELD_OUT, abs=4 * (HELD_OUT * (1 - HELD_OUT) * (1 - share) / bound.trials) ** 0.5)
        assert bound.procedure == Procedure("held-out", (share,), split=bound is split)
    runs = default_bound("many-runs", RandomSplit(), seed=1)(scores, **RECORD)
    assert runs.adjacency == "add-remove"
    assert replace(runs.procedure, member_share=0.5) == Procedure("several-splits", (7, 0.2))
    assert runs.procedure.member_share == pytest.approx(5 / 6, abs=0.05)
    assert Conditional(Fixed(0.7), RandomSplit())(scores, **RECORD).adjacency == "add-remove"


def test_other_choices_have_no_bound() -> None:
    """Members chosen by date or by hand: refused, with the reason."""
    with pytest.raises(InputError, match="not chosen at random: no bound"):
        default_bound("one-run", NotRandom(), seed=0)
    with pytest.raises(InputError, match="not chosen at random: no bound"):
        OneRun(HeldOut(0), NotRandom())(Scores(np.ones(9), np.zeros(9)), **RECORD)


@pytest.mark.parametrize("choice", [FAIR, Coins(0.9), Coins(0.1), RandomSplit()], ids=str)
@pytest.mark.parametrize("sizes", [(1, 1), (2, 1), (1, 3)])
def test_few_records_certify_nothing_and_break_nothing(choice: MemberChoice, sizes: tuple[int, int]) -> None:
    """Also where all that are kept are members, or none is."""
    for seed in range(10):
        found = default_bound("one-run", choice, seed=seed)(Scores(np.ones(sizes[0]), np.zeros(sizes[1])), **RECORD)
        assert found.epsilon == 0
        assert 1 <= found.trials <= sum(sizes)
