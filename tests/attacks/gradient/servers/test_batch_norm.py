from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dpaudit.attacks.gradient.inverting_gradients import InvertingGradients
from dpaudit.attacks.gradient.scanner import scan
from dpaudit.attacks.gradient.servers.batch_norm import BatchNorm
from dpaudit.attacks.gradient.view import BatchGradient
from dpaudit.audits.plan import plan_from
from dpaudit.audits.run import run
from dpaudit.runtime.errors import InputError

pytestmark = pytest.mark.tf


def normalised(*, side: int = 4, records: bool = True) -> Any:
    """A small network; ``records`` normalises the records themselves too."""
    from dpaudit.runtime.tensorflow import keras

    keras.utils.set_random_seed(0)
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((side, side, 1)),
            *([layers.BatchNormalization()] if records else []),
            layers.Conv2D(8, 3, padding="same"),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.Conv2D(8, 3, strides=2, padding="same"),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.Flatten(),
            layers.Dense(10),
        ]
    )


def test_averages_are_those_of_the_servers_records() -> None:
    """Every layer then gives the server's records mean 0 and deviation 1, which is what batch normalisation is for; the
    first layer's averages are numpy's. The model itself is as before, and the scanner has no alarm."""
    from dpaudit.runtime.tensorflow import keras

    model, records = normalised(), np.random.default_rng(0).uniform(0, 1, (60, 4, 4, 1)).astype(np.float32)
    before = model.get_weights()
    fitted = BatchNorm()(model, records.astype(np.float64))
    assert all(map(np.array_equal, before, model.get_weights()))
    assert fitted[2] == pytest.approx(records.mean(), abs=1e-6)
    assert fitted[3] == pytest.approx(records.var(), abs=1e-6)
    assert scan(fitted) == ()
    model.set_weights(fitted)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            shown = keras.Model(model.input, layer.output)(records).numpy()
            assert np.abs(shown.mean((0, 1, 2))).max() < 1e-4
            scale = np.sqrt(layer.moving_variance.numpy() / (layer.moving_variance.numpy() + layer.epsilon))
            assert shown.std((0, 1, 2)) == pytest.approx(scale, abs=1e-3)


def test_the_distance_to_the_averages_is_that_of_their_definition() -> None:
    """Of two batches on the first layer, which is given the records themselves: Yin et al.'s sum of norms, by numpy."""
    from dpaudit.attacks.gradient.batch_statistics import away_from_averages
    from dpaudit.runtime.tensorflow import keras

    model = keras.Sequential(
        [keras.Input((4, 4, 1)), keras.layers.BatchNormalization(), keras.layers.Flatten(), keras.layers.Dense(2)]
    )
    batches = np.random.default_rng(0).uniform(0, 1, (2, 5, 4, 4, 1)).astype(np.float32)
    expected = [abs(batch.mean() - 0.0) + abs(batch.var() - 1.0) for batch in batches]  # averages begin at 0 and 1
    assert away_from_averages(model, batches).numpy() == pytest.approx(expected, abs=1e-5)


def test_statistics_are_refused_where_there_are_none() -> None:
    """A model without batch normalisation, and a view of other weights than the model's."""
    from dpaudit.runtime.tensorflow import keras

    plain = keras.Sequential([keras.Input((6,)), keras.layers.Dense(3)])
    with pytest.raises(InputError, match="needs an architecture with BatchNormalization"):
        InvertingGradients(plain, statistics=0.1).require(tuple(plain.get_weights()))
    model = normalised()
    other = tuple(np.asarray(each, np.float64) + 1 for each in model.get_weights())
    with pytest.raises(InputError, match="the view of another"):
        InvertingGradients(model, statistics=0.1)(BatchGradient(other, other, 1, box=(0.0, 1.0)))


@pytest.mark.slow
def test_the_prior_helps_on_batches_of_images(tmp_path: Path) -> None:
    """Four batches of eight digits from a plan: with the statistics the records come back nearer on average than with
    none, and the server that fitted them raises no alarm (32 records, seed fixed; a network that normalises the records
    themselves too had no gain)."""
    (tmp_path / "model.json").write_text(normalised(side=8, records=False).to_json(), encoding="utf-8")
    quality = []
    for weight in (0.0, 0.1):
        table = {
            "schema": 1,
            "name": "batch-norm",
            "seed": 3,
            "data": {"source": "digits", "population": 0.4},
            "gradient": {
                "architecture": {"kind": "keras-json", "path": str(tmp_path / "model.json")},
                "server": "batch-norm",
                "attacks": [
                    {"name": "inverting", "iterations": 300, "restarts": 1, "variation": 1e-3, "statistics": weight}
                ],
                "victims": 4,
                "utility_steps": 0,
                "scenario": [{"name": "eight", "batch": 8, "knows_labels": True}],
                "defence": [{"name": "none"}],
            },
        }
        outcome = run(plan_from(table), folder=tmp_path / str(weight)).gradient
        assert outcome is not None
        assert outcome.server is not None
        assert outcome.server.findings == []
        quality.append(np.mean(outcome.cells[0].psnr))
    assert quality[1] > quality[0] + 0.2
