"""The network that benchmarks/rmia_cifar10.toml trains: its size, its batches, and the plan around it."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dpaudit.audits.plan import load_plan

pytestmark = pytest.mark.tf
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wide_resnet() -> Any:
    """The module, imported as the plan imports it."""
    sys.path.insert(0, str(ROOT))
    try:
        from benchmarks import wide_resnet
    finally:
        sys.path.remove(str(ROOT))
    return wide_resnet


def test_the_network_has_the_size_that_its_layers_call_for(wide_resnet: Any) -> None:
    """Depth 28 and width 2 have 1,467,610 trained numbers, counted from Zagoruyko and Komodakis (2016).

    Convolutions: 3x3 of 3 to 16; in each of three groups of width c from b, 3x3 of b to c, seven of c to c, and 1x1 of
    b to c. Normalisation: two numbers for each channel that goes in. Head: 128 to 10 with a bias.
    """
    convolutions = 9 * 3 * 16 + sum(9 * b * c + 7 * 9 * c * c + b * c for b, c in ((16, 32), (32, 64), (64, 128)))
    norms = 2 * (sum(b + 7 * c for b, c in ((16, 32), (32, 64), (64, 128))) + 128)
    expected = convolutions + norms + 128 * 10 + 10
    model = wide_resnet.network((32, 32, 3), 10, wide_resnet.Recipe())
    assert expected == 1_467_610
    assert sum(int(np.prod(weight.shape)) for weight in model.trainable_weights) == expected


def test_an_epoch_is_every_image_once_mirrored_and_shifted(wide_resnet: Any) -> None:
    """Each image of a batch is one of 81 crops of the padded image or of its mirror image, half each."""
    rng = np.random.default_rng(0)
    images, labels = rng.normal(size=(60, 12, 11, 2)).astype(np.float32), np.arange(60)
    seen, mirrored = [], []
    for batch, rows in wide_resnet.batches(images, labels, wide_resnet.Recipe(epochs=1, batch_size=16), seed=1):
        for image, row in zip(batch, rows, strict=True):
            padded = np.pad(images[row], ((4, 4), (4, 4), (0, 0)), mode="reflect")
            crops = [padded[i : i + 12, j : j + 11] for i in range(9) for j in range(9)]
            plain = any(np.array_equal(image, crop) for crop in crops)
            other = np.pad(images[row][:, ::-1], ((4, 4), (4, 4), (0, 0)), mode="reflect")
            turned = any(np.array_equal(image, other[i : i + 12, j : j + 11]) for i in range(9) for j in range(9))
            assert plain or turned
            seen.append(row)
            mirrored.append(turned and not plain)
    assert sorted(seen) == list(range(60))
    assert 15 <= sum(mirrored) <= 45


def test_every_target_of_the_plan_has_four_references_without_a_record() -> None:
    """Ten in complementary pairs: without the target's pair eight are left, half of them trained without it."""
    plan = load_plan(ROOT / "benchmarks" / "rmia_cifar10.toml")
    assert plan.membership is not None
    assert (plan.membership.references - 2) // 2 == 4
    attack = plan.membership.attacks[0].built
    assert (attack.version, attack.a) == ("rmia-offline/1", 0.3)
    assert plan.data is not None
    assert 60_000 * plan.data.population == pytest.approx(10_000, abs=1)
