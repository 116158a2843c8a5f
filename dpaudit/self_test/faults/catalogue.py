"""Every known fault, with the inspection that must detect it."""

import math
from functools import partial
from typing import Any

from dpaudit.accounting.claim import Claim
from dpaudit.self_test.faults import dp_sgd, inspections, pipelines, trainings
from dpaudit.self_test.faults.fault import DP_SGD_CLAIM, FEDERATED_CLAIM, Fault
from dpaudit.self_test.faults.opacus import FAULTS_OF_OPACUS, HERE
from dpaudit.self_test.faults.rung_0 import RUNG_0
from dpaudit.self_test.faults.rung_1 import RUNG_1

ROUNDS = 300  # of a server, with canary clients


def _rounds_fault(name: str, words: str, left: float | None, **flags: Any) -> Fault:
    return Fault(name, words, "DP-FedAvg", 2, partial(inspections.rounds, flags, ROUNDS), FEDERATED_CLAIM, left)


def _training_fault(name: str, fault: str, epsilon: float) -> Fault:
    claim = Claim(trainings.CLAIMED, trainings.DELTA, "record", "add-remove", "PLD accountant", trainings.MECHANISM)
    inspect = partial(inspections.training, getattr(trainings, name.replace(" ", "_").replace("-", "_")))
    return Fault(name, fault, "training", 3, inspect, claim, epsilon=epsilon)


def _pipeline_fault(name: str, fault: str, epsilon: float = math.inf) -> Fault:
    claim = Claim(pipelines.CLAIMED, pipelines.DELTA, "record", "add-remove", "one noisy sum")
    inspect = partial(inspections.pipeline, getattr(pipelines, name.replace(" ", "_")))
    return Fault(name, fault, "pipeline", 4, inspect, claim, epsilon=epsilon)


RUNG_2 = (
    Fault(
        "noise 8 % too small",
        "A noise multiplier that lost its last digit on the way.",
        "DP-SGD",
        2,
        partial(inspections.steps, partial(inspections.dp_sgd, noise=dp_sgd.noise_slightly_small), 1500),
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
        weighted=True,
    ),
    _rounds_fault(
        "rounds: drop-outs",
        "Divided by the clients that answered, noise for those planned; about half drop out.",
        None,
        divide_by_present=True,
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
    _pipeline_fault("best of three", "Three private models are trained, the best is published, one is accounted.", 3.0),
)

FAULTS: tuple[Fault, ...] = (*RUNG_0, *RUNG_1, *RUNG_2, *RUNG_3, *RUNG_4, *(FAULTS_OF_OPACUS if HERE else ()))
