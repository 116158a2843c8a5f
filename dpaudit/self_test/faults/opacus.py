"""Trainings with Opacus that do not keep what they claim, each beside a right one; found where Opacus is installed."""

import math
import warnings
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from typing import Any

from dpaudit.accounting.claim import Claim, GaussianSteps, Poisson
from dpaudit.inspection.inspect import inspect_mechanism
from dpaudit.inspection.opacus_training import read_training
from dpaudit.runtime.pytorch import opacus_module, torch_module
from dpaudit.self_test.faults.fault import Detection, Fault, first_violation

NOISE, CLIP = 1.0, 2.0
RECORDS, BATCH = 640, 40
OPACUS_CLAIM = Claim(2.25, 1e-5, "record", "add-remove", "PRV accountant", GaussianSteps(NOISE, 16, Poisson(1 / 16)))
LEVEL = 1e-6
SECONDS = 3.0


def inspect_training(build: Callable[[], Any], seed: int) -> Detection:
    """Both the batches and the step of a training that Opacus built; they share the level."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a generator that is not secure, and of hooks
        built = read_training(build, build(), name="build", seed=seed)
        found = inspect_mechanism(
            built.mechanism, built.stated, seed=seed, claim=OPACUS_CLAIM, level=LEVEL / 2, budget=SECONDS
        )
    read = built.reconciled(OPACUS_CLAIM, level=LEVEL / 2)
    return first_violation([*read.findings, *found.findings], found.noise_multiplier)


def private(*, records: int = RECORDS, batch_size: int = BATCH, fixed: bool = True, **settings: Any) -> Any:
    """What ``make_private`` returns for a small network; ``fixed``: with a divisor that no data set decides."""
    torch, data = torch_module(), torch_module("torch.utils.data")
    weights = settings.pop("weights", None)
    module = torch.nn.Sequential(torch.nn.Linear(12, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
    pairs = data.TensorDataset(torch.zeros(records, 12), torch.zeros(records, dtype=torch.long))
    sampler = None if weights is None else data.WeightedRandomSampler(weights, records)
    made = (
        opacus_module()
        .PrivacyEngine()
        .make_private(
            module=module,
            optimizer=torch.optim.SGD(module.parameters(), lr=0.1),
            data_loader=data.DataLoader(pairs, batch_size=batch_size, sampler=sampler),
            noise_multiplier=NOISE,
            **{"max_grad_norm": CLIP, **settings},
        )
    )
    if fixed:
        made[1].expected_batch_size = batch_size
    return made


def divisor_from_the_records() -> Any:
    """The divisor is computed from the number of records, which is private (opacus #571, #819)."""
    return private(records=3, batch_size=2, fixed=False)


def weighted_sampler() -> Any:
    """A weighted sampler stays where batches are not Poisson, and is accounted as uniform (opacus #813)."""
    weights = torch_module().ones(RECORDS)
    weights[:5] = 50.0
    return private(weights=weights, poisson_sampling=False)


def fixed_batches() -> Any:
    """One partition of the records in every epoch, accounted as Poisson batches."""
    return private(poisson_sampling=False)


def model_that_clips_elsewhere() -> Any:
    """With ghost clipping the model clips at another norm than the optimizer's noise is for."""
    made = ghost()
    made[0].max_grad_norm = 2 * CLIP
    return made


def ghost() -> Any:
    """Right: ghost clipping."""
    return private(grad_sample_mode="ghost")


def per_layer() -> Any:
    """Right: each of the four parameters has its own clip norm, together as one of norm 2."""
    return private(max_grad_norm=[CLIP / 2] * 4, clipping="per_layer")


def small() -> Any:
    """Right: three records, and a divisor that is fixed."""
    return private(records=3, batch_size=2)


def _fault(build: Callable[[], Any], rung: int, noise: float | None, epsilon: float | None = None) -> Fault:
    assert build.__doc__ is not None
    name = f"Opacus: {build.__name__.replace('_', ' ')}"
    inspect = partial(inspect_training, build)
    return Fault(name, build.__doc__, "Opacus", rung, inspect, OPACUS_CLAIM, noise, epsilon)


HERE = find_spec("opacus") is not None
FAULTS_OF_OPACUS: tuple[Fault, ...] = (
    _fault(divisor_from_the_records, 0, None, math.inf),
    _fault(weighted_sampler, 0, None),
    _fault(fixed_batches, 0, None),
    _fault(model_that_clips_elsewhere, 1, NOISE / 2),
)
RIGHT_OF_OPACUS: dict[str, tuple[Callable[[int], Detection], bool]] = {
    "Opacus, flat clipping": (partial(inspect_training, private), False),
    "Opacus, clipping per layer": (partial(inspect_training, per_layer), False),
    "Opacus, ghost clipping": (partial(inspect_training, ghost), False),
    "Opacus, three records": (partial(inspect_training, small), False),
}
