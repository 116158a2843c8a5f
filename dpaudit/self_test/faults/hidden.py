"""DP-SGD with faults that show only to a question made for their kind."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from dpaudit.inspection.mechanism import Array, Mechanism
from dpaudit.runtime.check import FloatArray
from dpaudit.self_test.faults.dp_sgd import BreakableDpSgd, clip_examples, fresh_noise, norms, only_finite, weighted


def _scaled(gradients: list[FloatArray], limit: FloatArray | float) -> FloatArray:
    return np.minimum(1.0, limit / np.maximum(norms(gradients), 1e-300))


# Clips that depend on where or how large.


def clip_all_but_the_last(gradients: list[FloatArray], clip_norm: float) -> list[FloatArray]:
    """The last example of a batch is not clipped: a loop that stops one short."""
    finite = only_finite(gradients)
    factors = _scaled(finite, clip_norm)
    factors[-1:] = 1.0
    return weighted(factors, finite)


def clip_beyond_twice(gradients: list[FloatArray], clip_norm: float) -> list[FloatArray]:
    """Only norms beyond 2C are clipped."""
    finite = only_finite(gradients)
    return weighted(np.where(norms(finite) > 2 * clip_norm, _scaled(finite, clip_norm), 1.0), finite)


def clip_outside_a_band(gradients: list[FloatArray], clip_norm: float) -> list[FloatArray]:
    """Norms from 20C to 40C are taken for clipped already."""
    finite = only_finite(gradients)
    found = norms(finite) / clip_norm
    return weighted(np.where((found > 20) & (found < 40), 1.0, _scaled(finite, clip_norm)), finite)


def clip_full_batches(gradients: list[FloatArray], clip_norm: float) -> list[FloatArray]:
    """What does not fill a vector of four goes by unclipped, as the tail of an unrolled loop."""
    finite = only_finite(gradients)
    factors = _scaled(finite, clip_norm)
    factors[len(factors) // 4 * 4 :] = 1.0
    return weighted(factors, finite)


def clip_the_first_planned(gradients: list[FloatArray], clip_norm: float) -> list[FloatArray]:
    """What a batch holds beyond the planned 32 examples is not clipped."""
    finite = only_finite(gradients)
    factors = _scaled(finite, clip_norm)
    factors[32:] = 1.0
    return weighted(factors, finite)


# Clips and denominators that depend on the other examples.


def clip_at_the_median(gradients: list[FloatArray], clip_norm: float) -> list[FloatArray]:
    """Clipped at the median norm of the batch, where that is not 0."""
    finite = only_finite(gradients)
    median = float(np.median(norms(finite))) if len(finite[0]) else 0.0
    return weighted(_scaled(finite, median or clip_norm), finite)


def clip_at_the_median_or_less(gradients: list[FloatArray], clip_norm: float) -> list[FloatArray]:
    """Clipped at the median norm of the batch, at C at most: one example moves the clip of all."""
    finite = only_finite(gradients)
    median = float(np.median(norms(finite))) if len(finite[0]) else 0.0
    return weighted(_scaled(finite, min(median or clip_norm, clip_norm)), finite)


def divide_by_the_largest(gradients: list[FloatArray], clip_norm: float) -> list[FloatArray]:
    """All are divided by the largest norm of the batch."""
    finite = only_finite(gradients)
    largest = max(float(norms(finite).max(initial=0.0)), clip_norm)
    return weighted(np.full(len(finite[0]), clip_norm / largest), finite)


# Noise of another law.


def noise_cut_off(mechanism: BreakableDpSgd, sums: list[FloatArray]) -> list[FloatArray]:
    """Gaussian noise drawn again where it is beyond 3 deviations."""
    return [s + mechanism.scale * truncated(mechanism.rng, s.shape, 3.0) for s in sums]


def noise_clipped(mechanism: BreakableDpSgd, sums: list[FloatArray]) -> list[FloatArray]:
    """Gaussian noise clipped to 3.5 deviations."""
    return [s + mechanism.scale * np.clip(mechanism.rng.standard_normal(s.shape), -3.5, 3.5) for s in sums]


def noise_triangular(mechanism: BreakableDpSgd, sums: list[FloatArray]) -> list[FloatArray]:
    """The sum of two uniform draws, of the right deviation."""
    width = math.sqrt(1.5) * mechanism.scale
    return [s + mechanism.rng.uniform(-width, width, (2, *s.shape)).sum(axis=0) for s in sums]


def noise_in_float16(mechanism: BreakableDpSgd, sums: list[FloatArray]) -> list[FloatArray]:
    """Noise is drawn in half precision, the sum is in full: the digits beyond are those of the sum."""
    return [s + mechanism.rng.normal(0.0, mechanism.scale, s.shape).astype(np.float16).astype(np.float64) for s in sums]


def noise_on_a_fixed_grid(mechanism: BreakableDpSgd, sums: list[FloatArray]) -> list[FloatArray]:
    """Noise is rounded to 1/1024 of its deviation before it is added."""
    step = mechanism.scale / 1024
    return [s + step * np.rint(mechanism.rng.normal(0.0, mechanism.scale, s.shape) / step) for s in sums]


def noise_of_one_norm(mechanism: BreakableDpSgd, sums: list[FloatArray]) -> list[FloatArray]:
    """Gaussian noise that is scaled to the norm it has on average."""
    drawn = [mechanism.rng.standard_normal(s.shape) for s in sums]
    norm = math.sqrt(sum(float(np.square(d).sum()) for d in drawn) / sum(s.size for s in sums))
    return [s + mechanism.scale / norm * d for s, d in zip(sums, drawn, strict=True)]


def noise_of_a_drawn_scale(mechanism: BreakableDpSgd, sums: list[FloatArray]) -> list[FloatArray]:
    """Each step draws its deviation, from 0.9 to 1.1 of the stated one."""
    scale = mechanism.rng.uniform(0.9, 1.1) * mechanism.scale
    return [s + mechanism.rng.normal(0.0, scale, s.shape) for s in sums]


# Noise with little entropy.


def noise_from_a_pool(mechanism: BreakableDpSgd, sums: list[FloatArray]) -> list[FloatArray]:
    """A thousand vectors are drawn once, and one of them is taken at each step."""
    return _seeded(mechanism, sums, int(mechanism.rng.integers(1000)))


def noise_of_short_seeds(mechanism: BreakableDpSgd, sums: list[FloatArray]) -> list[FloatArray]:
    """The seed of each step has 16 bits."""
    return _seeded(mechanism, sums, int(mechanism.rng.integers(2**16)))


def noise_of_opposite_pairs(mechanism: BreakableDpSgd, sums: list[FloatArray]) -> list[FloatArray]:
    """Antithetic draws: every second step takes the noise of the one before it, turned around."""
    sign = 1.0 if mechanism.calls % 2 else -1.0
    rng = np.random.default_rng([mechanism.seed, (mechanism.calls + 1) // 2])
    return [s + sign * rng.normal(0.0, mechanism.scale, s.shape) for s in sums]


def noise_of_two_shards(mechanism: BreakableDpSgd, sums: list[FloatArray]) -> list[FloatArray]:
    """Two workers hold one half of the coordinates each, and draw from generators of one seed."""
    half = mechanism.rng.normal(0.0, mechanism.scale, sum(s.size for s in sums) // 2)
    ends = np.cumsum([s.size for s in sums])[:-1]
    return [s + part.reshape(s.shape) for s, part in zip(sums, np.split(np.tile(half, 2), ends), strict=True)]


# Noise that leaves a direction free.


def noise_without_its_mean(mechanism: BreakableDpSgd, sums: list[FloatArray]) -> list[FloatArray]:
    """Noise is centred: the mean of all coordinates is released as it is."""
    drawn = [mechanism.rng.normal(0.0, mechanism.scale, s.shape) for s in sums]
    mean = np.mean(np.concatenate([d.ravel() for d in drawn]))
    return [s + d - mean for s, d in zip(sums, drawn, strict=True)]


def noise_but_for_the_last(mechanism: BreakableDpSgd, sums: list[FloatArray]) -> list[FloatArray]:
    """The last coordinate of the last variable gets none."""
    noisy = fresh_noise(mechanism, sums)
    noisy[-1].ravel()[-1] = sums[-1].ravel()[-1]
    return noisy


def noise_in_a_subspace(mechanism: BreakableDpSgd, sums: list[FloatArray]) -> list[FloatArray]:
    """Noise is projected off a fixed direction over all variables."""
    drawn = np.concatenate([mechanism.rng.normal(0.0, mechanism.scale, s.size) for s in sums])
    unit = np.random.default_rng(11).standard_normal(drawn.size)
    unit /= np.linalg.norm(unit)
    drawn -= (drawn @ unit) * unit
    ends = np.cumsum([s.size for s in sums])[:-1]
    return [s + part.reshape(s.shape) for s, part in zip(sums, np.split(drawn, ends), strict=True)]


# Rare and excited steps.


def noise_but_every_hundredth(mechanism: BreakableDpSgd, sums: list[FloatArray]) -> list[FloatArray]:
    """Every hundredth step, which is written down for a chart, is without noise."""
    return sums if mechanism.calls % 100 == 0 else fresh_noise(mechanism, sums)


def noise_but_every_thousandth(mechanism: BreakableDpSgd, sums: list[FloatArray]) -> list[FloatArray]:
    """Every thousandth step is without noise."""
    return sums if mechanism.calls % 1000 == 0 else fresh_noise(mechanism, sums)


def noise_at_even_steps(mechanism: BreakableDpSgd, sums: list[FloatArray]) -> list[FloatArray]:
    """Noise at even steps only."""
    return sums if mechanism.calls % 2 else fresh_noise(mechanism, sums)


def skipped_after_overflow(fault: str) -> Callable[[int], Mechanism]:
    """A gradient scaler that skips the step (``step``) or the noise of the next one (``noise``) after an overflow."""

    def build(seed: int) -> Mechanism:
        held: dict[str, Any] = {}

        def reset() -> None:
            held["private"], held["quiet"] = BreakableDpSgd(seed=seed), False

        def release(gradients: Sequence[Array]) -> list[FloatArray]:
            private: BreakableDpSgd = held["private"]
            overflowed = any(not np.isfinite(g).all() for g in gradients)
            noisy, quiet = private(gradients), held["quiet"]
            held["quiet"] = overflowed and fault == "noise"
            if overflowed and fault == "step":
                return [np.zeros_like(array) for array in noisy]
            if quiet:
                finite = [np.asarray(g, np.float64) for g in gradients]
                return [total / private.denominator for total in clip_examples(finite, private.clip_norm)]
            return noisy

        reset()
        return Mechanism(release, reset=reset, name="DP-SGD with a gradient scaler")

    return build


def quiet_at(size: int) -> Callable[[int], Mechanism]:
    """Batches of one size are without noise, as where a compiled step is kept for each size."""

    def build(seed: int) -> Mechanism:
        private = BreakableDpSgd(seed=seed)

        def release(gradients: Sequence[Array]) -> list[FloatArray]:
            noisy = private(gradients)
            if len(gradients[0]) != size:
                return noisy
            finite = [np.asarray(g, np.float64) for g in gradients]
            return [total / private.denominator for total in clip_examples(finite, private.clip_norm)]

        return Mechanism(release, reset=private.__post_init__, name="DP-SGD compiled for each size")

    return build


PARTS: dict[str, tuple[str, ...]] = {
    "clip": (
        "clip_all_but_the_last",
        "clip_beyond_twice",
        "clip_outside_a_band",
        "clip_full_batches",
        "clip_the_first_planned",
        "clip_at_the_median",
        "clip_at_the_median_or_less",
        "divide_by_the_largest",
    ),
    "noise": (
        "noise_cut_off",
        "noise_clipped",
        "noise_triangular",
        "noise_of_one_norm",
        "noise_of_a_drawn_scale",
        "noise_in_float16",
        "noise_on_a_fixed_grid",
        "noise_from_a_pool",
        "noise_of_short_seeds",
        "noise_of_opposite_pairs",
        "noise_of_two_shards",
        "noise_without_its_mean",
        "noise_but_for_the_last",
        "noise_in_a_subspace",
        "noise_but_every_hundredth",
        "noise_but_every_thousandth",
        "noise_at_even_steps",
    ),
}
# What is released without noise, or with noise that can be drawn again or taken off, has no finite ε.
EPSILON = {name: math.inf for name in PARTS["noise"] if name != "noise_of_a_drawn_scale"}


def truncated(rng: np.random.Generator, shape: tuple[int, ...], limit: float) -> FloatArray:
    """Standard normal draws, drawn again where they are beyond a limit."""
    drawn = rng.standard_normal(shape)
    while (beyond := np.abs(drawn) > limit).any():
        drawn[beyond] = rng.standard_normal(int(beyond.sum()))
    return drawn


def _seeded(mechanism: BreakableDpSgd, sums: list[FloatArray], seed: int) -> list[FloatArray]:
    rng = np.random.default_rng(seed)
    return [s + rng.normal(0.0, mechanism.scale, s.shape) for s in sums]
