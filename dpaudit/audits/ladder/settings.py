"""What the rungs of the audit ladder are, what a plan says of them, and what each leaves in a result."""

import re
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from dpaudit.audits.plan_tables import is_changed
from dpaudit.bounds.lower_bound import Finding, LowerBound
from dpaudit.data.canaries import CanaryKind
from dpaudit.data.dataset import Dataset
from dpaudit.runtime.errors import InputError

Rung = Literal[0, 1, 2, 3, 4]
CanaryScore = Literal["loss", "lira", "rmia", "white-box", "decorrelated"]
ALL: tuple[Rung, ...] = (0, 1, 2, 3, 4)
BOUNDING: tuple[int, ...] = (2, 3, 4)
UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}
PILOT = 0.25  # share of the runs that choose the threshold when the others are judged one stack at a time
AT_A_TIME = 32  # runs trained together, and between two looks at whether the claim is refuted

# Rung -> (name, what it sees, what it cannot see).
RUNGS: dict[int, tuple[str, str, str]] = {
    0: ("reconcile", "a figure that does not follow from the mechanism, shuffling accounted as Poisson", "the code"),
    1: ("forensics", "wrong clipping, noise, seeds and denominators, without false alarms", "the data pipeline"),
    2: ("step canaries", "how much noise there really is, as ε", "the sampler and the data pipeline"),
    3: ("one run", "the whole training at once", "leaks too weak for the number of canaries"),
    4: ("many runs", "everything that one record changes in the final model", "leaks too weak for the number of runs"),
}


