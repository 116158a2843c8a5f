import numpy as np
import pytest

from dpaudit.attacks.gradient.linear_layer import DenseInversion
from dpaudit.attacks.gradient.scanner import scan
from dpaudit.attacks.gradient.servers.fishing import Fishing
from dpaudit.attacks.gradient.view import Arrays
from dpaudit.runtime.errors import InputError
from tests.attacks.gradient import mlp
from tests.attacks.gradient.mlp import Images


class Model:
    """As much of a Keras model as the server reads."""

    def __init__(self, weights: Arrays) -> None:
        self.get_weights = lambda: list(weights)


def test_the_only_record_of_a_class_is_fished_out_of_a_batch(images: Images) -> None:
    """A batch of 32 digits with one of class 3: its gradient in the first layer is that record's alone, by a brute
    force of single records, and the record comes back to 1e-6; from the honest model it does not."""
    x, y = images
    rows = np.concatenate([np.flatnonzero(y == 3)[:1], np.flatnonzero(y != 3)[:31]])
    honest = mlp.weights((64, 50, 10), seed=0)
    fished = Fishing(target=3)(Model(honest), x)
    whole, single = mlp.gradient(fished, x[rows], y[rows]), mlp.gradient(fished, x[rows[:1]], y[rows[:1]])
    assert np.allclose(32 * whole[0], single[0], rtol=0, atol=1e-9 * np.abs(single[0]).max())
    errors = []
    for arrays in (honest, fished):
        found = DenseInversion()(mlp.observed(arrays, x[rows], y[rows])).records
        errors.append(min((np.abs(record - x[rows[0]]).max() for record in found), default=1.0))
    assert errors[0] > 0.1
    assert errors[1] < 1e-6


def test_the_scanner_finds_a_fished_class_under_noise(images: Images) -> None:
    """Either sign gives it away: the other columns back at a quarter of their size, or the biases back at zero; both
    back is the honest model."""
    x, _ = images
    honest = mlp.weights((64, 50, 10), seed=0)
    fished = Fishing(target=3)(Model(honest), x)
    smaller = honest[2] * np.where(np.arange(10) == 3, 1, 0.25)
    for kernel, bias, seen in (
        (fished[2], fished[3], True),
        (honest[2], fished[3], True),
        (smaller, honest[3], True),
        (honest[2], honest[3], False),
    ):
        found = [finding.check for finding in scan((*honest[:2], kernel, bias))]
        assert found == ["malicious layers: fishing for a class"] * seen


def test_a_class_that_the_head_lacks_is_refused() -> None:
    """Class 10 of ten classes."""
    with pytest.raises(InputError, match="target must be one of the 10 classes, got 10"):
        Fishing(target=10)(Model(mlp.weights((6, 4, 10), seed=0)), np.ones((1, 6)))
