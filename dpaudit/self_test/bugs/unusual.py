"""DP-SGD with faults that show only to a question made for their kind, and right mechanisms of unusual kinds."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from dpaudit.accounting.law import Banded, DiscreteGaussian, Laplace, Law, TreeNoise, correlated
from dpaudit.inspection.after import ADAM, ROUNDED, TOP_K, After, Momentum, WeightDecay
from dpaudit.inspection.mechanism import Array, Mechanism, Stated
from dpaudit.runtime.check import FloatArray
from dpaudit.self_test.bugs.dp_sgd import BreakableDpSgd, clip_examples, fresh_noise, norms, weighted

BANDS = (1.0, 0.5, 0.25, 0.125)
STEPS = 64  # of correlated noise
SPACING = 2.0**-6


def _finite(gradients: list[FloatArray]) -> list[FloatArray]:
    return [np.where(np.isfinite(g), g, 0.0) for g in gradients]


def _scaled(gradients: list[FloatArray], limit: FloatArray | float) -> FloatArray:
    return np.minimum(1.0, limit / np.maximum(norms(gradients), 1e-300))


# Clips that depend on where or how large.


def clip_all_but_the_last(gradients: list[FloatArray], clip_norm: float) -> list[FloatArray]:
    """The last example of a batch is not clipped: a loop that stops one short."""
    finite = _finite(gradients)
    factors = _scaled(finite, clip_norm)
    factors[-1:] = 1.0
    return weighted(factors, finite)


def clip_beyond_twice(gradients: list[FloatArray], clip_norm: float) -> list[FloatArray]:
    """Only norms beyond 2C are clipped."""
    finite = _finite(gradients)
    return weighted(np.where(norms(finite) > 2 * clip_norm, _scaled(finite, clip_norm), 1.0), finite)


def clip_outside_a_band(gradients: list[FloatArray], clip_norm: float) -> list[FloatArray]:
    """Norms from 20C to 40C are taken for clipped already."""
    finite = _finite(gradients)
    found = norms(finite) / clip_norm
    return weighted(np.where((found > 20) & (found < 40), 1.0, _scaled(finite, clip_norm)), finite)


def clip_full_batches(gradients: list[FloatArray], clip_norm: float) -> list[FloatArray]:
    """What does not fill a vector of four goes by unclipped, as the tail of an unrolled loop."""
    finite = _finite(gradients)
    factors = _scaled(finite, clip_norm)
    factors[len(factors) // 4 * 4 :] = 1.0
    return weighted(factors, finite)


# Clips and denominators that depend on the other examples.


def clip_at_the_median(gradients: list[FloatArray], clip_norm: float) -> list[FloatArray]:
    """Clipped at the median norm of the batch, where that is not 0."""
    finite = _finite(gradients)
    median = float(np.median(norms(finite))) if len(finite[0]) else 0.0
    return weighted(_scaled(finite, median or clip_norm), finite)


def clip_at_the_median_or_less(gradients: list[FloatArray], clip_norm: float) -> list[FloatArray]:
    """Clipped at the median norm of the batch, at C at most: one example moves the clip of all."""
    finite = _finite(gradients)
    median = float(np.median(norms(finite))) if len(finite[0]) else 0.0
    return weighted(_scaled(finite, min(median or clip_norm, clip_norm)), finite)


def divide_by_the_largest(gradients: list[FloatArray], clip_norm: float) -> list[FloatArray]:
    """All are divided by the largest norm of the batch."""
    finite = _finite(gradients)
    largest = max(float(norms(finite).max(initial=0.0)), clip_norm)
    return weighted(np.full(len(finite[0]), clip_norm / largest), finite)


# Noise of another law.


def noise_cut_off(mechanism: BreakableDpSgd, sums: list[FloatArray]) -> list[FloatArray]:
    """Gaussian noise drawn again where it is beyond 3 deviations."""
    return [s + mechanism.scale * _truncated(mechanism.rng, s.shape, 3.0) for s in sums]


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


# Right mechanisms of unusual kinds: a function from a seed to the mechanism and what it states.

BuildStated = Callable[[int], tuple[Mechanism, Stated]]


def followed_by(step: After, apply: Callable[[list[FloatArray], dict[str, Any]], list[FloatArray]]) -> BuildStated:
    """DP-SGD whose release goes through a step that it names."""

    def build(seed: int) -> tuple[Mechanism, Stated]:
        def start(stream: int) -> Mechanism:
            held: dict[str, Any] = {}

            def reset() -> None:
                held.clear()
                held["private"] = BreakableDpSgd(seed=stream)

            def release(gradients: Sequence[Array]) -> list[FloatArray]:
                return apply(held["private"](gradients), held)

            reset()
            return Mechanism(release, reset=reset, after=(step,), name="DP-SGD with a step after its noise")

        streams = iter(range(1_000_000 * seed + 1, 1_000_000 * (seed + 1)))
        return replace(start(seed), fresh=lambda: start(next(streams))), BreakableDpSgd().stated

    return build


def _momentum(noisy: list[FloatArray], held: dict[str, Any]) -> list[FloatArray]:
    before = held.get("u", [np.zeros_like(g) for g in noisy])
    held["u"] = [0.9 * u + g for u, g in zip(before, noisy, strict=True)]
    return list(held["u"])


def _average(noisy: list[FloatArray], held: dict[str, Any]) -> list[FloatArray]:
    before = held.get("u", [np.zeros_like(g) for g in noisy])
    held["u"] = [0.8 * u + 0.2 * g for u, g in zip(before, noisy, strict=True)]
    return list(held["u"])


WEIGHTS = tuple(np.random.default_rng(5).normal(size=shape) for shape in ((12, 8), (12, 8), (80,)))


def _decay(noisy: list[FloatArray], _: dict[str, Any]) -> list[FloatArray]:
    return [g + 0.1 * w for g, w in zip(noisy, WEIGHTS, strict=True)]


def _adam(noisy: list[FloatArray], held: dict[str, Any]) -> list[FloatArray]:
    m, v, t = held.get("adam", ([np.zeros_like(g) for g in noisy], [np.zeros_like(g) for g in noisy], 0))
    m = [0.9 * a + 0.1 * g for a, g in zip(m, noisy, strict=True)]
    v = [0.999 * a + 0.001 * g**2 for a, g in zip(v, noisy, strict=True)]
    held["adam"] = (m, v, t + 1)
    return [a / (1 - 0.9 ** (t + 1)) / (np.sqrt(b / (1 - 0.999 ** (t + 1))) + 1e-8) for a, b in zip(m, v, strict=True)]


def _top_k(noisy: list[FloatArray], _: dict[str, Any]) -> list[FloatArray]:
    return [np.where(np.abs(g) >= np.sort(np.abs(g), axis=None)[-10], g, 0.0) for g in noisy]


def _rounded(noisy: list[FloatArray], _: dict[str, Any]) -> list[FloatArray]:
    return [np.round(g, 2) for g in noisy]


def of_law(law: Law) -> BuildStated:
    """DP-SGD with noise of the law that it states; correlated noise from its first step on when it is built anew."""

    def build(seed: int) -> tuple[Mechanism, Stated]:
        streams = iter(range(1_000_000 * seed, 1_000_000 * (seed + 1)))

        def start() -> Mechanism:
            return Mechanism(_with_law(law, np.random.default_rng(next(streams))), name=f"DP-SGD, {law.words} noise")

        return replace(start(), fresh=start), Stated(2.0, 1.0, 32.0, law=law)

    return build


def _with_law(law: Law, rng: np.random.Generator) -> Callable[[Sequence[Array]], list[FloatArray]]:
    covariance = correlated(law)
    root = None if covariance is None else np.linalg.cholesky(covariance)
    past: list[FloatArray] = []

    def draw(size: int) -> FloatArray:
        match law:
            case Laplace():
                return rng.laplace(0.0, 2.0, size)
            case DiscreteGaussian(spacing=spacing):
                lattice = np.arange(-math.ceil(20 / spacing), math.ceil(20 / spacing) + 1) * spacing
                chances = np.exp(-((lattice / 2.0) ** 2) / 2)
                return rng.choice(lattice, size, p=chances / chances.sum())
        past.append(rng.normal(0.0, 2.0, size))
        if root is None:
            return past.pop()
        return np.asarray(root[len(past) - 1, : len(past)] @ np.array(past))

    def release(gradients: Sequence[Array]) -> list[FloatArray]:
        sums = _sums(law, _finite([np.asarray(g, np.float64) for g in gradients]))
        flat = np.concatenate([s.ravel() for s in sums])
        if isinstance(law, DiscreteGaussian):
            flat = np.trunc(flat / law.spacing) * law.spacing  # towards 0, which keeps the norm
        noisy = flat + draw(flat.size)
        ends = np.cumsum([s.size for s in sums])[:-1]
        return [part.reshape(s.shape) / 32.0 for s, part in zip(sums, np.split(noisy, ends), strict=True)]

    return release


def _sums(law: Law, gradients: list[FloatArray]) -> list[FloatArray]:
    if not isinstance(law, Laplace):
        return clip_examples(gradients, 2.0)
    rows = [g.reshape(len(g), math.prod(g.shape[1:])) for g in gradients]
    found = np.abs(np.concatenate(rows, axis=1)).sum(axis=1)
    return weighted(np.minimum(1.0, 2.0 / np.maximum(found, 1e-300)), gradients)


def permuting(seed: int) -> tuple[Mechanism, Stated]:
    """Each batch is permuted inside, by draws of the generator that draws the noise."""
    held = {"private": BreakableDpSgd(seed=seed)}

    def release(gradients: Sequence[Array]) -> list[FloatArray]:
        order = held["private"].rng.permutation(len(gradients[0]))
        return held["private"]([g[order] for g in gradients])

    def reset() -> None:
        held["private"] = BreakableDpSgd(seed=seed)

    return Mechanism(release, reset=reset, name="DP-SGD that permutes its batch"), BreakableDpSgd().stated


def rotating(seed: int, *, resets: bool = True) -> tuple[Mechanism, Stated]:
    """The noisy gradient is released in another basis, a fixed one."""
    private = BreakableDpSgd(seed=seed)
    turn, _ = np.linalg.qr(np.random.default_rng(3).standard_normal((272, 272)))

    def release(gradients: Sequence[Array]) -> list[FloatArray]:
        noisy = private(gradients)
        turned = turn @ np.concatenate([g.ravel() for g in noisy])
        return [part.reshape(g.shape) for g, part in zip(noisy, np.split(turned, [96, 192]), strict=True)]

    reset = private.__post_init__ if resets else None
    return Mechanism(release, reset=reset, name="DP-SGD in another basis"), private.stated


def clip_smoothly(gradients: list[FloatArray], clip_norm: float) -> list[FloatArray]:
    """A right clip that is no minimum: C g / (‖g‖ + C/100) (Bu and others 2022, 2206.07136)."""
    finite = _finite(gradients)
    return weighted(clip_norm / (norms(finite) + 0.01 * clip_norm), finite)


def noise_by_counter(mechanism: BreakableDpSgd, sums: list[FloatArray]) -> list[FloatArray]:
    """Right noise, keyed by a seed and the number of the step."""
    rng = np.random.default_rng([mechanism.seed, mechanism.calls])
    return [s + rng.normal(0.0, mechanism.scale, s.shape) for s in sums]


RIGHT: dict[str, BuildStated] = {
    "momentum after the noise": followed_by(Momentum(0.9), _momentum),
    "moving average after the noise": followed_by(Momentum(0.8, 0.8), _average),
    "weight decay after the noise": followed_by(WeightDecay(0.1, WEIGHTS), _decay),
    "Adam after the noise": followed_by(ADAM, _adam),
    "top-k after the noise": followed_by(TOP_K, _top_k),
    "rounding after the noise": followed_by(ROUNDED, _rounded),
    "Laplace noise": of_law(Laplace()),
    "discrete Gaussian noise": of_law(DiscreteGaussian(SPACING)),
    "banded matrix noise": of_law(Banded(BANDS, STEPS)),
    "tree noise": of_law(TreeNoise(STEPS)),
    "permuted batches": permuting,
    "fixed rotation": rotating,
    "smooth clip": lambda seed: (BreakableDpSgd(seed=seed, clip=clip_smoothly).mechanism(), BreakableDpSgd().stated),
    "noise by counter": lambda seed: (
        BreakableDpSgd(seed=seed, noise=noise_by_counter).mechanism(),
        BreakableDpSgd().stated,
    ),
}

# Faults with no finite ε: what is released without noise, or with noise that can be drawn again or taken off.
EPSILON = dict.fromkeys(
    (
        "noise_cut_off",
        "noise_clipped",
        "noise_triangular",
        "noise_in_float16",
        "noise_on_a_fixed_grid",
        "noise_from_a_pool",
        "noise_of_short_seeds",
        "noise_of_opposite_pairs",
        "noise_without_its_mean",
        "noise_but_for_the_last",
        "noise_in_a_subspace",
        "noise_but_every_hundredth",
        "noise_but_every_thousandth",
        "noise_at_even_steps",
    ),
    math.inf,
)

PARTS: dict[str, tuple[str, ...]] = {
    "clip": (
        "clip_all_but_the_last",
        "clip_beyond_twice",
        "clip_outside_a_band",
        "clip_full_batches",
        "clip_at_the_median",
        "clip_at_the_median_or_less",
        "divide_by_the_largest",
    ),
    "noise": (
        "noise_cut_off",
        "noise_clipped",
        "noise_triangular",
        "noise_in_float16",
        "noise_on_a_fixed_grid",
        "noise_from_a_pool",
        "noise_of_short_seeds",
        "noise_of_opposite_pairs",
        "noise_without_its_mean",
        "noise_but_for_the_last",
        "noise_in_a_subspace",
        "noise_but_every_hundredth",
        "noise_but_every_thousandth",
        "noise_at_even_steps",
    ),
}


def _truncated(rng: np.random.Generator, shape: tuple[int, ...], limit: float) -> FloatArray:
    drawn = rng.standard_normal(shape)
    while (beyond := np.abs(drawn) > limit).any():
        drawn[beyond] = rng.standard_normal(int(beyond.sum()))
    return drawn


def _seeded(mechanism: BreakableDpSgd, sums: list[FloatArray], seed: int) -> list[FloatArray]:
    rng = np.random.default_rng(seed)
    return [s + rng.normal(0.0, mechanism.scale, s.shape) for s in sums]
