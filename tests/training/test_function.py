"""Any function is a trainer; what it returns is checked."""

from typing import Any

import numpy as np
import pytest

from dpaudit.accounting.claim import GaussianSteps, Poisson
from dpaudit.runtime.errors import AuditFailed, InputError
from dpaudit.training.function import Function
from tests.training.reference_models.pool_functions import data


def returning(answer: Any) -> Any:
    return lambda dataset, included, *, seed: answer


def test_named_function_is_imported() -> None:
    """A function named in a plan is imported and trains."""
    records = data()
    included = np.arange(40) < 30
    model = Function("tests.training.reference_models.pool_functions:train")(records, included, seed=1)
    assert model.predict(records.features).shape == (40, 2)
    assert model.mechanism is None


def test_mechanism_is_what_was_stated() -> None:
    """Noise, steps and rate become what the accountant is told."""
    function = Function("a:b", noise_multiplier=1.5, steps=10, rate=0.1)
    assert function.mechanism(100) == GaussianSteps(1.5, 10, Poisson(0.1))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("train", "must be given as 'package.module:name', got 'train'"),
        ("tests.training.reference_models.pool_functions:trian", "cannot be imported: .*trian"),
        ("no_such_module:train", "cannot be imported: No module named"),
    ],
)
def test_bad_name(name: str, message: str) -> None:
    """A name that is none says what is wrong with it."""
    with pytest.raises(InputError, match=message):
        Function(name)(data(), np.ones(40, bool), seed=1)


@pytest.mark.parametrize(
    ("predict", "message"),
    [
        (lambda x: np.zeros(len(x)), r"must have shape \(40, outputs\), got \(40,\)"),
        (lambda x: np.zeros((3, 2)), r"got \(3, 2\)"),
        (lambda x: np.full((len(x), 2), np.nan), "are not finite"),
    ],
)
def test_bad_predictions(predict: Any, message: str) -> None:
    """Predictions of a wrong shape or value stop the audit instead of passing on."""
    model = Function(returning(predict))(data(), np.ones(40, bool), seed=1)
    with pytest.raises(AuditFailed, match=message):
        model.predict(data().features)


def test_bad_answer() -> None:
    """A function must return a function."""
    with pytest.raises(InputError, match="must return a function from features to logits, got None"):
        Function(returning(None))(data(), np.ones(40, bool), seed=1)


def test_half_a_mechanism() -> None:
    """Noise without steps is refused."""
    with pytest.raises(InputError, match="belong together"):
        Function("a:b", noise_multiplier=1.0)
