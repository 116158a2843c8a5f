"""What unlearning leaves: how well records that were forgotten are told from records that were never there."""

from typing import Literal

from pydantic import BaseModel, Field, model_validator

from dpaudit.bounds.lower_bound import LowerBound
from dpaudit.results.membership import AttackResult
from dpaudit.scores.vulnerable_records import Exposed

UnlearningStateName = Literal["before", "after", "retrained"]


class UnlearningState(BaseModel):
    """Models in one state: ``before`` unlearning, ``after`` it, or ``retrained`` without what was to be forgotten.

    Args:
        state: which.
        attack: U-LiRA on all records and models that are judged together: members are records that the model was
            trained on before; its bound is on the ε between them and records that were never there.
        quality: mean of the judged models on the population: accuracy, or mean squared error.
        exposed: records whose trace shows in the references of this state, by row number in the source of the data.
    """

    state: UnlearningStateName
    attack: AttackResult
    quality: float
    exposed: Exposed


class UnlearnedModel(BaseModel):
    """The models like one of the plan.

    Args:
        model: whose recipe they were trained by.
        stacked: whether the stacked engine trained them, though it did not train that model.
        states: before, after, and retrained where that is not the method.
    """

    model: str
    stacked: bool
    states: list[UnlearningState] = Field(min_length=2, max_length=3)

    @model_validator(mode="after")
    def _in_order(self) -> "UnlearnedModel":
        if [each.state for each in self.states] != ["before", "after", "retrained"][: len(self.states)]:
            raise ValueError("states must be before, after and perhaps retrained, in this order")
        return self

    @property
    def subject(self) -> str:
        """What the verdict is about."""
        return unlearning_from(self.model)

    @property
    def after(self) -> UnlearningState:
        """What the claim is about."""
        return self.states[1]


class UnlearningResult(BaseModel):
    """What ``[unlearning]`` found.

    Args:
        method: of unlearning, as in the plan.
        epsilon: the claimed ε; None without a claim.
        forgotten: records that each model held with probability 1/2 and was then made to forget.
        rest: records that every model was trained on and kept.
        references: models that the attack learned from.
        models: models that it was judged on.
        metric: of ``quality``.
        found: one entry for each model of the plan.
    """

    method: str
    epsilon: float | None
    forgotten: int
    rest: int
    references: int
    models: int
    metric: str
    found: list[UnlearnedModel]

    def bounds(self, model: str) -> list[LowerBound]:
        """The lower bound on what the method leaves, under the name of its verdict; the models' own claims it spares.

        A model's claim is about its training, and unlearning comes after that.
        """
        bounds = (each.after.attack.bound for each in self.found if each.subject == model)
        return [bound for bound in bounds if bound is not None]

    def of(self, model: str) -> UnlearnedModel | None:
        """What was found of one model of the plan; None where there is none of that name."""
        return next((each for each in self.found if each.model == model), None)


def unlearning_from(model: str) -> str:
    """What a verdict on unlearning is about.

    >>> unlearning_from("mlp")
    'unlearning from mlp'
    """
    return f"unlearning from {model}"
