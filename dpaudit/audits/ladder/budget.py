"""Which rungs, and how hard to look on each, when there is only so much time: chosen by power, before any score.

Rung by rung, the cheapest and most certain first. A rung gets what it needs to contradict a true ε of `GOAL` times the
claim with probability `POWER`, or as much of that as the time left allows; it is left out where it could contradict
nothing. Power is that of an attack that sees all that leaks (`dpaudit.bounds.power`), so a rung can do worse, not
better.
"""

import math
import time
from collections.abc import Iterator
from functools import partial

import numpy as np
from pydantic import BaseModel

from dpaudit.accounting.claim import Claim
from dpaudit.audits.audit import Audit, Subject
from dpaudit.audits.ladder.settings import LadderSettings
from dpaudit.bounds.lower_bound import Skipped
from dpaudit.bounds.power import DEFAULTS, visible
from dpaudit.bounds.power_methods import Access
from dpaudit.bounds.step_canary_power import visible_to_steps
from dpaudit.inspection.mechanism import Mechanism
from dpaudit.inspection.step_canaries import PILOT as PILOT_STEPS
from dpaudit.results.ladder import BudgetChoice
from dpaudit.runtime.took import timed
from dpaudit.training.on_engine import on_engine
from dpaudit.training.reference_models.pool import Pool

GOAL, POWER = 1.25, 0.8
QUESTIONS = 250  # that forensics asks a mechanism, about
START = 5.0  # seconds until a program is compiled
STEPS = (50, 100, 200, 400, 800, 1600, 3200)
CANARIES = (50, 100, 200, 400, 800, 1600, 3200)
RUNS = (50, 100, 200, 400, 800, 1600, 3200, 6400)
SHARE_OF_STEPS = 0.5  # of the time left that rung 2 may take
SHARE_OF_RECORDS = 0.2  # canaries over training records, beyond which they crowd each other out


class Allotment(BaseModel):
    """What a budget gave one model: the settings it is audited with, and which of their rungs are climbed and why."""

    settings: LadderSettings
    choices: list[BudgetChoice]


def allot_budget(
    settings: LadderSettings, audit: Audit, subject: Subject, mechanism: Mechanism | Skipped, left: float
) -> Allotment:
    """Choose rungs, steps, canaries and runs for one model.

    Args:
        settings: what the plan says; only its rungs are chosen from.
        audit: with the level of each bound.
        subject: the model; its trainer is timed where its speed cannot be predicted, its scores are not looked at.
        mechanism: of its steps; why there is none where its gradients cannot be chosen.
        left: seconds.
    """
    chosen: dict[str, int] = {}
    choices: list[BudgetChoice] = []
    per_question = 0.0 if isinstance(mechanism, Skipped) or left <= 0 else seconds_per_question(mechanism)
    training: float | None = None
    for rung in settings.rungs:
        if rung in (3, 4) and training is None and left > 0:
            begin = time.monotonic()
            training = seconds_per_training(audit, subject)
            left -= time.monotonic() - begin
        match rung:
            case 0:
                choice = _always(0, "the recipe", 0.0, "it is instant")
            case 1:
                choice = _always(1, "all checks", QUESTIONS * per_question, "it has no false alarms")
            case 2:
                offers = _steps(settings, audit, subject, per_question)
                none = "it adds no noise, so there is none to measure" if left > 0 else "no time is left for it"
                none = mechanism.reason if isinstance(mechanism, Skipped) else none
                choice = _best(2, "steps", offers, SHARE_OF_STEPS * left, subject.claim, chosen, none)
            case 3:
                offers = _canaries(settings, audit, subject, START + (training or 0.0))
                none = f"there are too few records for {CANARIES[0]} canaries"
                choice = _best(3, "canaries", offers, left, subject.claim, chosen, none)
            case _:
                offers = _runs(audit, subject, training or 0.0)
                choice = _best(4, "runs", offers, left, subject.claim, chosen, "nothing can be trained")
        if choice.chosen:
            left -= choice.seconds
        choices.append(choice)
    return Allotment(settings=settings.model_copy(update=chosen), choices=choices)


Offer = tuple[int, float, float]  # amount, seconds, smallest ε that is visible


def _always(rung: int, amount: str, seconds: float, reason: str) -> BudgetChoice:
    return BudgetChoice(rung=rung, chosen=True, amount=amount, seconds=round(seconds, 1), visible=None, reason=reason)


