"""A clipped gradient of jax-privacy with its noise is inspected; its claim is read.

Statistical checks have a false-alarm rate of 1e-6 over each inspection; seeds are fixed.
"""

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

jax: Any = pytest.importorskip("jax", reason="needs dpaudit[jax]; make test-jax runs it")
jax_privacy: Any = pytest.importorskip("jax_privacy", reason="needs dpaudit[jax]; make test-jax runs it")

from dpaudit.accounting.claim import Claim, GaussianSteps, Poisson  # noqa: E402
from dpaudit.inspection.built_training import BuiltTraining  # noqa: E402
from dpaudit.inspection.inspect import inspect_mechanism  # noqa: E402
from dpaudit.inspection.jax_training import read_jax_training, takes_a_loss  # noqa: E402
from dpaudit.inspection.load_factory import build_from_factory  # noqa: E402
from dpaudit.runtime.errors import InputError  # noqa: E402
from dpaudit.runtime.jax import jax_module  # noqa: E402

pytestmark = [pytest.mark.jax, pytest.mark.filterwarnings("ignore")]
EXAMPLES = Path(__file__).parents[2] / "examples"


def _example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _gaussian(deviation: float) -> Any:
    return jax_privacy.noise_addition.gaussian_privatizer(stddev=deviation, prng_key=jax.random.key(0))


def _found(built: BuiltTraining) -> list[str]:
    claim = Claim(2.0, 1e-5, "record", "add-remove", "read", built.accounted)
    inspection = inspect_mechanism(built.mechanism, built.stated, seed=1, claim=claim, budget=2.0)
    return [each.check for each in (*built.reconciled(claim, level=1e-6).findings, *inspection.violations)]


def test_a_right_one_is_read_and_nothing_is_found() -> None:
    """Clip 1 over 50, noise multiplier 1.1, 200 steps at rate 0.05, as the example states them."""
    built = build_from_factory(f"{EXAMPLES / 'jax_train.py'}:build", seed=0)
    assert isinstance(built, BuiltTraining)
    assert (built.stated.clip, built.stated.denominator) == pytest.approx((1, 50))
    assert built.stated.noise_multiplier == pytest.approx(1.1)
    assert built.accounted == GaussianSteps(built.stated.noise_multiplier, 200, Poisson(0.05))
    assert _found(built) == []


def test_the_release_is_the_clipped_sum() -> None:
    """Without noise the step gives Σ clip(gᵢ, C) / 4, as computed by numpy, an empty batch zeros."""
    built = read_jax_training(
        lambda loss: (jax_privacy.clipped_grad(loss, l2_clip_norm=2.0, normalize_by=4.0), _gaussian(1e-9)),
        name="build",
        seed=0,
    )
    rng = np.random.default_rng(3)
    gradients = [rng.normal(size=(7, *shape)).astype(np.float32) for shape in built.mechanism.shapes]
    flat = np.concatenate([gradient.reshape(7, -1) for gradient in gradients], axis=1)
    expected = (flat * np.minimum(1.0, 2 / np.linalg.norm(flat, axis=1))[:, None]).sum(axis=0) / 4
    release = np.concatenate([part.ravel() for part in built.mechanism.release(gradients)])
    np.testing.assert_allclose(release, expected, atol=1e-5)
    empty = built.mechanism.release([gradient[:0] for gradient in gradients])
    assert max(np.abs(part).max() for part in empty) < 1e-6
    assert [each.check for each in built.not_checked] == ["the batches"]


def test_a_gradient_that_is_not_clipped_is_found() -> None:
    """A plain sum of gradients that says of itself that its sensitivity is 1."""

    def build(loss: Any) -> Any:
        right = jax_privacy.clipped_grad(loss, l2_clip_norm=1.0)

        def whole(weights: Any, batch: Any, *, is_padding_example: Any) -> Any:
            return [part.sum(axis=0) for part in batch]

        return type(right)(whole, 1.0, False), _gaussian(1.0)

    assert "sensitivity" in _found(read_jax_training(build, name="build", seed=0))


def test_a_constant_key_is_found() -> None:
    """A privatizer whose state never changes adds the same noise in every step."""

    def build(loss: Any) -> Any:
        right, stddev = _gaussian(1.0), 1.0

        def update(gradient: Any, state: Any, params: Any = None) -> Any:
            return (right.update(gradient, state)[0] if stddev else gradient), state

        return jax_privacy.clipped_grad(loss, l2_clip_norm=1.0), type(right)(right.init, update)

    assert "frozen seed" in _found(read_jax_training(build, name="build", seed=0))


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (lambda loss: jax.grad(loss), "no clipped gradient"),
        (lambda loss: jax_privacy.clipped_grad(loss, l2_clip_norm=1.0), "no privatizer"),
        (lambda loss: (jax_privacy.clipped_grad(loss, l2_clip_norm=0.0), _gaussian(1.0)), "sensitivity 0"),
    ],
)
def test_what_states_no_claim_is_refused(build: Any, says: str) -> None:
    """A plain gradient, one without noise, and one of which nothing is left: one line each."""
    with pytest.raises(InputError, match=says):
        read_jax_training(build, name="build", seed=0)


def test_only_a_factory_of_a_loss_is_of_jax() -> None:
    """Known by its parameter, without importing JAX."""
    assert takes_a_loss(lambda loss: None)
    assert not takes_a_loss(lambda: None)
    assert not takes_a_loss(lambda model: None)
    assert jax_module("jax.numpy").zeros(1).shape == (1,)


def test_thousands_of_trainings_by_vmap_are_audited() -> None:
    """The example's canary is in half of 4000 models: ε is above 0, and no more than the accountant's (95 %)."""
    (comparison,) = _example("jax_function").main().comparisons
    assert comparison.verdict == "consistent"
    assert comparison.strongest is not None
    assert 0.5 < comparison.strongest.epsilon < comparison.claim.epsilon


def test_one_of_them_is_trained_by_the_function_door() -> None:
    """The same function is a trainer of a plan."""
    from dpaudit import Dataset
    from dpaudit.training.function import Function

    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 4)).astype(np.float32)
    data = Dataset("line", x, (x[:, 0] > 0).astype(int))
    model = Function(_example("jax_function").train, 1.0, 20, 0.25)(data, np.ones(60, bool), seed=1)
    assert (model.predict(x).argmax(axis=1) == data.labels).mean() > 0.6
