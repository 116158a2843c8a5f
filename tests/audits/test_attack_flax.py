"""A Flax module is attacked by its apply function with its parameters, or once it is bound to them."""

from functools import partial
from typing import Any

import numpy as np
import pytest

linen: Any = pytest.importorskip("flax.linen", reason="needs JAX and Flax; make test-jax runs it")

from dpaudit import attack_model  # noqa: E402
from dpaudit.runtime.errors import InputError  # noqa: E402

pytestmark = [pytest.mark.jax, pytest.mark.filterwarnings("ignore")]


class Network(linen.Module):  # type: ignore[misc]  # Flax is not installed where types are checked
    """One hidden layer with dropout, which is off unless it is asked for."""

    @linen.compact
    def __call__(self, x: Any, train: bool = False) -> Any:
        x = linen.relu(linen.Dense(128)(x))
        return linen.Dense(2)(linen.Dropout(0.5, deterministic=not train)(x))


def test_the_apply_function_is_attacked_as_it_predicts() -> None:
    """Trained on labels that mean nothing it leaks, with an AUC above 0.8; untrained parameters leak nothing.

    The AUC of the untrained ones is within 4 standard errors of a half.
    """
    import jax
    import optax

    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(200, 16)).astype(np.float32), rng.integers(0, 2, 200)
    module = Network()
    start = module.init(jax.random.key(0), x[:1])
    optimizer = optax.adam(1e-2)

    @jax.jit
    def step(variables: Any, state: Any) -> Any:
        def loss(trained: Any) -> Any:
            outputs = module.apply(trained, x[:100])
            return optax.softmax_cross_entropy_with_integer_labels(outputs, y[:100]).mean()

        change, state = optimizer.update(jax.grad(loss)(variables), state)
        return optax.apply_updates(variables, change), state

    variables, state = start, optimizer.init(start)
    for _ in range(200):
        variables, state = step(variables, state)

    def auc(model: Any) -> float:
        found = attack_model(model, (x[:100], y[:100]), (x[100:], y[100:]), attacks=["loss"]).membership
        assert found is not None
        return found.attacks[0].auc

    trained = auc(partial(module.apply, variables))
    assert trained == auc(module.bind(variables)) > 0.8
    assert abs(auc(jax.jit(partial(module.apply, start))) - 0.5) < 4 * np.sqrt(201 / 12) / 100


def test_one_that_is_not_bound_is_refused() -> None:
    """A module by itself has no parameters: one line that says how to give them."""
    x, y = np.zeros((40, 16), np.float32) + np.arange(40)[:, None], np.tile([0, 1], 20)
    with pytest.raises(InputError, match=r"bind\(variables\)") as caught:
        attack_model(Network(), (x[:20], y[:20]), (x[20:], y[20:]), attacks=["loss"])
    assert "\n" not in str(caught.value)
