"""Every animal of the zoo, and the right mechanisms that must not be mistaken for one."""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from dpaudit.accounting.claim import Claim, FixedSize, GaussianSteps, Poisson
from dpaudit.inspection.mechanism import Mechanism
from dpaudit.inspection.participation import RecordedBatches
from dpaudit.inspection.reconcile import Recipe
from dpaudit.self_test.bugs import dp_sgd, hunts, pipelines, traces, trainings, unusual
from dpaudit.self_test.bugs import recorded_federations as recorded
from dpaudit.self_test.bugs.dp_sgd import BreakableDpSgd
from dpaudit.self_test.bugs.fault import DP_SGD_CLAIM, FEDERATED_CLAIM, Detection, Fault
from dpaudit.trace import ServerStep

ROOT2, ROOT3 = math.sqrt(2), math.sqrt(3)
ROUNDS = 300  # of a server, with canary clients

RECIPE = Recipe(records=60_000, batch_size=600, steps=1000, clip=2.0, noise=2.0)


def _part(name: str, fault_noise: float | None, kind: str, epsilon: float | None = None) -> Fault:
    part = getattr(dp_sgd, name)
    return Fault(
        name=name.replace("_", " "),
        fault=part.__doc__.split("\n")[0],
        subject="DP-SGD",
        rung=1,
        hunt=partial(hunts.mechanism, lambda seed: BreakableDpSgd(seed=seed, **{kind: part}).mechanism()),
        claim=DP_SGD_CLAIM,
        noise_multiplier=fault_noise,
        epsilon=epsilon,
    )


def _unusual(kind: str, name: str) -> Fault:
    part = getattr(unusual, name)
    return Fault(
        name=name.replace("_", " "),
        fault=part.__doc__.split("\n")[0],
        subject="DP-SGD",
        rung=1,
        hunt=partial(hunts.mechanism, lambda seed: BreakableDpSgd(seed=seed, **{kind: part}).mechanism()),
        claim=DP_SGD_CLAIM,
        epsilon=unusual.EPSILON.get(name),
    )


def _recipe_fault(name: str, fault: str, claim: Claim = DP_SGD_CLAIM, **changes: Any) -> Fault:
    hunt = partial(hunts.recipe, claim, replace(RECIPE, **changes))
    return Fault(name, fault, "recipe", 0, hunt, claim)


def _trace_fault(
    name: str,
    fault: str,
    draw: Callable[[np.random.Generator], RecordedBatches],
    assumed: GaussianSteps = traces.TRACED,
) -> Fault:
    claim = replace(DP_SGD_CLAIM, epsilon=4.13, mechanism=assumed)
    return Fault(f"trace: {name}", fault, "trace", 0, partial(hunts.trace, draw, assumed=assumed), claim)


def _federation_fault(name: str, fault: str, **parts: Any) -> Fault:
    stated = parts.get("claim", recorded.BY_COINS)
    sampling = FixedSize(recorded.PLANNED, recorded.CLIENTS) if stated is recorded.OF_FIXED_SIZE else Poisson(0.05)
    mechanism = GaussianSteps(1.0, recorded.ROUNDS, sampling, unit="user")
    claim = Claim(stated.epsilon, stated.delta, "user", stated.adjacency, "PLD accountant", mechanism)
    return Fault(f"federation: {name}", fault, "federation's trace", 0, partial(hunts.federation, parts), claim)


def _server_fault(name: str, words: str, noise: float | None, **flags: Any) -> Fault:
    return Fault(name, words, "DP-FedAvg", 1, partial(hunts.server, flags), FEDERATED_CLAIM, noise)


def _rounds_fault(name: str, words: str, left: float | None, **flags: Any) -> Fault:
    return Fault(name, words, "DP-FedAvg", 2, partial(hunts.rounds, flags, ROUNDS), FEDERATED_CLAIM, left)


def _training_fault(name: str, fault: str, epsilon: float) -> Fault:
    claim = Claim(trainings.CLAIMED, trainings.DELTA, "record", "add-remove", "PLD accountant", trainings.MECHANISM)
    hunt = partial(hunts.training, getattr(trainings, name.replace(" ", "_").replace("-", "_")))
    return Fault(name, fault, "training", 3, hunt, claim, epsilon=epsilon)


