"""How each kind of fault is inspected: the last argument seeds noise and canaries, the result is a `Detection`."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from dpaudit.accounting.claim import Adjacency, Claim, FixedSize, GaussianSteps, Poisson
from dpaudit.bounds.choosing import HeldOut
from dpaudit.bounds.clopper_pearson import ClopperPearson
from dpaudit.bounds.one_run import OneRun
from dpaudit.data.inclusion import fair_coins
from dpaudit.inspection.inspect import inspect_mechanism
from dpaudit.inspection.mechanism import Mechanism, Stated
from dpaudit.inspection.participation import reconcile_trace
from dpaudit.inspection.reconcile import Recipe, reconcile
from dpaudit.inspection.recorded import RecordedBatches
from dpaudit.inspection.server import inspect_server
from dpaudit.inspection.starts import check_starts
from dpaudit.inspection.step_canaries import StepCanaries
from dpaudit.runtime.check import BoolArray, FloatArray
from dpaudit.scores.scores import Scores
from dpaudit.self_test.faults import federated, pipelines, recorded_federations, trainings
from dpaudit.self_test.faults.dp_sgd import BreakableDpSgd
from dpaudit.self_test.faults.fault import DP_SGD_CLAIM, FEDERATED_CLAIM, Detection, first_violation
from dpaudit.self_test.faults.traces import TRACED
from dpaudit.trace import inspect_rounds

LEVEL = 1e-6  # family-wise, for rungs 0 to 2
CONFIDENCE = 0.95  # for rungs 3 and 4
RUNS = 1000


def mechanism(build: Callable[[int], Mechanism], seed: int, *, effort: float = 1.0) -> Detection:
    """Forensics on a mechanism that states what `BreakableDpSgd` states."""
    found = inspect_mechanism(build(seed), BreakableDpSgd().stated, seed=seed, level=LEVEL, effort=effort)
    return first_violation(found.findings, found.noise_multiplier)


def unusual(build: Callable[[int], tuple[Mechanism, Stated]], seed: int, *, effort: float = 1.0) -> Detection:
    """Forensics on a mechanism that comes with what it states."""
    subject, stated = build(seed)
    found = inspect_mechanism(subject, stated, seed=seed, level=LEVEL, effort=effort)
    return first_violation(found.findings, found.noise_multiplier)


def steps(build: Callable[[int], tuple[Mechanism, Stated]], count: int, seed: int) -> Detection:
    """Step canaries in ``count`` steps, against the noise that is stated."""
    subject, stated = build(seed)
    # One step on the whole data: what a step canary tests, before composition.
    once = GaussianSteps(stated.noise_multiplier, 1, Poisson(1.0))
    claim = replace(DP_SGD_CLAIM, adjacency=stated.adjacency, mechanism=once)
    audit = StepCanaries(steps=count)(subject, stated, claim, confidence=1 - LEVEL, seed=seed)
    return Detection("step canaries" if audit.p_value < LEVEL else "", audit.noise_multiplier)


def correlated_steps(
    build: Callable[[int], tuple[Mechanism, Stated]], claim: Claim, count: int, seed: int
) -> Detection:
    """Step canaries in ``count`` steps of correlated noise, against the claim of its law."""
    subject, stated = build(seed)
    stated = replace(stated, adjacency=claim.adjacency)
    audit = StepCanaries(steps=count)(subject, stated, claim, confidence=1 - LEVEL, seed=seed)
    return Detection("step canaries" if audit.p_value < LEVEL else "", audit.noise_multiplier)


def dp_sgd(seed: int, **parts: Any) -> tuple[Mechanism, Stated]:
    """`BreakableDpSgd` with some parts replaced, and what it states."""
    subject = BreakableDpSgd(seed=seed, **parts)
    return subject.mechanism(), subject.stated


def optimizer_steps(name: str, count: int, seed: int) -> Detection:
    """Step canaries on an optimizer of `dpaudit.self_test.faults.tf_privacy`."""
    from dpaudit.self_test.faults import tf_privacy

    subject = tf_privacy.mechanism(getattr(tf_privacy, name), seed=seed)
    return steps(lambda _: (subject, tf_privacy.STATED), count, seed)


def stacked_steps(count: int, seed: int) -> Detection:
    """Step canaries on the stacked engine's own step."""
    from dpaudit.inspection.engine_step import stacked_step

    step = stacked_step(clip=2.0, noise_multiplier=1.0, denominator=16, batch_size=33, seed=100_000 * seed)
    return steps(lambda _: (step, Stated(2.0, 1.0, 16.0, "zero-out")), count, seed)


