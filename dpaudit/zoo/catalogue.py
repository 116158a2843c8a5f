"""Every animal of the zoo, and the right mechanisms that must not be mistaken for one."""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from dpaudit.bounds.clopper_pearson import ClopperPearson
from dpaudit.bounds.selection import HeldOut
from dpaudit.claim import Claim, FixedSize, GaussianSteps, Poisson
from dpaudit.data.inclusion import fair_coins
from dpaudit.forensics.federated import inspect_server
from dpaudit.forensics.inspection import Inspection, inspect_mechanism
from dpaudit.forensics.mechanism import Mechanism, Stated
from dpaudit.forensics.participation import Trace, reconcile_trace
from dpaudit.forensics.reconcile import Recipe, reconcile
from dpaudit.forensics.step_canaries import StepCanaries
from dpaudit.scores import Scores
from dpaudit.zoo import dp_sgd, federated, pipelines
from dpaudit.zoo.dp_sgd import DpSgd
from dpaudit.zoo.fault import DP_SGD_CLAIM, FEDERATED_CLAIM, Fault, Seen, first_violation

LEVEL = 1e-6  # family-wise, for rungs 0 to 2
CONFIDENCE = 0.95  # for rungs 3 and 4
RUNS = 1000
ROOT2, ROOT3 = math.sqrt(2), math.sqrt(3)


def _mechanism(build: Callable[[int], DpSgd], seed: int) -> Seen:
    subject = build(seed)
    found = inspect_mechanism(subject.mechanism(), subject.stated, seed=seed, level=LEVEL)
    return first_violation(found.findings, found.noise_multiplier)


def _state(build: Callable[[int], Mechanism], seed: int) -> Seen:
    found = inspect_mechanism(build(seed), DpSgd().stated, seed=seed, level=LEVEL)
    return first_violation(found.findings, found.noise_multiplier)


def _steps(build: Callable[[int], DpSgd], steps: int, seed: int) -> Seen:
    subject = build(seed)
    audit = StepCanaries(steps=steps)(
        subject.mechanism(), subject.stated, _one_step(subject), confidence=1 - LEVEL, seed=seed
    )
    return Seen("step canaries" if audit.p_value < LEVEL else "", audit.noise_multiplier)


def _one_step(subject: DpSgd) -> Claim:
    """The claim for one step on the whole data: what a step canary tests, before composition."""
    one = GaussianSteps(subject.noise_multiplier, 1, Poisson(1.0))
    return replace(DP_SGD_CLAIM, mechanism=one)


def _server(flags: dict[str, Any], seed: int) -> Seen:
    stated = federated.FedAvg(np.random.default_rng(0)).stated
    found = inspect_server(federated.server(seed, **flags), stated, seed=seed, level=LEVEL)
    return first_violation(found.findings, found.noise_multiplier)


def _optimizer(name: str, observe: float | None, seed: int) -> Seen:
    from dpaudit.zoo import tf_privacy

    subject = tf_privacy.mechanism(getattr(tf_privacy, name), seed=seed, learning_rate=observe)
    found = inspect_mechanism(subject, tf_privacy.STATED, seed=seed, level=LEVEL)
    return first_violation(found.findings, found.noise_multiplier)


def _stacked(clip: float, noise_multiplier: float, seed: int) -> Seen:
    found = _inspect_stacked(seed, clip=clip, noise_multiplier=noise_multiplier)
    return first_violation(found.findings, found.noise_multiplier)


def _model(name: str, seed: int) -> Seen:
    from dpaudit.zoo import tf_privacy

    return first_violation(getattr(tf_privacy, name)(seed))


def _recipe(claim: Claim, recipe: Recipe, seed: int) -> Seen:
    return first_violation(reconcile(claim, recipe))


def _trace(draw: Callable[[np.random.Generator], Trace], seed: int) -> Seen:
    return first_violation(reconcile_trace(TRACED, draw(np.random.default_rng(seed)), level=LEVEL))


