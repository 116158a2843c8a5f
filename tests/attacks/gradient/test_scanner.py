import numpy as np
import pytest

from dpaudit.attacks.gradient.scanner import scan
from dpaudit.attacks.gradient.servers.imprint import plant_imprint
from dpaudit.attacks.gradient.servers.trap_weights import plant_traps
from tests.attacks.gradient import mlp
from tests.attacks.gradient.mlp import Images


@pytest.mark.long
def test_honest_models_are_left_alone(images: Images) -> None:
    """300 random starts of three shapes and a trained model at three learning rates: no alarm. (Of a random start an
    alarm has a probability below 1e-6 a layer; trained networks are counted by benchmarks/honest_networks.py.)"""
    x, y = images
    for sizes in ((50, 40, 10), (2, 8, 3), (30, 64, 32, 2)):
        for seed in range(100):
            assert scan(mlp.weights(sizes, seed=seed)) == ()
    for rate in (0.1, 0.5, 1.0):
        trained = mlp.weights((64, 64, 10), seed=0)
        for _ in range(50):
            trained = tuple(w - rate * g for w, g in zip(trained, mlp.gradient(trained, x[:200], y[:200]), strict=True))
        assert scan(trained) == ()


def test_what_is_planted_is_named_with_its_place(images: Images) -> None:
    """Each by its own rule, as a warning about the first layer."""
    x, _ = images
    honest = mlp.weights((64, 64, 10), seed=0)
    for planted, what in (
        (plant_imprint(honest, x[1000:]), "imprint module"),
        (plant_traps(honest, seed=0), "trap weights"),
    ):
        (found,) = scan(planted)
        assert found.check == f"malicious layers: {what}"
        assert found.fed.startswith("dense layer 0")
        assert found.severity == "warning"


def test_layers_with_few_or_silent_neurons_are_no_alarm() -> None:
    """One neuron, one input, weights that are all zero, and two classes that mirror each other."""
    for kernel in (np.ones((5, 1)), np.ones((1, 5)), np.zeros((5, 5))):
        head = np.random.default_rng(0).normal(size=(kernel.shape[1], 2))
        assert scan((kernel, np.zeros(kernel.shape[1]), head, np.zeros(2))) == ()
    mirrored = np.random.default_rng(0).normal(size=(7, 1)) * [[1.0, -1.0]]
    assert scan((mirrored, np.zeros(2))) == ()