def _best(
    rung: int,
    what: str,
    offers: Iterator[Offer],
    seconds: float,
    claim: Claim | None,
    chosen: dict[str, int],
    none: str,
) -> BudgetChoice:
    """The first offer that reaches the goal, else the best that fits the time; ``none`` says why there is no offer."""
    if claim is None or math.isinf(claim.epsilon):
        return BudgetChoice(rung=rung, chosen=False, amount="", seconds=0.0, visible=None, reason="nothing is claimed")
    best: Offer | None = None
    why = none
    for offer in offers:
        amount, cost, least = offer
        if cost > seconds:
            if why == none:
                why = f"its smallest amount takes about {cost:.0f} s, and {max(seconds, 0.0):.0f} s are left for it"
            break
        if math.isinf(least):
            why = f"{amount} {what} fit, and no leak, however large, would contradict ε = {claim.epsilon:.3g} on them"
            continue
        if best is None or least < best[2]:
            best = offer
        if least <= GOAL * claim.epsilon:
            break
    if best is None:
        return BudgetChoice(rung=rung, chosen=False, amount="", seconds=0.0, visible=None, reason=why)
    amount, cost, least = best
    chosen[what] = amount
    enough = least <= GOAL * claim.epsilon
    return BudgetChoice(
        rung=rung,
        chosen=True,
        amount=f"{amount} {what}",
        seconds=round(cost, 1),
        visible=round(least, 3),
        reason=f"enough for {GOAL:g} times the claim" if enough else "the most the time and the data allow",
    )


def _steps(settings: LadderSettings, audit: Audit, subject: Subject, per_question: float) -> Iterator[Offer]:
    """Steps of rung 2, where there is a mechanism to ask."""
    claim = subject.claim
    if per_question == 0 or claim is None or claim.mechanism is None or claim.mechanism.noise_multiplier == 0:
        return
    for steps in STEPS:
        trials = steps * settings.canaries_per_step
        least = visible_to_steps(claim, trials, 1 - audit.confidence, power=POWER)
        yield steps, (steps + PILOT_STEPS) * per_question, least


def _canaries(settings: LadderSettings, audit: Audit, subject: Subject, seconds: float) -> Iterator[Offer]:
    """Canaries of rung 3: all cost one training, and one more for each reference."""
    source = len(audit.population) // (2 if settings.canary == "found" else 1)
    most = min(source, int(SHARE_OF_RECORDS * audit.member.sum()))
    trainings = 1 + settings.references + (settings.canary == "found")
    for canaries in (count for count in CANARIES if count <= most):
        yield canaries, trainings * seconds, _visible("one-run", canaries, audit, subject)


def _runs(audit: Audit, subject: Subject, training: float) -> Iterator[Offer]:
    """Runs of rung 4."""
    for runs in RUNS:
        yield runs, START + runs * training, _visible("runs", runs, audit, subject)


def _visible(access: Access, trials: int, audit: Audit, subject: Subject) -> float:
    assert subject.claim is not None
    terms = {"claimed": subject.claim.epsilon, "delta": audit.delta, "confidence": audit.confidence, "power": POWER}
    return visible(DEFAULTS[access], trials, **terms)


def seconds_per_question(mechanism: Mechanism) -> float:
    """Of one call of a mechanism on a batch with nothing in it, after one to warm up."""
    ask_nothing(mechanism, 1)
    return max(timed(partial(ask_nothing, mechanism, 3)).wall / 3, 1e-6)


def ask_nothing(mechanism: Mechanism, questions: int) -> None:
    """Ask a mechanism about a batch with nothing in it, to see how long it takes."""
    nothing = [np.zeros((mechanism.batch_size, *shape)) for shape in mechanism.shapes]
    for _ in range(questions):
        mechanism.release(nothing)


def seconds_per_training(audit: Audit, subject: Subject) -> float:
    """Predicted from what the network costs where many train at once; else of one training, which is timed."""
    trainer = on_engine(subject.trainer, audit.dataset)
    if not isinstance(trainer, Skipped):
        pool = Pool(trainer, audit.dataset, audit.member[None], None, 0, audit.folder, audit.memory)
        predicted = pool.cost().took
        assert predicted is not None
        return predicted.wall
    begin = time.monotonic()
    subject.trainer(audit.dataset, audit.member, seed=audit.seed_for("timing", subject.name))
    return time.monotonic() - begin
