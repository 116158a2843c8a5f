"""Methods of unlearning: what they are handed, and that what they return is a model of these records."""

import numpy as np
import pytest

from dpaudit.runtime.errors import InputError
from dpaudit.training.architecture import Mlp
from dpaudit.training.dp_sgd import DpSgd
from dpaudit.training.function import Function
from dpaudit.training.trainer import TrainedModel
from dpaudit.training.unlearning_method import Requests, UnlearningMethod, handed_over, weights_in_order
from tests.audits.unlearning.methods import Memory, clouds, train

HERE = "tests.audits.unlearning.methods:"
DATA = clouds(30)
ASKED = np.arange(30)[None] < 5
REQUESTS = Requests(DATA, ASKED, ~ASKED, [7])


def held() -> list[TrainedModel]:
    return [Function(train)(DATA, np.ones(30, bool), seed=1)]


def test_a_function_gets_the_object_that_the_training_returned() -> None:
    """Forgetting exactly gives the model that was trained on the rest with that seed."""
    (after,) = UnlearningMethod(f"{HERE}exact")(Function(train), held(), REQUESTS)
    np.testing.assert_array_equal(after(DATA.features), Memory(DATA.take(~ASKED[0]), 7)(DATA.features))


def test_retraining_never_sees_what_is_to_be_forgotten() -> None:
    """It is the trainer itself on the rest."""
    (after,) = UnlearningMethod("retrain")(Function(train), held(), REQUESTS)
    np.testing.assert_array_equal(after(DATA.features), Memory(DATA.take(~ASKED[0]), 7)(DATA.features))


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("not_a_number", "logits that are not finite"),
        ("other_shape", r"must answer 30 records with logits of shape \(30, 2\), got \(30, 3\)"),
        ("one_number", r"got \(\) for the first 30"),
        ("no_model", "must return the model, or a function from features to logits, got None"),
        ("missing", "cannot be imported"),
    ],
)
def test_what_is_no_model_of_these_records_is_refused(name: str, match: str) -> None:
    """An answer that is no finite logit for each record and class is bad input, and the line says so."""
    with pytest.raises(InputError, match=match):
        UnlearningMethod(f"{HERE}{name}")(Function(train), held(), REQUESTS)[0](DATA.features)


def test_stored_results_are_of_this_code() -> None:
    """The hash of a function differs from that of another file, and of built-in methods the name says all."""
    assert UnlearningMethod(f"{HERE}exact").fingerprint != UnlearningMethod("tests.small_audits:unbounded").fingerprint
    assert UnlearningMethod("finetune", 3).fingerprint != UnlearningMethod("finetune", 4).fingerprint


@pytest.mark.tf
def test_a_trained_network_is_handed_over_as_a_keras_model() -> None:
    """It answers as the trained one did; moved by the method, it answers as Keras does with the moved weights."""
    trainer = DpSgd(Mlp(()), l2_norm_clip=None, epochs=1, batch_size=10, sampling="shuffled", compiled=False)
    model = trainer(DATA, np.ones(30, bool), seed=1)
    keras = handed_over(trainer, model, DATA)
    np.testing.assert_allclose(keras(DATA.features), model.predict(DATA.features), atol=1e-5)
    (after,) = UnlearningMethod(f"{HERE}by_keras")(trainer, [model], REQUESTS)
    kernel, bias = (weights + 1 for weights in weights_in_order(model))
    np.testing.assert_allclose(after(DATA.features), DATA.features @ kernel + bias, atol=1e-4)
    (further,) = UnlearningMethod("finetune", 1)(trainer, [model], REQUESTS)
    assert 0 < np.abs(further(DATA.features) - model.predict(DATA.features)).max() < 1  # from there, not from scratch
