"""What the audits of federated training found: of clients and users, of single updates, and of the training itself."""

from typing import Literal

from pydantic import BaseModel

from dpaudit.bounds.lower_bound import Estimate, LowerBound
from dpaudit.results.metric import Metric

UserView = Literal["final-model", "every-round", "releases"]


class CanaryResult(BaseModel):
    """What the canary clients of one model showed in one view; ``longest`` is the norm of their longest update."""

    model: str
    view: str
    canaries: int
    present: int
    dimension: int
    longest: float | None = None
    mean_cosine: float
    estimate: Estimate
    bound: LowerBound


class LiftedResult(BaseModel):
    """What the federations of one model showed: shares of canaries and of fresh directions above the threshold."""

    model: str
    federations: int
    canaries: int
    hits: float
    alarms: float
    bound: LowerBound


class CraftedResult(BaseModel):
    """One round of one model.

    ``overlap`` is the root mean square cosine of the canary with the mock clients' updates, ``noise_multiplier`` what
    the scores show of the noise, ``estimate`` the ε of the round when the canary takes part, and
    ``training_epsilon`` that of the whole training with as much noise; None where the training makes no claim.
    """

    model: str
    round: int
    draws: int
    took_part: int
    overlap: float
    noise_multiplier: float
    estimate: Estimate
    training_epsilon: float | None
    bound: LowerBound


class UserResult(BaseModel):
    """How well users are told from non-users in one view of one model."""

    model: str
    view: str
    references: int
    users: int
    members: int
    auc: float
    auc_standard_error: float
    bound: LowerBound


class SourceResult(BaseModel):
    """How often a training record was traced to its client; ``chance`` is guessing among the clients that took part."""

    model: str
    clients: int
    records: int
    accuracy: float
    standard_error: float
    chance: float


class PropertyResult(BaseModel):
    """How well clients rich in a class are told from the others by their updates."""

    model: str
    property_class: int
    clients: int
    holders: int
    auc: float
    auc_standard_error: float


class FairnessResult(BaseModel):
    """How good one model is for its clients, on records it was not trained on.

    ``metric`` is accuracy, mean squared error for a regression, or the loss per token of texts. ``gap`` is between the
    best and the worst client.
    """

    model: str
    metric: Metric
    clients: int
    overall: float
    mean: float
    best: float
    worst: float
    gap: float


class TrainingRound(BaseModel):
    """One round of a training: what was clipped, sent and spent so far."""

    number: int
    answered: int
    clip: float | None
    noise_multiplier: float | None
    epsilon: float | None
    kilobytes: float


class TrainingCourse(BaseModel):
    """The course of one training."""

    model: str
    rounds: list[TrainingRound]
    total_kilobytes: float
    given_up: int


class FederatedResult(BaseModel):
    """What the audits of federated models found."""

    canaries: list[CanaryResult] = []
    lifted: list[LiftedResult] = []
    crafted: list[CraftedResult] = []
    users: list[UserResult] = []
    sources: list[SourceResult] = []
    properties: list[PropertyResult] = []
    fairness: list[FairnessResult] = []
    courses: list[TrainingCourse] = []

    def bounds(self, model: str) -> list[LowerBound]:
        """Lower bounds on one model's ε."""
        measured: list[CanaryResult | LiftedResult | CraftedResult | UserResult] = [
            *self.canaries,
            *self.lifted,
            *self.crafted,
            *self.users,
        ]
        return [found.bound for found in measured if found.model == model]