class LadderSettings(BaseModel):
    """``[ladder]``: which checks to run, and the sample size of each.

    ``steps`` and ``canaries_per_step`` belong to rung 2. In the one run of rung 3, ``canaries`` records of the kind
    ``canary`` are each included with probability 1/2. Rung 4 has ``runs`` trainings, each with one canary included
    with probability 1/2.

    ``score`` is how a canary is scored. ``loss``: its logit-scaled confidence. ``lira``, ``rmia``: its likelihood
    ratio among ``references`` more models, each trained with half of the canaries (rung 4 then takes the loss, for its
    runs are each other's references). ``white-box``: how far the weights moved along its gradient. ``decorrelated``:
    the same where gradients of canaries overlap, which it takes apart; it needs ``observe`` ``all-steps`` and plain
    gradient descent, and is strongest with ``sampling`` ``full`` (`dpaudit.audits.ladder.decorrelated`).

    Of texts, rung 3 audits the plan's ``[canaries]`` with ``score`` ``white-box`` or ``decorrelated``.

    ``observe`` is what the attack sees: the ``final`` model, or ``all-steps``. With ``start`` ``worst-case`` the runs
    of rung 4 start from a model trained on the population, where ordinary records have small gradients
    (`Annamalai and De Cristofaro (2024) <https://arxiv.org/abs/2405.14106>`_); with ``shared`` all start from the same
    random weights, which DP allows an attacker to know (their average case). With ``stop_early`` rung 4 stops as soon
    as the claim is contradicted.

    With ``budget``, such as ``2m``, the rungs, steps, canaries and runs given here are reduced to what fits into that
    time, counted from the start of the audit.

    With ``canary`` ``gradient`` the canaries of rung 3 are gradients along additional weights of their own, in a
    training with the plan's sampling, steps, clipping and noise (`dpaudit.audits.ladder.gradient_canaries`); their
    score is ``white-box``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    rungs: list[Rung] = Field(default=[0, 1, 2, 3], min_length=1)
    canary: CanaryKind | Literal["gradient"] = "mislabelled"
    canaries: int = Field(default=100, ge=10)
    steps: int = Field(default=300, ge=1)
    canaries_per_step: int = Field(default=32, ge=1)
    runs: int = Field(default=100, ge=20)
    score: CanaryScore = "loss"
    references: int = Field(default=0, ge=0)
    observe: Literal["final", "all-steps"] = "final"
    start: Literal["random", "shared", "worst-case"] = "random"
    stop_early: bool = False
    budget: str | None = None

    @field_validator("rungs")
    @classmethod
    def _each_once(cls, rungs: list[Rung]) -> list[Rung]:
        if len(set(rungs)) < len(rungs):
            raise ValueError(f"each rung once, got {rungs}")
        return sorted(rungs)

    @field_validator("budget")
    @classmethod
    def _a_time(cls, budget: str | None) -> str | None:
        if budget is not None:
            seconds(budget)
        return budget

    @model_validator(mode="before")
    @classmethod
    def _a_budget_chooses_among_all(cls, given: Any) -> Any:
        if isinstance(given, dict) and given.get("budget") is not None and "rungs" not in given:
            return {**given, "rungs": list(ALL)}
        return given

    @model_validator(mode="after")
    def _fit_together(self) -> "LadderSettings":
        by_reference = self.score in ("lira", "rmia")
        if by_reference and (self.references < 4 or self.references % 2):
            raise ValueError(f"score {self.score!r} needs references: an even number from 4 on")
        if self.references and not by_reference:
            raise ValueError(f"references are for the scores 'lira' and 'rmia', not for {self.score!r}")
        if by_reference and self.observe == "all-steps":
            raise ValueError(f"score {self.score!r} sees final models only; 'loss' and 'white-box' see all steps")
        if self.canary == "gradient" and (self.score != "white-box" or 4 in self.rungs):
            raise ValueError("canary 'gradient' is for rung 3 and the score 'white-box'; leave out rung 4")
        if self.score == "decorrelated" and (self.observe != "all-steps" or 4 in self.rungs):
            raise ValueError("score 'decorrelated' is for rung 3 and needs observe = \"all-steps\"; leave out rung 4")
        if 4 not in self.rungs and (self.start != "random" or self.stop_early):
            raise ValueError("start and stop_early are for rung 4, which is not among the rungs")
        if self.stop_early and self.budget is None and self.runs <= self.pilot:
            raise ValueError(f"stop_early needs more runs than the {self.pilot} of its pilot, got {self.runs}")
        return self

    @property
    def pilot(self) -> int:
        """Runs that choose the threshold with ``stop_early``; a budget gives rung 4 more than these, or nothing."""
        return max(AT_A_TIME, round(PILOT * self.runs))

    def sees(self, rung: int) -> str:
        """What a rung with these settings sees."""
        if rung == 3 and self.score == "decorrelated":
            return "the weights before and after every step, all other records, and the gradient of every canary"
        return RUNGS[rung][1]

    def refuse_texts(self, *, canaries: bool) -> None:
        """Refuse what the ladder has for records only.

        Raises:
            InputError: rung 4, a budget, canaries that are not those of the plan, or a score that texts do not have.
        """
        if 4 in self.rungs or self.budget is not None:
            raise InputError("[ladder] of texts has rungs 0 to 3 and no budget; name them in ladder.rungs.")
        if 3 not in self.rungs:
            return
        if not canaries or is_changed(self, "canary") or is_changed(self, "canaries"):
            raise InputError("rung 3 of texts audits the canaries of a table [canaries], not those of [ladder].")
        if self.score not in ("white-box", "decorrelated"):
            raise InputError(
                f"ladder.score = {self.score!r} is not for texts, whose final model [membership] audits; set "
                'score = "decorrelated" and observe = "all-steps", or leave out rung 3.'
            )

    def require_classes(self, dataset: Dataset) -> None:
        """Refuse records that no canary of the ladder is made from.

        Raises:
            InputError: they have no classes.
        """
        if dataset.task not in ("multiclass", "binary"):
            raise InputError(
                f"the canaries of the ladder need classes, and the task of {dataset.name} is {dataset.task}; leave out "
                "rungs 3 and 4."
            )

    @property
    def watches(self) -> bool:
        """Whether the steps of a training are looked at."""
        return self.score in ("white-box", "decorrelated") or self.observe == "all-steps"

    def bounds(self) -> int:
        """Lower bounds computed per model."""
        return sum(rung in BOUNDING for rung in self.rungs)


def seconds(budget: str) -> float:
    """A time such as ``90s``, ``2m`` or ``1.5h`` in seconds.

    >>> seconds("2m")
    120.0
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", budget)
    if found is None or float(found[1]) == 0:
        raise ValueError("must be a time such as 90s, 2m or 1.5h")
    return float(found[1]) * UNITS[found[2]]


@dataclass(frozen=True)
class RungFindings:
    """What a rung that ran gives to its `RungResult`."""

    findings: tuple[Finding, ...] = ()
    bound: LowerBound | None = None
    noise_multiplier: float | None = None
