"""Right mechanisms of unusual kinds: each is a function from a seed to the mechanism and what it states."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from dpaudit.accounting.law import Banded, DiscreteGaussian, Laplace, Law, TreeNoise, correlated
from dpaudit.inspection.after import ADAM, ROUNDED, TOP_K, After, Momentum, WeightDecay
from dpaudit.inspection.mechanism import Array, Mechanism, Stated
from dpaudit.runtime.check import FloatArray
from dpaudit.self_test.faults.dp_sgd import BreakableDpSgd, clip_examples, norms, only_finite, weighted

BANDS = (1.0, 0.5, 0.25, 0.125)
STEPS = 64  # of correlated noise
SPACING = 2.0**-6

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


def of_law(law: Law, *, root: FloatArray | None = None, again: int | None = None) -> BuildStated:
    """DP-SGD with noise of the law that it states; correlated noise from its first step on when it is built anew.

    ``root``: what independent draws are really multiplied by over the steps. ``again``: steps after which the draws are
    used again.
    """

    def build(seed: int) -> tuple[Mechanism, Stated]:
        streams = iter(range(1_000_000 * seed, 1_000_000 * (seed + 1)))

        def start() -> Mechanism:
            return Mechanism(
                _with_law(law, np.random.default_rng(next(streams)), root, again), name=f"DP-SGD, {law.words} noise"
            )

        return replace(start(), fresh=start), Stated(2.0, 1.0, 32.0, law=law)

    return build


def _with_law(
    law: Law, rng: np.random.Generator, root: FloatArray | None, again: int | None
) -> Callable[[Sequence[Array]], list[FloatArray]]:
    covariance = correlated(law)
    if root is None and covariance is not None:
        root = np.linalg.cholesky(covariance)
    past: list[FloatArray] = []

    def draw(size: int) -> FloatArray:
        match law:
            case Laplace():
                return rng.laplace(0.0, 2.0, size)
            case DiscreteGaussian(spacing=spacing):
                lattice = np.arange(-math.ceil(20 / spacing), math.ceil(20 / spacing) + 1) * spacing
                chances = np.exp(-((lattice / 2.0) ** 2) / 2)
                return rng.choice(lattice, size, p=chances / chances.sum())
        past.append(past[-again] if again and len(past) >= again else rng.normal(0.0, 2.0, size))
        if root is None:
            return past.pop()
        return np.asarray(root[len(past) - 1, : len(past)] @ np.array(past))

    def release(gradients: Sequence[Array]) -> list[FloatArray]:
        sums = _sums(law, only_finite([np.asarray(g, np.float64) for g in gradients]))
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
    finite = only_finite(gradients)
    return weighted(clip_norm / (norms(finite) + 0.01 * clip_norm), finite)


def clip_by_l1(gradients: list[FloatArray], clip_norm: float) -> list[FloatArray]:
    """A right clip that is tighter than stated: the L1 norm is at least the L2 norm."""
    finite = only_finite(gradients)
    found = sum(np.abs(g).reshape(len(g), math.prod(g.shape[1:])).sum(axis=1) for g in finite)
    return weighted(np.minimum(1.0, clip_norm / np.maximum(found, 1e-300)), finite)


def drop_beyond(gradients: list[FloatArray], clip_norm: float) -> list[FloatArray]:
    """A right clip that is not continuous: gradients beyond C are left out."""
    finite = only_finite(gradients)
    return weighted(np.where(norms(finite) <= clip_norm, 1.0, 0.0), finite)


def noise_of_workers(mechanism: BreakableDpSgd, sums: list[FloatArray]) -> list[FloatArray]:
    """Right noise, the sum of what eight workers draw with σC / √8 each."""
    return [s + mechanism.rng.normal(0.0, mechanism.scale / math.sqrt(8), (8, *s.shape)).sum(axis=0) for s in sums]


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
    "clip of the L1 norm": lambda seed: (
        BreakableDpSgd(seed=seed, clip=clip_by_l1).mechanism(),
        BreakableDpSgd().stated,
    ),
    "long gradients dropped": lambda seed: (
        BreakableDpSgd(seed=seed, clip=drop_beyond).mechanism(),
        BreakableDpSgd().stated,
    ),
    "noise of eight workers": lambda seed: (
        BreakableDpSgd(seed=seed, noise=noise_of_workers).mechanism(),
        BreakableDpSgd().stated,
    ),
    "noise by counter": lambda seed: (
        BreakableDpSgd(seed=seed, noise=noise_by_counter).mechanism(),
        BreakableDpSgd().stated,
    ),
}
