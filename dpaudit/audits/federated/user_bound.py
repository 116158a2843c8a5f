"""The one lower bound of the federated audits: coins about users in one run."""

from dpaudit.accounting.claim import Protection
from dpaudit.bounds.choosing import UnionGuesses
from dpaudit.bounds.lower_bound import LowerBound
from dpaudit.bounds.one_run import OneRun
from dpaudit.results.federated import UserResult, UserView
from dpaudit.scores.roc import Roc, auc_standard_error
from dpaudit.scores.scores import Scores


def shares(users: int) -> tuple[float, float]:
    """Shares of the users to guess, both paid for: a fifth, and all whom a perfect attack guesses right.

    The number that took part varies with a deviation of √n / 2: an attack that tells everybody apart, and guesses as
    many members as others, is wrong about nobody in 95 of 100 audits if it leaves two such deviations out on each side.

    >>> shares(400)
    (0.2, 0.9)
    """
    return (0.2, max(0.5, 1 - 2 / users**0.5))


def user_bound(scores: Scores, protection: Protection, confidence: float, *, seed: int) -> LowerBound:
    """Lower bound on ε for one user from scores of users (or canary clients) that took part by fair coins."""
    return OneRun(UnionGuesses(shares(len(scores)), seed=seed))(
        scores, delta=protection.delta, confidence=confidence, adjacency=protection.adjacency, unit="user"
    )


def user_result(name: str, view: UserView, scores: Scores, bound: LowerBound, *, references: int = 0) -> UserResult:
    """How well the scores of users tell members from non-members, beside the bound that follows from them."""
    return UserResult(
        model=name,
        view=view,
        references=references,
        users=len(scores),
        members=scores.member.size,
        auc=Roc.of(scores).auc,
        auc_standard_error=auc_standard_error(scores),
        bound=bound,
    )
