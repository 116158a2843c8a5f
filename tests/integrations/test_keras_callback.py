"""The callback's numbers are those of the attack run by hand, and a memorising model's leakage grows."""

import json
from pathlib import Path

import numpy as np
import pytest

from dpaudit.attacks.membership.loss import Loss
from dpaudit.data.bundled import digits
from dpaudit.scores.from_outputs import observe
from dpaudit.scores.roc import Roc
from dpaudit.scores.scores import Scores

pytestmark = pytest.mark.tf


def test_leakage_per_epoch(tmp_path: Path) -> None:
    """After the last epoch the AUC is that of the loss attack on the trained model; random labels leak more and more.

    With labels that mean nothing, all a network can do is to memorise: the AUC starts near 0.5 and ends above 0.8.
    """
    from dpaudit.integrations.keras_callback import LeakagePerEpoch
    from dpaudit.runtime.tensorflow import keras

    keras.utils.set_random_seed(0)
    data = digits().take(np.arange(240))
    rng = np.random.default_rng(0)
    data = type(data)("noise", data.features, rng.integers(0, 10, 240))
    members, others = data.take(np.arange(120)), data.take(np.arange(120, 240))
    model = keras.Sequential(
        [keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(64, "relu"), keras.layers.Dense(10)]
    )
    model.compile(keras.optimizers.Adam(0.01), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    watch = LeakagePerEpoch(members, others, every=20, path=tmp_path / "leakage.json")
    history = model.fit(members.features, members.labels, epochs=40, verbose=0, callbacks=[watch])
    assert [row["epoch"] for row in watch.rows] == [20, 40]
    outputs = [np.asarray(model(part.features, training=False), np.float64) for part in (members, others)]
    by_hand = [Loss()(observe(z, part.labels)) for z, part in zip(outputs, (members, others), strict=True)]
    assert watch.rows[-1]["leakage_auc"] == pytest.approx(Roc.of(Scores(*by_hand)).auc)
    assert history.history["leakage_auc"][-1] == watch.rows[-1]["leakage_auc"] > 0.8
    assert json.loads((tmp_path / "leakage.json").read_text()) == watch.rows
