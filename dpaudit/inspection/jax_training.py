"""A clipped gradient of jax-privacy with its noise, asked on a loss whose gradient for an example is the example.

The factory takes the loss and returns what the training uses: ``clipped_grad(loss, ...)``, a privatizer such as
``gaussian_privatizer(...)`` and, where it has one, its batch selection strategy.
"""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from dpaudit.accounting.claim import GaussianSteps, Poisson
from dpaudit.bounds.lower_bound import Unchecked
from dpaudit.inspection.built_training import BuiltTraining
from dpaudit.inspection.mechanism import SHAPES, Array, Mechanism, Stated
from dpaudit.inspection.recorded import RecordedBatches
from dpaudit.runtime.errors import InputError
from dpaudit.runtime.jax import jax_module

RECORDS = 1000  # numbered for the batch selection strategy, which is told how many there are
PADDED_TO = 32  # as with jax-privacy's pad_to_multiple_of, so that one program serves batches of every size
MOST_STEPS = 1000  # batches that are drawn from it


def takes_a_loss(factory: Callable[..., Any]) -> bool:
    """Whether a factory has the one parameter ``loss``, by which it is known to be of JAX.

    >>> takes_a_loss(lambda loss: loss), takes_a_loss(lambda: None)
    (True, False)
    """
    try:
        return list(inspect.signature(factory).parameters) == ["loss"]
    except ValueError:  # some of C have no signature
        return False


def read_jax_training(factory: Callable[[Callable[..., Any]], Any], *, name: str, seed: int) -> BuiltTraining:
    """What a factory of jax-privacy builds, as it can be inspected.

    Args:
        factory: the loss -> (clipped gradient of parameters and batch, privatizer[, batch selection strategy]).
        name: of the factory, for messages.
        seed: of the batches that the strategy draws.

    Raises:
        InputError: it returns something else, or its noise has no standard deviation that can be read.
    """
    built = factory(_sum_of_products)
    parts = list(built) if isinstance(built, tuple | list) else [built]
    clipped = next((part for part in parts if hasattr(part, "l2_norm_bound") and callable(part)), None)
    privatizer = next((part for part in parts if hasattr(part, "init") and hasattr(part, "update")), None)
    if clipped is None or privatizer is None:
        missing = "a clipped gradient" if clipped is None else "a privatizer, so it adds no noise and states no claim"
        raise InputError(
            f"{name} returns no {missing.removeprefix('a ')}: let it return clipped_grad(loss, ...) and "
            "gaussian_privatizer(...) of jax-privacy."
        )
    bound, deviation = float(clipped.l2_norm_bound), _deviation(privatizer)
    if deviation is None:
        raise InputError(
            f"the standard deviation of the noise of {name} cannot be read; return the gaussian_privatizer itself."
        )
    if bound <= 0:
        raise InputError(f"the clipped gradient of {name} has the sensitivity {bound:g}: nothing is left to be asked.")
    strategy = next((part for part in parts if hasattr(part, "batch_iterator")), None)
    accounted, batches, unread = _sampled(strategy, deviation / bound, seed)
    divisor = _divisor(clipped, bound, name)
    stated = Stated(bound * divisor, deviation / bound, divisor)
    return BuiltTraining(_mechanism(clipped, privatizer), stated, accounted, batches, (), unread)


def _sum_of_products(parameters: Sequence[Any], batch: Sequence[Any]) -> Any:
    """Σ ⟨x, w⟩, of one example with or without a leading axis of one."""
    return sum((weight * example).sum() for weight, example in zip(parameters, batch, strict=True))


def _divisor(clipped: Any, bound: float, name: str) -> float:
    """What the sum of the clipped gradients is divided by, read off an example that is too small to be clipped.

    ``l2_norm_bound`` is the clip norm after that division, and examples are clipped before it.
    """
    jax = jax_module()
    tiny = np.float32(1e-6 * bound)
    batch = [np.zeros((PADDED_TO, *shape), np.float32) for shape in SHAPES]
    batch[0].flat[0] = tiny
    found = clipped([jax.numpy.zeros(shape) for shape in SHAPES], batch, is_padding_example=np.arange(PADDED_TO) > 0)
    answer = np.asarray((found[0] if clipped.has_aux else found)[0]).flat[0]
    if not answer > 0:
        raise InputError(f"the clipped gradient of {name} answers a small example with {answer:g}, not with its share.")
    return float(tiny / answer)


def _mechanism(clipped: Any, privatizer: Any) -> Mechanism:
    jax = jax_module()
    weights = [jax.numpy.zeros(shape) for shape in SHAPES]
    start = privatizer.init(weights)
    state = [start]

    @jax.jit  # type: ignore[untyped-decorator]  # JAX is absent where types are checked
    def step(batch: list[Any], padding: Any, state: Any) -> Any:
        found = clipped(weights, batch, is_padding_example=padding)
        return privatizer.update(found[0] if clipped.has_aux else found, state, weights)

    def release(gradients: Sequence[Array]) -> list[Array]:
        size = len(gradients[0])
        more = -size % PADDED_TO or (0 if size else PADDED_TO)
        batch = [np.concatenate([part, np.zeros((more, *part.shape[1:]), np.float32)]) for part in gradients]
        padding = np.arange(size + more) >= size
        noisy, state[0] = step(batch, padding, state[0])
        return [np.asarray(part) for part in noisy]

    def reset() -> None:
        state[0] = start

    return Mechanism(release, reset=reset, name="clipped gradient of jax-privacy")


def _deviation(privatizer: Any) -> float | None:
    held = inspect.getclosurevars(privatizer.update).nonlocals.get("stddev")
    return None if held is None else float(held)


def _sampled(
    strategy: Any, noise: float, seed: int
) -> tuple[GaussianSteps, RecordedBatches | None, tuple[Unchecked, ...]]:
    """Steps and rate of a strategy that samples by Poisson coins, with batches it draws."""
    if strategy is None:
        reason = "the factory returns no batch selection strategy; --rate and --steps state the training"
        return GaussianSteps(noise, 1, Poisson(1.0)), None, (Unchecked("the batches", reason),)
    probability, cycle = getattr(strategy, "sampling_prob", None), getattr(strategy, "cycle_length", 1)
    if probability is None or cycle != 1:
        reason = f"{type(strategy).__name__} does not sample every record at every step; --rate and --steps state it"
        return GaussianSteps(noise, 1, Poisson(1.0)), None, (Unchecked("the batches", reason),)
    largest = getattr(strategy, "truncated_batch_size", None)
    if largest is not None:
        reason = (
            f"it cuts batches at {largest} records, and what that costs depends on the number of records (dpaudit "
            "epsilon with largest batch and records); --rate and --steps state batches that are not cut"
        )
        return GaussianSteps(noise, 1, Poisson(1.0)), None, (Unchecked("the batches", reason),)
    accounted = GaussianSteps(noise, int(strategy.iterations), Poisson(float(probability)))
    drawn = [
        np.asarray(batch, np.int64)
        for _, batch in zip(range(MOST_STEPS), strategy.batch_iterator(RECORDS, rng=seed), strict=False)
    ]
    return accounted, RecordedBatches(RECORDS, drawn), ()