def _optimizer_fault(name: str, noise: float | None, observe: float | None = None) -> Fault:
    words = name.replace("_", " ")
    fault = _FAULTS_OF_OPTIMIZERS[name]
    hunt = partial(hunts.optimizer, name, observe)
    return Fault(words, fault, "TensorFlow Privacy", 1, hunt, DP_SGD_CLAIM, noise, tensorflow=True)


def _pipeline_fault(name: str, fault: str) -> Fault:
    claim = Claim(pipelines.CLAIMED, pipelines.DELTA, "record", "add-remove", "one Gaussian sum")
    hunt = partial(hunts.pipeline, getattr(pipelines, name.replace(" ", "_")))
    return Fault(name, fault, "pipeline", 4, hunt, claim, epsilon=math.inf)


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
    _trace_fault("shuffled", "Every record once an epoch, accounted as Poisson.", traces.shuffled),
    _trace_fault("fixed batches", "The same partition in every epoch.", traces.fixed),
    _trace_fault("wrong rate", "Batches twice as large as accounted.", traces.wrong_rate),
    _trace_fault("dropped remainder", "Some records are never drawn.", traces.truncated),
    _trace_fault("accountant reset", "A resume sets the accountant back to zero.", traces.resumed),
    _trace_fault("noise draws", "Noise at one update in four.", traces.noise_per_accumulation),
    *(
        _trace_fault(
            f"weighted {factor}",
            f"{share:.0%} of the records come {factor} times as often as accounted.",
            partial(traces.weighted, share=share, factor=factor),
        )
        for share, factor in ((0.33, 2), (0.05, 4), (0.01, 15))
    ),
    _trace_fault("pinned record", "One record is in every batch.", traces.pinned),
    _trace_fault("one coin for two", "Of twenty records every two are drawn by one coin.", traces.paired),
    _trace_fault("blocks", "Blocks of 25 records are drawn by one coin.", traces.in_blocks),
    _trace_fault("large and empty", "Every second batch is empty, the others twice as large.", traces.large_and_empty),
    _trace_fault("fixed size", "Batches of fixed size, accounted as Poisson.", traces.fixed_size),
    _trace_fault(
        "three times the size",
        "Fixed-size batches three times as large as accounted.",
        partial(traces.fixed_size, size=150),
        traces.OF_FIXED_SIZE,
    ),
    _trace_fault(
        "pinned record, fixed size", "One record is in every batch.", traces.pinned_fixed_size, traces.OF_FIXED_SIZE
    ),
    _trace_fault(
        "shuffled, fixed size",
        "Every record once an epoch, accounted as drawn afresh.",
        traces.shuffled,
        traces.OF_FIXED_SIZE,
    ),
    _trace_fault("upsampled", "A tenth of the records is in each epoch twice.", traces.upsampled, traces.IN_EPOCHS),
    _trace_fault("coins, shuffled", "Poisson batches, accounted as epochs.", traces.poisson, traces.IN_EPOCHS),
    _trace_fault("first in epoch", "One record is always in the first batch.", traces.first_in_epoch, traces.IN_EPOCHS),
    _federation_fault(
        "six times the clients",
        "120 clients a round where 20 are accounted.",
        claim=recorded.OF_FIXED_SIZE,
        pick=partial(recorded.so_many, number=120),
    ),
    _federation_fault(
        "three times the clients",
        "60 clients a round where 20 are accounted.",
        claim=recorded.OF_FIXED_SIZE,
        pick=partial(recorded.so_many, number=60),
    ),
    _federation_fault("fixed numbers", "20 clients in every round, accounted as coins.", pick=recorded.so_many),
    _federation_fault(
        "favourite client", "One client is in every round.", pick=recorded.with_a_favourite, updates=True
    ),
    _federation_fault(
        "quarter of the noise, rate 4",
        "A server rate of 4 hides it in the models' changes.",
        noise=0.25,
        step=recorded.sgd(4.0),
        server=ServerStep("sgd", 4.0),
    ),
    _federation_fault(
        "half of the noise, unknown rate",
        "The rate of 4 is not stated, and the updates are shown.",
        noise=0.5,
        step=recorded.sgd(4.0),
        updates=True,
    ),
    _federation_fault(
        "third of the noise, momentum",
        "Momentum sums the noise of many rounds.",
        noise=0.33,
        step=recorded.momentum,
        server=ServerStep("momentum", 0.1, 0.9),
    ),
    _federation_fault(
        "third of the noise, Adam",
        "Adam scales everything to one size; the averages are shown.",
        noise=0.33,
        step=recorded.adam,
        server=ServerStep("adam", 0.01),
        averages=True,
    ),
    _federation_fault("weights by examples", "A client of 200 examples beside one of 10.", examples=(10, 200)),
)

