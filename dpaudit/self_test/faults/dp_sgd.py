"""DP-SGD's release in replaceable parts, and the wrong parts people have written.

A part is a function: ``clip`` sums per-example gradients, ``noise`` draws for the sum, ``divide`` makes the mean.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from dpaudit.inspection.mechanism import Array, Mechanism, Stated
from dpaudit.runtime.check import FloatArray

Real = TypeVar("Real", bound=np.floating[Any])
Clip = Callable[[list[FloatArray], float], list[FloatArray]]
NoiseStep = Callable[["BreakableDpSgd", list[FloatArray]], list[FloatArray]]
Divide = Callable[[list[FloatArray], int, float], list[FloatArray]]


@dataclass
class BreakableDpSgd:
    """One release after another, from per-example gradients to a private mean.

    Args:
        clip_norm: C.
        noise_multiplier: σ.
        denominator: expected batch size.
        seed: of the noise; this mechanism exists to be audited.
        clip: sums the gradients, each clipped.
        noise: adds the noise.
        divide: turns the noisy sum into a mean.
    """

    clip_norm: float = 2.0
    noise_multiplier: float = 1.0
    denominator: float = 32.0
    seed: int = 0
    clip: Clip = field(default=lambda gradients, clip_norm: clip_examples(gradients, clip_norm))
    noise: NoiseStep = field(default=lambda mechanism, sums: fresh_noise(mechanism, sums))
    divide: Divide = field(default=lambda sums, _, denominator: [s / denominator for s in sums])

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)
        self.calls = 0

    def __call__(self, gradients: Sequence[Array]) -> list[FloatArray]:
        """Per-example gradients (batch, \\*shape) for each variable -> the private mean."""
        self.calls += 1
        sums = self.clip([np.asarray(g, np.float64) for g in gradients], self.clip_norm)
        return self.divide(self.noise(self, sums), len(gradients[0]), self.denominator)

    @property
    def stated(self) -> Stated:
        """What it says of itself, broken or not."""
        return Stated(self.clip_norm, self.noise_multiplier, self.denominator)

    def mechanism(self) -> Mechanism:
        """It as a mechanism under test."""
        return Mechanism(self, reset=self.__post_init__, name="DP-SGD")

    @property
    def scale(self) -> float:
        """Standard deviation the noise should have."""
        return self.noise_multiplier * self.clip_norm


def norms(gradients: list[FloatArray]) -> FloatArray:
    """Norm of each example's gradient over all variables, shape (batch,)."""
    rows = [_rows(g) for g in gradients]
    found: FloatArray = np.sqrt(sum(np.einsum("ij,ij->i", row, row) for row in rows))
    return found


def only_finite(gradients: list[FloatArray]) -> list[FloatArray]:
    """Zeros in the place of what is not finite."""
    return [g if np.isfinite(g).all() else np.where(np.isfinite(g), g, 0.0) for g in gradients]


def weighted(factors: FloatArray, gradients: list[FloatArray]) -> list[FloatArray]:
    """Sum over the batch with one factor for each example."""
    return [(factors @ _rows(g)).reshape(g.shape[1:]) for g in gradients]


def _rows(gradient: npt.NDArray[Real]) -> npt.NDArray[Real]:
    return gradient.reshape(len(gradient), math.prod(gradient.shape[1:]))  # an empty batch has no -1


# Right parts.


def clip_examples(gradients: list[FloatArray], clip_norm: float) -> list[FloatArray]:
    """Each example clipped over all variables together; what is not finite counts as zero."""
    finite = only_finite(gradients)
    return weighted(np.minimum(1.0, clip_norm / np.maximum(norms(finite), 1e-300)), finite)


def fresh_noise(mechanism: BreakableDpSgd, sums: list[FloatArray]) -> list[FloatArray]:
    """Gaussian noise of standard deviation σC in every coordinate."""
    return [s + mechanism.rng.normal(0.0, mechanism.scale, s.shape) for s in sums]


# Wrong ways to clip.


def no_clip(gradients: list[FloatArray], clip_norm: float) -> list[FloatArray]:
    """The clip norm is accepted and ignored (Opacus, fast clipping before pull request 664)."""
    return weighted(np.ones(len(gradients[0])), only_finite(gradients))


def clip_each_variable(gradients: list[FloatArray], clip_norm: float) -> list[FloatArray]:
    """Every variable clipped at the full C: √(variables) times the sensitivity."""
    return [clip_examples([g], clip_norm)[0] for g in gradients]


def clip_values(gradients: list[FloatArray], clip_norm: float) -> list[FloatArray]:
    """Values clipped to [-C, C] instead of the norm: √(coordinates) times the sensitivity."""
    return [np.clip(np.where(np.isfinite(g), g, 0.0), -clip_norm, clip_norm).sum(axis=0) for g in gradients]