def server(flags: dict[str, Any], seed: int, *, effort: float = 1.0) -> Detection:
    """Forensics on a federated server with these flags."""
    stated = federated.FedAvg(np.random.default_rng(0)).stated
    found = inspect_server(federated.server(seed, **flags), stated, seed=seed, level=LEVEL, effort=effort)
    return first_violation(found.findings, found.noise_multiplier)


def optimizer(name: str, observe: float | None, seed: int, *, effort: float = 1.0) -> Detection:
    """Checks of an optimizer of `tf_privacy`; ``observe``: learning rate of the update that is read."""
    from dpaudit.self_test.faults import tf_privacy

    subject = tf_privacy.mechanism(getattr(tf_privacy, name), seed=seed, learning_rate=observe)
    found = inspect_mechanism(subject, tf_privacy.STATED, seed=seed, level=LEVEL, effort=effort)
    return first_violation(found.findings, found.noise_multiplier)


def stacked(clip: float, noise_multiplier: float, seed: int, *, effort: float = 1.0) -> Detection:
    """The stacked engine's own step against a clip norm of 2 and a noise multiplier of 1."""
    from dpaudit.inspection.engine_step import stacked_step

    # A mechanism of its own for each seed: the first call's seed is far from those of other inspections.
    step = stacked_step(clip=clip, noise_multiplier=noise_multiplier, denominator=16, seed=100_000 * seed)
    found = inspect_mechanism(step, Stated(2.0, 1.0, 16.0, "zero-out"), seed=seed, level=LEVEL, effort=effort)
    return first_violation(found.findings, found.noise_multiplier)


def model(name: str, seed: int) -> Detection:
    """A Keras model of `dpaudit.self_test.faults.tf_privacy`."""
    from dpaudit.self_test.faults import tf_privacy

    return first_violation(getattr(tf_privacy, name)(seed))


def recipe(claim: Claim, followed: Recipe, _: int) -> Detection:
    """A claim against the recipe that was followed."""
    return first_violation(reconcile(claim, followed))


def trace(
    draw: Callable[[np.random.Generator], RecordedBatches], seed: int, *, assumed: GaussianSteps = TRACED
) -> Detection:
    """A trace against the sampling that was accounted."""
    adjacency: Adjacency = "replace-one" if isinstance(assumed.sampling, FixedSize) else "add-remove"
    claim = replace(DP_SGD_CLAIM, adjacency=adjacency, mechanism=assumed)
    return first_violation(reconcile_trace(assumed, draw(np.random.default_rng(seed)), level=LEVEL, claim=claim))


def federation(parts: dict[str, Any], seed: int) -> Detection:
    """A recorded federation against its own claim."""
    return first_violation(inspect_rounds(recorded_federations.federation(np.random.default_rng(seed), **parts)))


def rounds(flags: dict[str, Any], count: int, seed: int) -> Detection:
    """Canary clients in ``count`` rounds of a federated server with these flags."""
    stated = federated.FedAvg(np.random.default_rng(0)).stated
    subject = federated.server(seed, **flags)
    canaries = StepCanaries(steps=count, canaries=subject.canaries)
    audit = canaries(subject.canary_rounds(stated.clip), stated, FEDERATED_CLAIM, confidence=1 - LEVEL, seed=seed)
    return Detection("step canaries" if audit.p_value < LEVEL else "", audit.noise_multiplier)


def training(train: Callable[[BoolArray, int], FloatArray], seed: int) -> Detection:
    """Canaries behind coins in one training, the threshold chosen on half of them."""
    coins = fair_coins(trainings.CANARIES, seed=seed)
    bound = OneRun(HeldOut(seed, 0.5))(
        Scores.join(train(coins, seed), coins),
        delta=trainings.DELTA,
        confidence=CONFIDENCE,
        adjacency="add-remove",
        unit="record",
    )
    return Detection("one run" if bound.epsilon > trainings.CLAIMED else "", epsilon=bound.epsilon)


def pipeline(publish: Callable[[bool, int], float], seed: int) -> Detection:
    """Many runs of a pipeline with and without one record."""
    coins = fair_coins(RUNS, seed=seed)
    scores = Scores.join([publish(bool(coin), seed * RUNS + run) for run, coin in enumerate(coins)], coins)
    bound = ClopperPearson(HeldOut(seed))(
        scores, delta=pipelines.DELTA, confidence=CONFIDENCE, adjacency="add-remove", unit="record"
    )
    return Detection("many runs" if bound.epsilon > pipelines.CLAIMED else "", epsilon=bound.epsilon)


def starts(name: str, count: int, seed: int) -> Detection:
    """So many starts of a factory of `dpaudit.self_test.faults.started`."""
    factory = f"dpaudit.self_test.faults.started:{name}"
    findings, _ = check_starts(factory, BreakableDpSgd().stated, starts=count, seed=seed, level=LEVEL)
    return first_violation(findings)
