"""Every known fault, with the inspection that must detect it."""

import math
from functools import partial
from typing import Any

import numpy as np

from dpaudit.accounting.claim import Claim, LawSteps, Poisson
from dpaudit.accounting.law import Banded, TreeNoise
from dpaudit.self_test.faults import dp_sgd, inspections, pipelines, trainings
from dpaudit.self_test.faults.fault import BANDED_CLAIM, DP_SGD_CLAIM, FEDERATED_CLAIM, TREE_CLAIM, Fault
from dpaudit.self_test.faults.opacus import FAULTS_OF_OPACUS, HERE
from dpaudit.self_test.faults.rung_0 import RUNG_0
from dpaudit.self_test.faults.rung_1 import RUNG_1
from dpaudit.self_test.faults.unusual import BANDS, STEPS, BuildStated, of_law

ROUNDS = 300  # of a server, with canary clients
BANDED = Banded(BANDS, STEPS)
ROOT = np.linalg.cholesky(BANDED.covariance())
MULTIPLIED = Banded((1.0, -0.7), STEPS)


def _rounds_fault(name: str, words: str, left: float | None, **flags: Any) -> Fault:
    return Fault(name, words, "DP-FedAvg", 2, partial(inspections.rounds, flags, ROUNDS), FEDERATED_CLAIM, left)


def _correlated_fault(
    name: str, words: str, build: BuildStated, steps: int, claim: Claim = BANDED_CLAIM, left: float | None = None
) -> Fault:
    inspect = partial(inspections.correlated_steps, build, claim, steps)
    return Fault(name, words, "DP-SGD, correlated noise", 2, inspect, claim, left)


def _of_two_bands(second: float) -> Claim:
    steps = LawSteps(f"banded:1,{second}:{STEPS}", 1.0, STEPS, Poisson(1 / 16))
    return Claim(5.27, 1e-5, "record", "add-remove", "PLD accountant", noise=steps)


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
    _correlated_fault(
        "correlated: half of the noise", "Half of the banded noise.", of_law(BANDED, root=0.5 * ROOT), 128, left=0.5
    ),
    _correlated_fault(
        "correlated: half of the tree",
        "Half of the noise of a tree.",
        of_law(TreeNoise(STEPS), root=0.5 * np.linalg.cholesky(TreeNoise(STEPS).covariance())),
        1280,
        TREE_CLAIM,
        0.5,
    ),
    _correlated_fault(
        "correlated: used again", "Draws are used again after eight steps.", of_law(BANDED, again=8), 640
    ),
    _correlated_fault(
        "correlated: two bands for four",
        "Records take part every two steps, noise is for every four.",
        of_law(Banded(BANDS[:2], STEPS), root=ROOT),
        6400,
        _of_two_bands(BANDS[1]),
    ),
    _correlated_fault(
        "correlated: multiplied",
        "Draws are multiplied by the matrix, not by its inverse.",
        # With C over its norm k as the inverse of the right root, k C.
        of_law(
            MULTIPLIED,
            root=np.square(MULTIPLIED.bands).sum() * np.linalg.inv(np.linalg.cholesky(MULTIPLIED.covariance())),
        ),
        640,
        _of_two_bands(MULTIPLIED.bands[1]),
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
