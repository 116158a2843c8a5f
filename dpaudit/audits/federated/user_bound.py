"""The one lower bound of the federated audits: coins about users in one run."""

from dpaudit.accounting.claim import Adjacency
from dpaudit.bounds.choosing import UnionGuesses
from dpaudit.bounds.lower_bound import LowerBound
from dpaudit.bounds.one_run import OneRun
from dpaudit.scores.scores import Scores

SHARES = (0.2, 1.0)  # of the canaries or users to guess; both are paid for


def user_bound(scores: Scores, *, delta: float, confidence: float, adjacency: Adjacency, seed: int) -> LowerBound:
    """Lower bound on ε for one user from scores of users (or canary clients) that took part by fair coins."""
    return OneRun(UnionGuesses(SHARES, seed=seed))(
        scores, delta=delta, confidence=confidence, adjacency=adjacency, unit="user"
    )
