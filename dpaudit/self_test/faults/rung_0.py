"""Faults of rung 0: recipes, recorded batches and recorded federations against what is claimed."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from dpaudit.accounting.claim import Claim, FixedSize, GaussianSteps, Poisson
from dpaudit.inspection.reconcile import Recipe
from dpaudit.inspection.recorded import RecordedBatches
from dpaudit.self_test.faults import inspections, traces
from dpaudit.self_test.faults import recorded_federations as recorded
from dpaudit.self_test.faults.fault import DP_SGD_CLAIM, Fault
from dpaudit.trace import ServerStep

RECIPE = Recipe(records=60_000, batch_size=600, steps=1000, clip=2.0, noise=2.0)


def _recipe_fault(name: str, fault: str, claim: Claim = DP_SGD_CLAIM, **changes: Any) -> Fault:
    inspect = partial(inspections.recipe, claim, replace(RECIPE, **changes))
    return Fault(name, fault, "recipe", 0, inspect, claim)


def _trace_fault(
    name: str,
    fault: str,
    draw: Callable[[np.random.Generator], RecordedBatches],
    assumed: GaussianSteps = traces.TRACED,
) -> Fault:
    claim = replace(DP_SGD_CLAIM, epsilon=4.13, mechanism=assumed)
    return Fault(f"trace: {name}", fault, "trace", 0, partial(inspections.trace, draw, assumed=assumed), claim)


def _federation_fault(name: str, fault: str, **parts: Any) -> Fault:
    stated = parts.get("claim", recorded.BY_COINS)
    sampling = FixedSize(recorded.PLANNED, recorded.CLIENTS) if stated is recorded.OF_FIXED_SIZE else Poisson(0.05)
    mechanism = GaussianSteps(1.0, recorded.ROUNDS, sampling, unit="user")
    claim = Claim(stated.epsilon, stated.delta, "user", stated.adjacency, "PLD accountant", mechanism)
    return Fault(f"federation: {name}", fault, "federation's trace", 0, partial(inspections.federation, parts), claim)


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
    _recipe_fault("trainings", "The best of three trainings is published, one is accounted.", trainings=3),
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
    _trace_fault("cut batches", "Batches are cut at 60 records, accounted as Poisson.", traces.cut),
    _trace_fault("not cut", "Batches of any size, accounted as cut at 60 records.", traces.poisson, traces.CUT),
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
    _trace_fault("replayed", "A resume draws the last five batches once more.", traces.replayed),
    _trace_fault(
        "one half after the other",
        "The first half of the steps sees the first half of the records, at twice the rate.",
        traces.one_half_after_the_other,
    ),
    _trace_fault("shards in turn", "Two workers hold half of the records each and take turns.", traces.shards_in_turn),
    _trace_fault(
        "shuffle buffer",
        "Records are shuffled within a buffer of a hundred, accounted as shuffled.",
        traces.shuffle_buffer,
        traces.IN_EPOCHS,
    ),
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