def clip_the_mean(gradients: list[FloatArray], clip_norm: float) -> list[FloatArray]:
    """The mean over the batch is clipped, then treated as the sum of clipped examples."""
    size = max(len(gradients[0]), 1)
    means = [np.where(np.isfinite(g), g, 0.0).sum(axis=0, keepdims=True) / size for g in gradients]
    return clip_examples(means, clip_norm)


def clip_small_means(gradients: list[FloatArray], clip_norm: float) -> list[FloatArray]:
    """Microbatches of four examples, their means clipped: one example turns a clipped mean around."""
    starts = range(0, len(gradients[0]), 4)
    parts = [clip_the_mean([g[start : start + 4] for g in gradients], clip_norm) for start in starts]
    empty = [np.zeros(g.shape[1:]) for g in gradients]
    return [np.sum([part[i] for part in parts], axis=0) if parts else empty[i] for i in range(len(gradients))]


def clip_by_comparison(gradients: list[FloatArray], clip_norm: float) -> list[FloatArray]:
    """``if norm > C: scale``: a NaN norm is not greater than anything."""
    found = norms(gradients)
    factors = np.ones(len(found))
    factors[found > clip_norm] = clip_norm / found[found > clip_norm]
    return [np.nan_to_num(total, nan=0.0, posinf=0.0, neginf=0.0) for total in weighted(factors, gradients)]


def clip_by_normalising(gradients: list[FloatArray], clip_norm: float) -> list[FloatArray]:
    """Every gradient is divided by its float32 norm, which is 0 for the tiny one of a record that is learnt."""
    finite = [np.where(np.isfinite(g), g, 0.0).astype(np.float32) for g in gradients]
    with np.errstate(over="ignore", divide="ignore"):
        found = np.sqrt(sum(np.square(_rows(g)).sum(axis=1) for g in finite))
        some = np.any([_rows(g).any(axis=1) for g in finite], axis=0)
        factors = np.where(some, clip_norm / found, 0.0)
    return [np.where(some[:, None], factors[:, None] * _rows(g), 0.0).sum(axis=0).reshape(g.shape[1:]) for g in finite]


def clip_largest_variable(gradients: list[FloatArray], clip_norm: float) -> list[FloatArray]:
    """The norm is taken of the largest variable instead of all of them."""
    finite = only_finite(gradients)
    largest = np.max([norms([g]) for g in finite], axis=0)
    return weighted(np.minimum(1.0, clip_norm / np.maximum(largest, 1e-300)), finite)


def standardised_batch(gradients: list[FloatArray], clip_norm: float) -> list[FloatArray]:
    """Gradients centred on the batch before the clip: every other example answers to the one that is added."""
    finite = only_finite(gradients)
    return clip_examples([g - g.mean(axis=0) if len(g) else g for g in finite], clip_norm)


# Wrong ways to add noise.


def noise_slightly_small(mechanism: BreakableDpSgd, sums: list[FloatArray]) -> list[FloatArray]:
    """A noise multiplier that lost its last digit on the way."""
    return [s + mechanism.rng.normal(0.0, 0.92 * mechanism.scale, s.shape) for s in sums]


def noise_without_clip_norm(mechanism: BreakableDpSgd, sums: list[FloatArray]) -> list[FloatArray]:
    """Standard deviation σ instead of σC."""
    return [s + mechanism.rng.normal(0.0, mechanism.noise_multiplier, s.shape) for s in sums]


def noise_missing_on_one_variable(mechanism: BreakableDpSgd, sums: list[FloatArray]) -> list[FloatArray]:
    """A variable added later is not in the list that gets noise."""
    return [s if i == 1 else fresh_noise(mechanism, [s])[0] for i, s in enumerate(sums)]


def noise_of_a_frozen_seed(mechanism: BreakableDpSgd, sums: list[FloatArray]) -> list[FloatArray]:
    """The same seed at every step, as a seed inside a traced function is."""
    rng = np.random.default_rng(7)
    return [s + rng.normal(0.0, mechanism.scale, s.shape) for s in sums]


def noise_of_one_key(mechanism: BreakableDpSgd, sums: list[FloatArray]) -> list[FloatArray]:
    """One random key for all variables (jax, official DP example, pull request 3646)."""
    key = int(mechanism.rng.integers(2**31))
    return [s + np.random.default_rng(key).normal(0.0, mechanism.scale, s.shape) for s in sums]


def noise_of_one_replica_in_two(mechanism: BreakableDpSgd, sums: list[FloatArray]) -> list[FloatArray]:
    """Two replicas are averaged and one of them adds its half of the noise: σC / √2 is left."""
    return [s + mechanism.rng.normal(0.0, mechanism.scale / math.sqrt(2), s.shape) for s in sums]