RUNG_1 = (
    _part("no_clip", 0.0, "clip"),
    _part("clip_each_variable", 1 / ROOT3, "clip"),
    _part("clip_values", 1 / math.sqrt(272), "clip"),
    _part("clip_the_mean", 0.5, "clip"),
    _part("clip_small_means", 0.5, "clip"),
    _part("clip_by_comparison", 0.0, "clip"),
    _part("clip_by_normalising", 0.0, "clip"),
    _part("clip_largest_variable", 1 / ROOT3, "clip"),
    _part("standardised_batch", None, "clip"),
    _part("noise_without_clip_norm", 0.5, "noise"),
    _part("noise_missing_on_one_variable", 0.0, "noise"),
    _part("noise_of_a_frozen_seed", 0.0, "noise"),
    _part("noise_of_one_key", 0.0, "noise"),
    _part("noise_of_one_replica_in_two", 1 / ROOT2, "noise"),
    _part("noise_divided_by_replicas", 1 / math.sqrt(8), "noise"),
    _part("noise_per_microbatch", 0.5, "noise"),
    _part("noise_at_the_last_accumulation", 0.0, "noise"),
    _part("noise_decayed_with_the_weights", 0.8, "noise"),
    _part("noise_broadcast", 0.0, "noise"),
    _part("noise_when_there_is_something", 0.0, "noise"),
    _part("noise_that_is_uniform", None, "noise", math.inf),
    _part("noise_times_learning_rate", 0.1, "noise"),
    _part("noise_for_the_mean", 1 / 32, "noise"),
    _part("noise_on_some_coordinates", 0.0, "noise"),
    _part("divide_by_actual_batch", None, "divide"),
    _part("skip_empty_batches", None, "divide"),
    *(_unusual(kind, name) for kind, names in unusual.PARTS.items() for name in names),
    *(
        Fault(
            f"{name} skipped after an overflow",
            f"A gradient scaler skips the {words} after a gradient that is not finite.",
            "DP-SGD",
            1,
            partial(hunts.mechanism, unusual.skipped_after_overflow(name)),
            DP_SGD_CLAIM,
            epsilon=math.inf,
        )
        for name, words in (("step", "step"), ("noise", "noise of the step"))
    ),
    Fault(
        "raw momentum",
        "A momentum is computed before clipping and noise, and published.",
        "DP-SGD",
        1,
        partial(hunts.mechanism, dp_sgd.raw_average()),
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
        partial(hunts.stacked, 4.0, 0.5),
        DP_SGD_CLAIM,
        0.5,
        tensorflow=True,
    ),
    Fault(
        "noise of a test run",
        "The noise multiplier of a quick test run is left in.",
        "stacked engine",
        1,
        partial(hunts.stacked, 2.0, 0.1),
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
            partial(hunts.model, name),
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
        partial(hunts.steps, partial(hunts.dp_sgd, noise=dp_sgd.noise_slightly_small), 1500),
        DP_SGD_CLAIM,
        noise_multiplier=0.92,
    ),
    _rounds_fault("rounds: half of the noise", "The server adds noise for half of the clip.", 0.5, noise=0.5),
    _rounds_fault(
        "rounds: half of the noise, adaptive clip", "The same, with a clip that adapts.", 0.5, noise=0.5, adapt=0.2
    ),
    _rounds_fault(
        "rounds: weighted clients",
        "Updates are weighted by examples, noise is for equal weights.",
        None,
        fault="weighted",
    ),
    _rounds_fault(
        "rounds: drop-outs",
        "Divided by the clients that answered, noise for those planned; about half drop out.",
        None,
        fault="divide_by_present",
    ),
)

RUNG_3 = (
    _training_fault(
        "augmented copies",
        "Augmentation puts 24 copies of each record into the data, each accounted as a record of its own.",
        trainings.OF_COPIES,
    ),
    _training_fault(
        "fine-tuning without noise", "After DP-SGD the last layer is fitted once more, without noise.", math.inf
    ),
    _training_fault(
        "target encoding",
        "Categories are fed as the exact mean label of their records, and the table is shipped.",
        math.inf,
    ),
)

