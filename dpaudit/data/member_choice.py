"""How the members of an audit were chosen: the assumption that every bound on ε rests on.

A bound of one run needs members that were chosen at random. Which bound holds, and for which neighbouring data sets,
depends on how: by a coin for each record, or as a random set of a fixed size. Members chosen by date, by source or by
hand allow no bound at all (Das, Zhang and Tramèr 2024, `arXiv 2406.16201 <https://arxiv.org/abs/2406.16201>`_).
"""

from dataclasses import dataclass
from typing import Literal, get_args

from scipy.special import bdtr, bdtrc

from dpaudit.runtime import check
from dpaudit.runtime.errors import InputError

ChosenBy = Literal["coin", "split", "other"]
CHOSEN_BY: tuple[str, ...] = get_args(ChosenBy)
REFUTED = 1e-6  # a stated coin is refused when its data are rarer than this


@dataclass(frozen=True)
class Coins:
    """Each record, or each user, was a member by its own independent coin.

    Args:
        probability: of being a member, the same for all.
    """

    probability: float = 0.5
    kind: Literal["coin"] = "coin"

    def __post_init__(self) -> None:
        object.__setattr__(self, "probability", check.open_unit("probability of the coins", self.probability))


@dataclass(frozen=True)
class RandomSplit:
    """The members are a random set of a fixed size, as ``train_test_split`` draws it.

    Args:
        stated: False when nobody said how members were chosen, and this was taken as the weakest random choice.
    """

    stated: bool = True
    kind: Literal["split"] = "split"


@dataclass(frozen=True)
class NotRandom:
    """The members were chosen some other way: no bound on ε follows from the scores."""

    kind: Literal["other"] = "other"


MemberChoice = Coins | RandomSplit | NotRandom


def member_choice(chosen_by: str | None, probability: float | None = None) -> MemberChoice:
    """How members were chosen, from what the user said.

    Args:
        chosen_by: ``coin``, ``split`` or ``other``; None when nobody said.
        probability: of the coins; None is 1/2. Only coins have one.

    Raises:
        InputError: another word, or a probability that belongs to no coin.

    >>> member_choice("coin", 0.8), member_choice(None)
    (Coins(probability=0.8, kind='coin'), RandomSplit(stated=False, kind='split'))
    """
    if chosen_by is not None:
        check.one_of("chosen_by", chosen_by, CHOSEN_BY)
    if probability is not None and chosen_by != "coin":
        raise InputError("a probability belongs to coins: give chosen_by 'coin' with it.")
    if chosen_by == "coin":
        return Coins(0.5 if probability is None else probability)
    return NotRandom() if chosen_by == "other" else RandomSplit(stated=chosen_by == "split")


def refuse_other_coins(choice: MemberChoice, *, members: int, trials: int) -> None:
    """Refuse coins that the number of members refutes; right coins are refused once in a million audits.

    Args:
        choice: how members were chosen.
        members: how many records, or users, are members.
        trials: how many there are.

    Raises:
        InputError: so many members are rarer than one in a million under the stated coins.

    >>> refuse_other_coins(Coins(0.5), members=5050, trials=10000)
    >>> refuse_other_coins(Coins(0.5), members=8000, trials=10000)
    Traceback (most recent call last):
    ...
    dpaudit.runtime.errors.InputError: 8000 of 10000 are members, which coins of probability 0.5 do not give \
(p < 1e-06); give the probability of the coins, or chosen_by 'split' for a random split of fixed sizes.
    """
    if isinstance(choice, Coins) and _are_refuted(members, trials, choice.probability):
        raise InputError(
            f"{members} of {trials} are members, which coins of probability {choice.probability:g} do not give "
            f"(p < {REFUTED:g}); give the probability of the coins, or chosen_by 'split' for a random split of fixed "
            "sizes."
        )


def _are_refuted(members: int, trials: int, probability: float) -> bool:
    # The p-value is at least the tail that the members are in, and that takes no long import.
    if min(bdtr(members, trials, probability), bdtrc(members - 1, trials, probability)) >= REFUTED:
        return False
    from scipy.stats import binomtest

    return bool(binomtest(members, trials, probability).pvalue < REFUTED)
