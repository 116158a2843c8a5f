"""A federation that trains a decoder on texts: rounds by a plain loop, speakers as users, and starts from a file."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dpaudit.data.dataset import Dataset
from dpaudit.data.users import rows_of
from dpaudit.engine.adapter import Adapter
from dpaudit.runtime.errors import InputError
from dpaudit.runtime.tensorflow import tf
from dpaudit.training.decoder import Decoder
from dpaudit.training.federated.aggregation import FixedClip
from dpaudit.training.federated.public_data import Pretraining
from dpaudit.training.federated.trainer import ClientTraining, Federated
from dpaudit.training.fine_tuned import FineTuned

pytestmark = pytest.mark.tf
SMALL = Decoder(width=4, layers=1, heads=2)
CONTEXT, VOCABULARY, ROUNDS, RATE = 4, 6, 2, 0.5
USERS = np.array(["a", "b", "b", "c", "c", "c"])


def speeches() -> Dataset:
    rng = np.random.default_rng(5)
    tokens = rng.integers(0, VOCABULARY, (USERS.size, 1 + CONTEXT)).astype(np.float32)
    counted = (np.arange(CONTEXT) < rng.integers(1, CONTEXT + 1, USERS.size)[:, None]).astype(np.float32)
    return Dataset("speeches", tokens, counted, "next-token", users=USERS, class_count=VOCABULARY)


def federated(architecture: Any = SMALL, **more: Any) -> Federated:
    local = ClientTraining(epochs=2, batch_size="all", learning_rate=RATE)
    return Federated(architecture, rounds=ROUNDS, local=local, **more)


def mean_loss(model: Any, data: Dataset, rows: Any) -> Any:
    """The mean over texts of the mean over their tokens that count, by the definition."""
    tokens, counted = data.features[rows], data.labels[rows]
    log_p = tf.gather(tf.nn.log_softmax(model(tokens[:, :-1]), axis=-1), tokens[:, 1:].astype(int), batch_dims=2)
    return -tf.reduce_mean(tf.reduce_sum(log_p * counted, axis=1) / counted.sum(axis=1))


@pytest.mark.parametrize("clip", [None, 0.2])
def test_rounds_are_those_of_a_plain_loop(clip: float | None) -> None:
    """FedAvg, weighted by texts, and DP-FedAvg without noise end where a loop of Keras over the speakers ends.

    In each round every speaker takes two full steps from the model of the round; the server averages the changes, each
    clipped as a whole and counted once where there is a clip.
    """
    data = speeches()
    trainer = federated() if clip is None else federated(aggregator=FixedClip(clip, 0.0))
    prepared = trainer.prepare(data, seed=1)
    rows = rows_of(trainer.owner(data))
    models, _ = prepared([rows], seed=1)
    model = prepared.network.to_keras(prepared.start, 0)
    for _ in range(ROUNDS):
        sent, changes = [np.array(w) for w in model.get_weights()], []
        for own in rows:
            model.set_weights(sent)
            for _ in range(2):
                with tf.GradientTape() as tape:
                    value = mean_loss(model, data, own)
                for slope, weight in zip(tape.gradient(value, model.weights), model.weights, strict=True):
                    weight.assign_sub(RATE * tf.convert_to_tensor(slope))
            changes.append([np.array(w) - before for w, before in zip(model.get_weights(), sent, strict=True)])
        norms = [np.sqrt(sum((part**2).sum() for part in change)) for change in changes]
        if clip is None:
            factors = [own.size / len(data) for own in rows]
        else:
            factors = [min(1.0, clip / norm) / len(rows) for norm in norms]
            assert min(factors) < 1 / len(rows)
        model.set_weights(
            [
                before + sum(factor * part for factor, part in zip(factors, parts, strict=True))
                for before, *parts in zip(sent, *changes, strict=True)
            ]
        )
    for ours, theirs in zip(prepared.network.weights(models, 0), model.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=5e-5)


def test_a_federation_tunes_what_a_file_gives(tmp_path: Path) -> None:
    """It starts from the weights of the file; with adapters those alone are sent, and the released model is merged."""
    model = SMALL((CONTEXT,), VOCABULARY)
    model.save_weights(tmp_path / "public.weights.h5")
    data = speeches()
    start = FineTuned(SMALL, str(tmp_path / "public.weights.h5"))
    for own, wanted in zip(start(*data.network_shape).get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(own, wanted)
    trainer = federated(replace(start, adapter=Adapter(1, layers=("head",))))
    prepared = trainer.prepare(data, seed=1)
    assert prepared.coordinates == 4 + VOCABULARY
    released = trainer(data, np.ones(len(data), bool), seed=1)
    for (name, value), wanted in zip(released.weights.items(), model.get_weights(), strict=True):
        assert np.array_equal(value, wanted) == ("head/kernel" not in name)
    assert released.predict(data.features).shape == (len(data), CONTEXT)


def test_texts_without_users_and_two_starts_are_refused(tmp_path: Path) -> None:
    """Speakers are needed where clients are natural; pretraining is for records, and start weights take its place."""
    data = replace(speeches(), users=None)
    with pytest.raises(InputError, match=r"says of no record whose it is; name the column with data\.user"):
        federated().owner(data)
    pretraining = Pretraining("digits-low")
    with pytest.raises(InputError, match="pretraining reads records"):
        federated(pretraining=pretraining).prepare(speeches(), seed=1)
    with pytest.raises(InputError, match="pretraining or from start weights"):
        federated(FineTuned(SMALL, "a.npz"), pretraining=pretraining)
