"""Faults of rung 1: mechanisms, federated servers, optimizers and models that are asked chosen questions."""

import math
from functools import partial
from typing import Any

from dpaudit.self_test.faults import dp_sgd, hidden, inspections
from dpaudit.self_test.faults.dp_sgd import BreakableDpSgd
from dpaudit.self_test.faults.fault import DP_SGD_CLAIM, FEDERATED_CLAIM, Fault
from dpaudit.self_test.faults.federated import COUNT_NOISE

ROOT2, ROOT3 = math.sqrt(2), math.sqrt(3)
SUM_MULTIPLIER = (1 - (2 * COUNT_NOISE) ** -2) ** -0.5  # of the sum, where the round as a whole has 1


def _part(name: str, fault_noise: float | None, kind: str, epsilon: float | None = None) -> Fault:
    part = getattr(dp_sgd, name)
    return Fault(
        name=name.replace("_", " "),
        fault=part.__doc__.split("\n")[0],
        subject="DP-SGD",
        rung=1,
        inspect=partial(inspections.mechanism, lambda seed: BreakableDpSgd(seed=seed, **{kind: part}).mechanism()),
        claim=DP_SGD_CLAIM,
        noise_multiplier=fault_noise,
        epsilon=epsilon,
    )


def _hidden(kind: str, name: str) -> Fault:
    part = getattr(hidden, name)
    return Fault(
        name=name.replace("_", " "),
        fault=part.__doc__.split("\n")[0],
        subject="DP-SGD",
        rung=1,
        inspect=partial(inspections.mechanism, lambda seed: BreakableDpSgd(seed=seed, **{kind: part}).mechanism()),
        claim=DP_SGD_CLAIM,
        epsilon=hidden.EPSILON.get(name),
    )


def _server_fault(name: str, words: str, noise: float | None, **flags: Any) -> Fault:
    return Fault(name, words, "DP-FedAvg", 1, partial(inspections.server, flags), FEDERATED_CLAIM, noise)


def _optimizer_fault(name: str, noise: float | None, observe: float | None = None) -> Fault:
    words = name.replace("_", " ")
    fault = _FAULTS_OF_OPTIMIZERS[name]
    inspect = partial(inspections.optimizer, name, observe)
    return Fault(words, fault, "TensorFlow Privacy", 1, inspect, DP_SGD_CLAIM, noise, tensorflow=True)


_FAULTS_OF_OPTIMIZERS = {
    "one_microbatch": "The mean of the batch is clipped (num_microbatches=1).",
    "four_in_a_microbatch": "Means of four examples are clipped, by the vectorized optimizer.",
    "query_without_clip_norm": "The noise multiplier is handed to the query as its standard deviation.",
    "query_that_never_clips": "A clip norm of a million, with the noise for the one that is stated.",
    "bypassed": "The DP optimizer is built, and a plain one is used.",
    "noise_in_the_update": "Noise is added in the update, multiplied by the learning rate a second time.",
}

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
    *(_hidden(kind, name) for kind, names in hidden.PARTS.items() for name in names),
    *(
        Fault(
            f"{name} skipped after an overflow",
            f"A gradient scaler skips the {words} after a gradient that is not finite.",
            "DP-SGD",
            1,
            partial(inspections.mechanism, hidden.skipped_after_overflow(name)),
            DP_SGD_CLAIM,
            epsilon=math.inf,
        )
        for name, words in (("step", "step"), ("noise", "noise of the step"))
    ),
    Fault(
        "no noise at one size",
        "Batches of two examples are without noise: a step compiled for that size has lost it.",
        "DP-SGD",
        1,
        partial(inspections.mechanism, hidden.quiet_at(2)),
        DP_SGD_CLAIM,
        epsilon=math.inf,
    ),
    Fault(
        "raw momentum",
        "A momentum is computed before clipping and noise, and published.",
        "DP-SGD",
        1,
        partial(inspections.mechanism, dp_sgd.raw_average()),
        DP_SGD_CLAIM,
        epsilon=math.inf,
    ),
    Fault(
        "seed of 16 bits",
        "The program draws a seed of 16 bits when it starts.",
        "DP-SGD, started anew",
        1,
        partial(inspections.starts, "sixteen_bits", 1000),
        DP_SGD_CLAIM,
        epsilon=math.inf,
    ),
    Fault(
        "seed from the clock",
        "The program's seed is the time of its start and its process number.",
        "DP-SGD, started anew",
        1,
        partial(inspections.starts, "clock", 4),
        DP_SGD_CLAIM,
        epsilon=math.inf,
    ),
    _server_fault(
        "weighted clients", "Updates are weighted by examples, noise is for equal weights.", 0.1, weighted=True
    ),
    _server_fault(
        "drop-outs",
        "Divided by the clients that answered, noise for those planned; half drop out.",
        0.5,
        divide_by_present=True,
    ),
    _server_fault(
        "lost noise shares", "Clients that drop out take their noise along; half do.", 1 / ROOT2, noise_shares=True
    ),
    _server_fault("clip each array", "Each array of an update is clipped at C.", 1 / ROOT3, clip_each_array=True),
    _server_fault("clip after averaging", "The average is clipped, not the updates.", 1 / 64, clip_model=True),
    _server_fault(
        "stale clip",
        "The clip adapts, the noise is for the first one; the clip grew tenfold.",
        0.1,
        adapt=0.2,
        stale=True,
    ),
    _server_fault("clip with its sign turned", "The clip runs away from its quantile.", None, adapt=-0.2),
    _server_fault(
        "count without noise",
        "The clip adapts by the exact number of updates below it.",
        0.0,
        adapt=0.2,
        count_noise=0.0,
    ),
    _server_fault(
        "count without noise, not stated",
        "The same, where no noise on the count is stated.",
        0.0,
        adapt=0.2,
        count_noise=0.0,
        states_count=False,
    ),
    *(
        _server_fault(
            f"count with {words} of its noise",
            f"The noise on the number of updates below the clip is {words} of the stated one.",
            (SUM_MULTIPLIER**-2 + (2 * share * COUNT_NOISE) ** -2) ** -0.5,
            adapt=0.2,
            count_noise=share * COUNT_NOISE,
        )
        for words, share in (("half", 0.5), ("a quarter", 0.25))
    ),
    _server_fault(
        "clip at the largest norm",
        "The clip of a round is the largest norm of the round before, without noise.",
        None,
        adapt=0.2,
        follow_largest=True,
    ),
    _server_fault(
        "count without noise later",
        "The count has noise in the first two rounds only.",
        0.0,
        adapt=0.2,
        counts_noised=2,
    ),
    _server_fault(
        "clip at the median later",
        "From the second round on updates are clipped at the median norm of their round.",
        None,
        adapt=0.2,
        follow_median=True,
    ),
    _server_fault(
        "median of the round",
        "The same with noise that follows the median: both tell who the others are.",
        None,
        adapt=0.2,
        follow_median=True,
        noise_follows=True,
    ),
    _server_fault(
        "drop-outs later",
        "From the second round on the sum is divided by the clients that answered.",
        None,
        adapt=0.2,
        present_later=True,
    ),
    Fault(
        "another clip norm",
        "The trainer clips at 4 and adds the noise for 2.",
        "stacked engine",
        1,
        partial(inspections.stacked, 4.0, 0.5),
        DP_SGD_CLAIM,
        0.5,
        tensorflow=True,
    ),
    Fault(
        "noise of a test run",
        "The noise multiplier of a quick test run is left in.",
        "stacked engine",
        1,
        partial(inspections.stacked, 2.0, 0.1),
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
            partial(inspections.model, name),
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