def _pipeline(publish: Callable[[bool, int], float], seed: int) -> Seen:
    coins = fair_coins(RUNS, seed=seed)
    scores = Scores.join([publish(bool(coin), seed * RUNS + run) for run, coin in enumerate(coins)], coins)
    bound = ClopperPearson(HeldOut(seed))(
        scores, delta=pipelines.DELTA, confidence=CONFIDENCE, adjacency="add-remove", unit="record"
    )
    return Seen("many runs" if bound.epsilon > pipelines.CLAIMED else "", epsilon=bound.epsilon)


RECIPE = Recipe(records=60_000, batch_size=600, steps=1000, clip=2.0, noise=2.0)
TRACED = GaussianSteps(1.0, 200, Poisson(0.05))
TRACED_RECORDS = 1000


def poisson_trace(rng: np.random.Generator, rate: float = 0.05) -> Trace:
    """Batches by independent coins, as accounted."""
    batches = [np.flatnonzero(rng.random(TRACED_RECORDS) < rate) for _ in range(TRACED.steps)]
    return Trace(TRACED_RECORDS, batches, noise_draws=TRACED.steps, accounted_steps=TRACED.steps)


def _shuffled_trace(rng: np.random.Generator) -> Trace:
    return Trace(TRACED_RECORDS, [p for _ in range(10) for p in np.split(rng.permutation(TRACED_RECORDS), 20)])


def _fixed_trace(rng: np.random.Generator) -> Trace:
    return Trace(TRACED_RECORDS, np.split(rng.permutation(TRACED_RECORDS), 20) * 10)


def _wrong_rate_trace(rng: np.random.Generator) -> Trace:
    return poisson_trace(rng, rate=0.1)


def _truncated_trace(rng: np.random.Generator) -> Trace:
    drawn = poisson_trace(rng, rate=0.052)
    return Trace(TRACED_RECORDS, [batch[batch < 960] for batch in drawn.batches])


