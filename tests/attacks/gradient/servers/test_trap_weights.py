import numpy as np

from dpaudit.attacks.gradient.linear_layer import DenseInversion
from dpaudit.attacks.gradient.scanner import scan
from dpaudit.attacks.gradient.servers.trap_weights import alone_twice, plant_traps
from tests.attacks.gradient import mlp
from tests.attacks.gradient.mlp import Images


def test_trap_weights_leak_more_than_honest_ones(images: Images) -> None:
    """Trap weights make several times more neurons see one record alone (Boenisch et al. 2023), and every record that
    two neurons see alone comes back exactly."""
    x, y = images
    honest = mlp.weights((64, 400, 10), seed=0)
    shares = []
    for arrays in (honest, plant_traps(honest, scale=0.7, seed=0)):
        active = x[:20] @ arrays[0] + arrays[1] > 0
        alone = active.sum(0) == 1
        shares.append(alone.mean())
        twice = active[:, alone].sum(1) >= 2
        found = DenseInversion()(mlp.observed(arrays, x[:20], y[:20])).records
        nearest = [np.abs(found - record).max(1).min() for record in x[:20][twice]]
        assert max(nearest, default=0.0) < 1e-9
    assert shares[1] > 2 * shares[0]


def test_records_alone_in_two_neurons_are_counted() -> None:
    """By hand: the first record alone switches on two neurons, the second one, the third shares one with the second."""
    kernel = np.array([[1.0, 1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0, 0.0]])
    assert alone_twice(kernel, np.eye(3)).tolist() == [1, 0, 0]


def test_the_scanner_finds_traps_under_noise(images: Images) -> None:
    """Noise of half the weights' deviation and of less on every weight does not hide them; that of a fresh layer,
    twenty times as large, does, and is one."""
    honest = mlp.weights((64, 400, 10), seed=0)
    planted = plant_traps(honest, scale=0.9, seed=0)
    for share in (0.0, 1e-4, 0.01, 0.1, 0.5, 20.0):
        noise = np.random.default_rng(2).normal(0, share * planted[0].std(), planted[0].shape)
        found = scan((planted[0] + noise, *planted[1:]))
        assert [finding.check for finding in found] == ["malicious layers: trap weights"] * (share < 1), share
