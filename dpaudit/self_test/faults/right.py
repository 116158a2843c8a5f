"""Right mechanisms, which must not be mistaken for a fault."""

from collections.abc import Callable
from functools import partial

from dpaudit.inspection.mechanism import Mechanism
from dpaudit.self_test.faults import inspections, traces, unusual
from dpaudit.self_test.faults import recorded_federations as recorded
from dpaudit.self_test.faults.dp_sgd import BreakableDpSgd
from dpaudit.self_test.faults.fault import BANDED_CLAIM, DP_SGD_CLAIM, TREE_CLAIM, Detection
from dpaudit.self_test.faults.opacus import HERE, RIGHT_OF_OPACUS
from dpaudit.self_test.faults.rung_0 import RECIPE
from dpaudit.trace import ServerStep

CANARY_STEPS = 50
# The mechanisms in which nothing may be found: name -> (inspect, whether it imports TensorFlow).
RIGHT: dict[str, tuple[Callable[[int], Detection], bool]] = {
    "DP-SGD": (partial(inspections.mechanism, lambda seed: BreakableDpSgd(seed=seed).mechanism()), False),
    "DP-SGD that cannot be reset": (
        partial(inspections.mechanism, lambda seed: Mechanism(BreakableDpSgd(seed=seed))),
        False,
    ),
    **{f"DP-SGD, {name}": (partial(inspections.unusual, build), False) for name, build in unusual.RIGHT.items()},
    "DP-SGD, started anew": (partial(inspections.starts, "system", 40), False),
    "DP-FedAvg, fixed clip": (partial(inspections.server, {"adapt": 0.0}), False),
    "DP-FedAvg, adaptive clip": (partial(inspections.server, {"adapt": 0.2}), False),
    "DP-FedAvg, slow adaptive clip": (partial(inspections.server, {"adapt": 0.02}), False),
    "DP-FedAvg, fast adaptive clip": (partial(inspections.server, {"adapt": 0.5}), False),
    "DP-FedAvg, adaptive clip, limited share": (
        partial(inspections.server, {"adapt": 0.2, "limit_count": True}),
        False,
    ),
    "DP-FedAvg, adaptive clip, noise of the count not stated": (
        partial(inspections.server, {"adapt": 0.2, "states_count": False}),
        False,
    ),
    "recipe as claimed": (partial(inspections.recipe, DP_SGD_CLAIM, RECIPE), False),
    "Poisson trace": (partial(inspections.trace, traces.poisson), False),
    "truncated trace": (partial(inspections.trace, traces.cut, assumed=traces.CUT), False),
    "fixed-size trace": (partial(inspections.trace, traces.fixed_size, assumed=traces.OF_FIXED_SIZE), False),
    "shuffled trace": (partial(inspections.trace, traces.shuffled, assumed=traces.IN_EPOCHS), False),
    "federation by coins": (partial(inspections.federation, {"server": ServerStep(), "updates": True}), False),
    "federation of fixed numbers": (
        partial(
            inspections.federation,
            {"claim": recorded.OF_FIXED_SIZE, "pick": recorded.so_many, "server": ServerStep(), "updates": True},
        ),
        False,
    ),
    "federation with a rate of 0.5": (
        partial(inspections.federation, {"step": recorded.sgd(0.5), "server": ServerStep("sgd", 0.5)}),
        False,
    ),
    "federation with an unknown rate": (
        partial(inspections.federation, {"step": recorded.sgd(0.5), "updates": True}),
        False,
    ),
    "federation with momentum": (
        partial(inspections.federation, {"step": recorded.momentum, "server": ServerStep("momentum", 0.1, 0.9)}),
        False,
    ),
    "federation with unknown momentum": (
        partial(inspections.federation, {"step": recorded.momentum, "updates": True}),
        False,
    ),
    "federation with Adam": (
        partial(inspections.federation, {"step": recorded.adam, "server": ServerStep("adam", 0.01), "averages": True}),
        False,
    ),
    "federation with unknown Adam": (partial(inspections.federation, {"step": recorded.adam, "updates": True}), False),
    "TensorFlow Privacy DPKerasSGDOptimizer": (partial(inspections.optimizer, "right", None), True),
    "TensorFlow Privacy VectorizedDPKerasSGDOptimizer": (
        partial(inspections.optimizer, "right_vectorized", None),
        True,
    ),
    "TensorFlow Privacy DPKerasAdamOptimizer": (partial(inspections.optimizer, "right_adam", None), True),
    "DP-SGD of the stacked engine": (partial(inspections.stacked, 2.0, 1.0), True),
    "DP-FedAvg, fixed clip, step canaries": (partial(inspections.rounds, {"adapt": 0.0}, CANARY_STEPS), False),
    "DP-FedAvg, adaptive clip, step canaries": (partial(inspections.rounds, {"adapt": 0.2}, CANARY_STEPS), False),
    "DP-SGD, step canaries": (partial(inspections.steps, inspections.dp_sgd, CANARY_STEPS), False),
    "DP-SGD, banded matrix noise, step canaries": (
        partial(inspections.correlated_steps, unusual.RIGHT["banded matrix noise"], BANDED_CLAIM, 640),
        False,
    ),
    "DP-SGD, tree noise, step canaries": (
        partial(inspections.correlated_steps, unusual.RIGHT["tree noise"], TREE_CLAIM, 640),
        False,
    ),
    **{
        f"TensorFlow Privacy {words}, step canaries": (partial(inspections.optimizer_steps, name, CANARY_STEPS), True)
        for name, words in (
            ("right", "DPKerasSGDOptimizer"),
            ("right_vectorized", "VectorizedDPKerasSGDOptimizer"),
            ("right_adam", "DPKerasAdamOptimizer"),
        )
    },
    "DP-SGD of the stacked engine, step canaries": (partial(inspections.stacked_steps, CANARY_STEPS), True),
    "layer normalisation and dropout": (partial(inspections.model, "layer_normalisation"), True),
    **(RIGHT_OF_OPACUS if HERE else {}),
}