RUNG_4 = (
    _pipeline_fault("private vocabulary", "The vocabulary is read off the private texts."),
    _pipeline_fault("private normalisation", "Features are divided by their private maximum."),
    _pipeline_fault("private early stopping", "Training stops by the exact loss on private data."),
    _pipeline_fault("private selection", "The best of three models is chosen by an exact private score."),
)

FAULTS: tuple[Fault, ...] = (*RUNG_0, *RUNG_1, *RUNG_2, *RUNG_3, *RUNG_4)


CANARY_STEPS = 50
# The mechanisms in which nothing may be found: name -> (hunt, whether it imports TensorFlow).
RIGHT: dict[str, tuple[Callable[[int], Detection], bool]] = {
    "DP-SGD": (partial(hunts.mechanism, lambda seed: BreakableDpSgd(seed=seed).mechanism()), False),
    "DP-SGD that cannot be reset": (partial(hunts.mechanism, lambda seed: Mechanism(BreakableDpSgd(seed=seed))), False),
    **{f"DP-SGD, {name}": (partial(hunts.unusual, build), False) for name, build in unusual.RIGHT.items()},
    "DP-FedAvg, fixed clip": (partial(hunts.server, {"adapt": 0.0}), False),
    "DP-FedAvg, adaptive clip": (partial(hunts.server, {"adapt": 0.2}), False),
    "recipe as claimed": (partial(hunts.recipe, DP_SGD_CLAIM, RECIPE), False),
    "Poisson trace": (partial(hunts.trace, traces.poisson), False),
    "fixed-size trace": (partial(hunts.trace, traces.fixed_size, assumed=traces.OF_FIXED_SIZE), False),
    "shuffled trace": (partial(hunts.trace, traces.shuffled, assumed=traces.IN_EPOCHS), False),
    "federation by coins": (partial(hunts.federation, {"server": ServerStep(), "updates": True}), False),
    "federation of fixed numbers": (
        partial(
            hunts.federation,
            {"claim": recorded.OF_FIXED_SIZE, "pick": recorded.so_many, "server": ServerStep(), "updates": True},
        ),
        False,
    ),
    "federation with a rate of 0.5": (
        partial(hunts.federation, {"step": recorded.sgd(0.5), "server": ServerStep("sgd", 0.5)}),
        False,
    ),
    "federation with an unknown rate": (partial(hunts.federation, {"step": recorded.sgd(0.5), "updates": True}), False),
    "federation with momentum": (
        partial(hunts.federation, {"step": recorded.momentum, "server": ServerStep("momentum", 0.1, 0.9)}),
        False,
    ),
    "federation with unknown momentum": (
        partial(hunts.federation, {"step": recorded.momentum, "updates": True}),
        False,
    ),
    "federation with Adam": (
        partial(hunts.federation, {"step": recorded.adam, "server": ServerStep("adam", 0.01), "averages": True}),
        False,
    ),
    "federation with unknown Adam": (partial(hunts.federation, {"step": recorded.adam, "updates": True}), False),
    "TensorFlow Privacy DPKerasSGDOptimizer": (partial(hunts.optimizer, "right", None), True),
    "TensorFlow Privacy VectorizedDPKerasSGDOptimizer": (partial(hunts.optimizer, "right_vectorized", None), True),
    "TensorFlow Privacy DPKerasAdamOptimizer": (partial(hunts.optimizer, "right_adam", None), True),
    "DP-SGD of the stacked engine": (partial(hunts.stacked, 2.0, 1.0), True),
    "DP-FedAvg, fixed clip, step canaries": (partial(hunts.rounds, {"adapt": 0.0}, CANARY_STEPS), False),
    "DP-FedAvg, adaptive clip, step canaries": (partial(hunts.rounds, {"adapt": 0.2}, CANARY_STEPS), False),
    "DP-SGD, step canaries": (partial(hunts.steps, hunts.dp_sgd, CANARY_STEPS), False),
    **{
        f"TensorFlow Privacy {words}, step canaries": (partial(hunts.optimizer_steps, name, CANARY_STEPS), True)
        for name, words in (
            ("right", "DPKerasSGDOptimizer"),
            ("right_vectorized", "VectorizedDPKerasSGDOptimizer"),
            ("right_adam", "DPKerasAdamOptimizer"),
        )
    },
    "DP-SGD of the stacked engine, step canaries": (partial(hunts.stacked_steps, CANARY_STEPS), True),
    "layer normalisation and dropout": (partial(hunts.model, "layer_normalisation"), True),
}