def noise_divided_by_replicas(mechanism: BreakableDpSgd, sums: list[FloatArray]) -> list[FloatArray]:
    """Each of eight replicas adds σC / 8 to the sum, which makes σC / √8."""
    return [s + mechanism.rng.normal(0.0, mechanism.scale / 8, (8, *s.shape)).sum(axis=0) for s in sums]


def noise_per_microbatch(mechanism: BreakableDpSgd, sums: list[FloatArray]) -> list[FloatArray]:
    """Each of four microbatches adds σC / 4, as if the noise were averaged like the gradients: half of it is left."""
    return [s + mechanism.rng.normal(0.0, mechanism.scale / 4, (4, *s.shape)).sum(axis=0) for s in sums]


def noise_at_the_last_accumulation(mechanism: BreakableDpSgd, sums: list[FloatArray]) -> list[FloatArray]:
    """Gradients are accumulated over four steps and noise is drawn at the fourth, while every step is applied."""
    return sums if mechanism.calls % 4 else fresh_noise(mechanism, sums)


def noise_decayed_with_the_weights(mechanism: BreakableDpSgd, sums: list[FloatArray]) -> list[FloatArray]:
    """Noise is put into the weights before their decay of 0.2, the gradient after it."""
    return [s + 0.8 * mechanism.rng.normal(0.0, mechanism.scale, s.shape) for s in sums]


def noise_broadcast(mechanism: BreakableDpSgd, sums: list[FloatArray]) -> list[FloatArray]:
    """One draw for each row, broadcast over the columns."""
    return [s + mechanism.rng.normal(0.0, mechanism.scale, (*s.shape[:-1], 1)) for s in sums]


def noise_when_there_is_something(mechanism: BreakableDpSgd, sums: list[FloatArray]) -> list[FloatArray]:
    """No noise when all gradients are zero, as there is "nothing to protect"."""
    return fresh_noise(mechanism, sums) if any(s.any() for s in sums) else sums


def noise_that_is_uniform(mechanism: BreakableDpSgd, sums: list[FloatArray]) -> list[FloatArray]:
    """Uniform noise of the right standard deviation."""
    width = math.sqrt(3) * mechanism.scale
    return [s + mechanism.rng.uniform(-width, width, s.shape) for s in sums]


def noise_times_learning_rate(mechanism: BreakableDpSgd, sums: list[FloatArray]) -> list[FloatArray]:
    """The noise is multiplied by a learning rate of 0.1 twice, the gradient once."""
    return [s + 0.1 * mechanism.rng.normal(0.0, mechanism.scale, s.shape) for s in sums]


def noise_for_the_mean(mechanism: BreakableDpSgd, sums: list[FloatArray]) -> list[FloatArray]:
    """Noise divided by the batch before the sum is divided too."""
    return [s + mechanism.rng.normal(0.0, mechanism.scale / mechanism.denominator, s.shape) for s in sums]


def noise_on_some_coordinates(mechanism: BreakableDpSgd, sums: list[FloatArray]) -> list[FloatArray]:
    """Only coordinates that change get noise, as sparse updates do: the rest is released exactly."""
    return [np.where(s != 0, s + mechanism.rng.normal(0.0, mechanism.scale, s.shape), 0.0) for s in sums]


# Wrong ways to divide.


def divide_by_actual_batch(sums: list[FloatArray], size: int, _: float) -> list[FloatArray]:
    """Divided by the size of the Poisson batch at hand (TensorFlow Privacy's Keras optimizers do)."""
    return [s / max(size, 1) for s in sums]


def skip_empty_batches(sums: list[FloatArray], size: int, denominator: float) -> list[FloatArray]:
    """An empty batch releases zeros, without noise."""
    return [s / denominator if size else np.zeros_like(s) for s in sums]


def raw_average(momentum: float = 0.9) -> Callable[[int], Mechanism]:
    """A momentum that is computed before clipping and noise, and published with the model."""

    def build(seed: int) -> Mechanism:
        held: dict[str, object] = {}

        def reset() -> None:
            held["private"], held["average"] = BreakableDpSgd(seed=seed), None

        def release(gradients: Sequence[Array]) -> list[FloatArray]:
            private = held["private"]
            assert isinstance(private, BreakableDpSgd)
            raw = [np.nan_to_num(np.asarray(g, np.float64)).sum(axis=0) for g in gradients]
            before = held["average"]
            old = before if isinstance(before, list) else [np.zeros_like(r) for r in raw]
            held["average"] = [momentum * o + r for o, r in zip(old, raw, strict=True)]
            return private(gradients)

        def state() -> list[Array]:
            average = held["average"]
            assert isinstance(average, list)
            return average

        reset()
        return Mechanism(release, reset=reset, state=state, name="DP-SGD with momentum")

    return build