def _resumed_trace(rng: np.random.Generator) -> Trace:
    return replace(poisson_trace(rng), accounted_steps=TRACED.steps // 2)


def _noise_per_accumulation_trace(rng: np.random.Generator) -> Trace:
    return replace(poisson_trace(rng), noise_draws=TRACED.steps // 4)


def _part(name: str, fault_noise: float | None, kind: str, epsilon: float | None = None) -> Fault:
    part = getattr(dp_sgd, name)
    return Fault(
        name=name.replace("_", " "),
        fault=part.__doc__.split("\n")[0],
        subject="DP-SGD",
        rung=1,
        hunt=partial(_mechanism, lambda seed: DpSgd(seed=seed, **{kind: part})),
        claim=DP_SGD_CLAIM,
        noise_multiplier=fault_noise,
        epsilon=epsilon,
    )


def _recipe_fault(name: str, fault: str, claim: Claim = DP_SGD_CLAIM, **changes: Any) -> Fault:
    recipe = replace(RECIPE, **changes)
    return Fault(name, fault, "recipe", 0, partial(_recipe, claim, recipe), claim)


def _trace_fault(name: str, fault: str, draw: Callable[[np.random.Generator], Trace]) -> Fault:
    claim = replace(DP_SGD_CLAIM, epsilon=4.13, mechanism=TRACED)
    return Fault(name, fault, "trace", 0, partial(_trace, draw), claim)


def _server_fault(name: str, words: str, noise: float | None, **flags: Any) -> Fault:
    return Fault(name, words, "DP-FedAvg", 1, partial(_server, flags), FEDERATED_CLAIM, noise)


def _optimizer_fault(name: str, noise: float | None, observe: float | None = None) -> Fault:
    words = name.replace("_", " ")
    fault = _FAULTS_OF_OPTIMIZERS[name]
    hunt = partial(_optimizer, name, observe)
    return Fault(words, fault, "TensorFlow Privacy", 1, hunt, DP_SGD_CLAIM, noise, tensorflow=True)


def _pipeline_fault(name: str, fault: str) -> Fault:
    claim = Claim(pipelines.CLAIMED, pipelines.DELTA, "record", "add-remove", "one Gaussian sum")
    hunt = partial(_pipeline, getattr(pipelines, name.replace(" ", "_")))
    return Fault(name, fault, "pipeline", 4, hunt, claim, epsilon=math.inf)


def _slightly_quiet(mechanism: DpSgd, sums: list[Any]) -> list[Any]:
    return [s + mechanism.rng.normal(0.0, 0.92 * mechanism.scale, s.shape) for s in sums]


_FAULTS_OF_OPTIMIZERS = {
    "one_microbatch": "The mean of the batch is clipped (num_microbatches=1).",
    "four_in_a_microbatch": "Means of four examples are clipped, by the vectorized optimizer.",
    "query_without_clip_norm": "The noise multiplier is handed to the query as its standard deviation.",
    "query_that_never_clips": "A clip norm of a million, with the noise for the one that is stated.",
    "bypassed": "The DP optimizer is built, and a plain one is used.",
    "noise_in_the_update": "Noise is added in the update, multiplied by the learning rate a second time.",
}

_CLASSICAL = Claim(9.689, 1e-5, "record", "add-remove", "σ = √(2 ln(1.25/δ))/ε", GaussianSteps(0.5, 1, Poisson(1.0)))

RUNG_0 = (
    _recipe_fault("wrong rate", "The batch over all workers is twice the one accounted.", batch_size=1200),
    _recipe_fault("subset size", "The accountant is given the whole data, training uses a quarter.", records=15_000),
    _recipe_fault(
        "epochs as steps",
        "Ten epochs are accounted as ten steps.",
        replace(DP_SGD_CLAIM, epsilon=0.38, mechanism=GaussianSteps(1.0, 10, Poisson(0.01))),
    ),
    _recipe_fault("noise for another clip", "Noise σ for a clip norm of 2.", noise=1.0),
    _recipe_fault("noise divided twice", "Noise is divided by the batch before the mean is taken.", noise=2.0 / 600),
    _recipe_fault("shuffled as Poisson", "Shuffled batches are accounted as Poisson.", batches="shuffled"),
    _recipe_fault("fixed as Poisson", "One partition, never shuffled, is accounted as Poisson.", batches="fixed-order"),
    _recipe_fault(
        "clipped microbatches", "Means of four examples are clipped; sensitivity is 2C.", examples_per_clip=4
    ),
    _recipe_fault(
        "noise per accumulation",
        "Four accumulated batches, each with noise, accounted as one step.",
        accumulation=4,
    ),
    _recipe_fault(
        "adjacency",
        "The figure for added or removed records is claimed for replaced ones.",
        replace(DP_SGD_CLAIM, epsilon=1.828, adjacency="replace-one"),
    ),
    _recipe_fault(
        "fixed size, add-remove",
        "Batches of fixed size are claimed under add-remove adjacency.",
        replace(DP_SGD_CLAIM, mechanism=GaussianSteps(1.0, 1000, FixedSize(600, 60_000))),
        batches="fixed-size",
    ),
    _recipe_fault(
        "classical Gaussian",
        "The classical formula is used above ε = 1.",
        _CLASSICAL,
        batch_size=60_000,
        steps=1,
        noise=1.0,
    ),
    _recipe_fault(
        "central limit",
        "ε from the central limit theorem, below the truth in the tail.",
        replace(DP_SGD_CLAIM, epsilon=1.6),
    ),
    _recipe_fault(
        "records for users",
        "Record-level accounting, claimed for users with any number of records.",
        replace(DP_SGD_CLAIM, unit="user"),
        records_per_user=None,
    ),
    _trace_fault("trace: shuffled", "Every record once an epoch, accounted as Poisson.", _shuffled_trace),
    _trace_fault("trace: fixed batches", "The same partition in every epoch.", _fixed_trace),
    _trace_fault("trace: wrong rate", "Batches twice as large as accounted.", _wrong_rate_trace),
    _trace_fault("trace: dropped remainder", "Some records are never drawn.", _truncated_trace),
    _trace_fault("trace: accountant reset", "A resume sets the accountant back to zero.", _resumed_trace),
    _trace_fault("trace: noise draws", "Noise at one update in four.", _noise_per_accumulation_trace),
)

RUNG_1 = (
    _part("no_clip", 0.0, "clip"),
    _part("clip_each_variable", 1 / ROOT3, "clip"),
    _part("clip_values", 1 / math.sqrt(272), "clip"),
    _part("clip_the_mean", 0.5, "clip"),
    _part("clip_small_means", 0.5, "clip"),
    _part("clip_by_comparison", 0.0, "clip"),
    _part("clip_largest_variable", 1 / ROOT3, "clip"),
    _part("standardised_batch", None, "clip"),
    _part("noise_without_clip_norm", 0.5, "noise"),
    _part("noise_missing_on_one_variable", 0.0, "noise"),
    _part("noise_of_a_frozen_seed", 0.0, "noise"),
    _part("noise_of_one_key", 0.0, "noise"),
    _part("noise_of_one_replica_in_two", 1 / ROOT2, "noise"),
    _part("noise_divided_by_replicas", 1 / math.sqrt(8), "noise"),
    _part("noise_broadcast", 0.0, "noise"),
    _part("noise_when_there_is_something", 0.0, "noise"),
    _part("noise_that_is_uniform", None, "noise", math.inf),
    _part("noise_times_learning_rate", 0.1, "noise"),
    _part("noise_for_the_mean", 1 / 32, "noise"),
    _part("noise_on_some_coordinates", 0.0, "noise"),
    _part("divide_by_actual_batch", None, "divide"),
    _part("skip_empty_batches", None, "divide"),
    Fault(
        "raw momentum",
        "A momentum is computed before clipping and noise, and published.",
        "DP-SGD",
        1,
        partial(_state, dp_sgd.raw_average()),
        DP_SGD_CLAIM,
        epsilon=math.inf,
    ),
    _server_fault(
        "weighted clients", "Updates are weighted by examples, noise is for equal weights.", 0.1, fault="weighted"
    ),
    _server_fault(
        "drop-outs",
        "Divided by the clients that answered, noise for those planned; half drop out.",
        0.5,
        fault="divide_by_present",
    ),
    _server_fault(
        "lost noise shares", "Clients that drop out take their noise along; half do.", 1 / ROOT2, fault="noise_shares"
    ),
    _server_fault("clip each array", "Each array of an update is clipped at C.", 1 / ROOT3, fault="clip_each_array"),
    _server_fault("clip after averaging", "The average is clipped, not the updates.", 1 / 64, fault="clip_model"),
    _server_fault(
        "stale clip",
        "The clip adapts, the noise is for the first one; the clip grew tenfold.",
        0.1,
        adapt=0.2,
        stale=True,
    ),
    _server_fault("clip with its sign turned", "The clip runs away from its quantile.", None, adapt=-0.2),
    Fault(
        "another clip norm",
        "The trainer clips at 4 and adds the noise for 2.",
        "stacked engine",
        1,
        partial(_stacked, 4.0, 0.5),
        DP_SGD_CLAIM,
        0.5,
        tensorflow=True,
    ),
    Fault(
        "noise of a test run",
        "The noise multiplier of a quick test run is left in.",
        "stacked engine",
        1,
        partial(_stacked, 2.0, 0.1),
        DP_SGD_CLAIM,
        0.1,
        tensorflow=True,
    ),
    _optimizer_fault("one_microbatch", 0.5),
    _optimizer_fault("four_in_a_microbatch", 0.5),
    _optimizer_fault("query_without_clip_norm", 0.5),
    _optimizer_fault("query_that_never_clips", 0.0),
    _optimizer_fault("bypassed", 0.0),
    _optimizer_fault("noise_in_the_update", 0.5, observe=0.5),
    *(
        Fault(
            name.replace("_", " "),
            fault,
            "Keras model",
            1,
            partial(_model, name),
            DP_SGD_CLAIM,
            epsilon=math.inf,
            tensorflow=True,
        )
        for name, fault in (
            ("batch_normalisation", "Batch normalisation under DP-SGD."),
            ("moving_average_of_inputs", "A layer keeps a moving average of its inputs."),
        )
    ),
)

RUNG_2 = (
    Fault(
        "noise 8 % too small",
        "A noise multiplier that lost its last digit on the way.",
        "DP-SGD",
        2,
        partial(_steps, lambda seed: DpSgd(seed=seed, noise=_slightly_quiet), 1500),
        DP_SGD_CLAIM,
        noise_multiplier=0.92,
    ),
)

RUNG_4 = (
    _pipeline_fault("private vocabulary", "The vocabulary is read off the private texts."),
    _pipeline_fault("private normalisation", "Features are divided by their private maximum."),
    _pipeline_fault("private early stopping", "Training stops by the exact loss on private data."),
    _pipeline_fault("private selection", "The best of three models is chosen by an exact private score."),
)

FAULTS: tuple[Fault, ...] = (*RUNG_0, *RUNG_1, *RUNG_2, *RUNG_4)


def _right_mechanism(build: Callable[[int], Mechanism], seed: int) -> Seen:
    found = inspect_mechanism(build(seed), DpSgd().stated, seed=seed, level=LEVEL)
    return first_violation(found.findings, found.noise_multiplier)


def _right_stacked(seed: int) -> Seen:
    found = _inspect_stacked(seed, clip=2.0, noise_multiplier=1.0)
    return first_violation(found.findings, found.noise_multiplier)


def _inspect_stacked(seed: int, *, clip: float, noise_multiplier: float) -> Inspection:
    """The engine's own step against a clip norm of 2 and a noise multiplier of 1."""
    from dpaudit.forensics.stacked import stacked_step

    # A mechanism of its own for each seed: the first call's seed is far from those of other inspections.
    step = stacked_step(clip=clip, noise_multiplier=noise_multiplier, denominator=16, seed=100_000 * seed)
    return inspect_mechanism(step, Stated(2.0, 1.0, 16.0, "zero-out"), seed=seed, level=LEVEL)


def _right_server(adapt: float, seed: int) -> Seen:
    return _server({"adapt": adapt}, seed)


def _right_trace(seed: int) -> Seen:
    return _trace(poisson_trace, seed)


# The mechanisms in which nothing may be found: name -> (hunt, whether it imports TensorFlow).
RIGHT: dict[str, tuple[Callable[[int], Seen], bool]] = {
    "DP-SGD": (partial(_right_mechanism, lambda seed: DpSgd(seed=seed).mechanism()), False),
    "DP-SGD that cannot be reset": (partial(_right_mechanism, lambda seed: Mechanism(DpSgd(seed=seed))), False),
    "DP-FedAvg, fixed clip": (partial(_right_server, 0.0), False),
    "DP-FedAvg, adaptive clip": (partial(_right_server, 0.2), False),
    "Poisson trace": (_right_trace, False),
    "TensorFlow Privacy DPKerasSGDOptimizer": (partial(_optimizer, "right", None), True),
    "TensorFlow Privacy VectorizedDPKerasSGDOptimizer": (partial(_optimizer, "right_vectorized", None), True),
    "TensorFlow Privacy DPKerasAdamOptimizer": (partial(_optimizer, "right_adam", None), True),
    "DP-SGD of the stacked engine": (_right_stacked, True),
    "layer normalisation and dropout": (partial(_model, "layer_normalisation"), True),
}
