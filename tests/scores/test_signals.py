"""φ for every task, against definitions in arithmetic of arbitrary precision where it matters."""

from decimal import Decimal, getcontext

import numpy as np
import pytest
from scipy.special import expit, softmax

from dpaudit.runtime.errors import InputError
from dpaudit.scores.from_outputs import from_loss, observe, phi
from dpaudit.scores.signals import PoolSignals, Signals

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(0, 4, (30, 4))
LABELS = RNG.integers(0, 4, 30)


def test_multiclass_phi_from_logits_to_fifty_digits() -> None:
    """φ = log(p_y / (1 - p_y)) computed with 60 decimal digits, also at a margin of 200 where float64 p_y is 1."""
    getcontext().prec = 200
    logits = np.vstack([LOGITS, [200.0, 0.0, -3.0, 5.0], [0.0, 200.0, -3.0, 5.0]])
    labels = np.append(LABELS, [0, 0])
    for z, y, value in zip(logits, labels, observe(logits, labels).phi, strict=True):
        exponentials = [Decimal(float(x)).exp() for x in z]
        p = exponentials[y] / sum(exponentials)
        assert value == pytest.approx(float((p / (1 - p)).ln()), rel=1e-12)


def test_probabilities_lose_nothing_but_what_rounding_took() -> None:
    """From float64 probabilities φ agrees with the logits' to 1e-9; from float32 to 1e-4, none floored."""
    exact = observe(LOGITS, LABELS).phi
    p = softmax(LOGITS, axis=1)
    np.testing.assert_allclose(observe(p, LABELS, kind="probabilities").phi, exact, rtol=1e-9)
    single = observe(p.astype(np.float32), LABELS, kind="probabilities")
    np.testing.assert_allclose(single.phi, exact, rtol=1e-4, atol=1e-4)
    assert single.floored == 0


def test_floored_probabilities_are_counted() -> None:
    """One record sure beyond float32 on each side: both are cut off at 1e-300, counted, and stay finite."""
    p = np.array([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]])
    signals = observe(p, [0, 0, 0], kind="probabilities")
    assert signals.floored == 2
    assert signals.phi[0] == -signals.phi[1] == pytest.approx(300 * np.log(10), rel=1e-12)


def test_binary_single_logit() -> None:
    """One logit: φ is its sign-corrected value, and the two classes' log-probabilities come out of it."""
    z, y = RNG.normal(0, 3, 20), RNG.integers(0, 2, 20)
    for outputs in (z, z[:, None]):
        signals = observe(outputs, y, task="binary")
        np.testing.assert_array_equal(signals.phi, np.where(y == 1, z, -z))
        np.testing.assert_allclose(np.exp(signals.classes()[0]), np.stack([expit(-z), expit(z)], 1), rtol=1e-12)
    np.testing.assert_allclose(observe(expit(z), y, task="binary", kind="probabilities").phi, signals.phi, rtol=1e-7)


def test_multilabel_loss_is_the_sum_of_the_labels_losses() -> None:
    """softplus(-φ) equals the summed binary cross-entropies."""
    z, y = RNG.normal(0, 2, (20, 5)), RNG.integers(0, 2, (20, 5))
    p = expit(z)
    expected = -(y * np.log(p) + (1 - y) * np.log(1 - p)).sum(axis=1)
    np.testing.assert_allclose(observe(z, y, task="multilabel").loss, expected, rtol=1e-9)
    np.testing.assert_allclose(observe(p, y, task="multilabel", kind="probabilities").loss, expected, rtol=1e-9)


def test_regression_loss_is_the_mean_squared_error() -> None:
    """softplus(-φ) equals the mean squared error over the outputs; a perfect fit is floored and counted."""
    outputs, labels = RNG.normal(size=(20, 2)), RNG.normal(size=(20, 2))
    outputs[3] = labels[3]
    signals = observe(outputs, labels, task="regression")
    expected = ((outputs - labels) ** 2).mean(axis=1)
    np.testing.assert_allclose(np.delete(signals.loss, 3), np.delete(expected, 3), rtol=1e-9)
    assert signals.floored == 1
    assert signals.phi.argmax() == 3


def test_phi_and_loss_undo_each_other() -> None:
    """from_loss(softplus(-φ)) = φ over 600 orders of magnitude of the loss."""
    values = np.array([-700.0, -30.0, -1.0, 0.0, 1.0, 30.0, 500.0])
    np.testing.assert_allclose(from_loss(np.logaddexp(0, -values)).values, values, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(np.exp(Signals(values[:-1]).log_loss), Signals(values[:-1]).loss, rtol=1e-12)


def test_a_stack_of_models_is_each_model_alone() -> None:
    """Leading axes are models: φ of the stack is φ of each, for every task."""
    for task, stack, labels in (
        ("multiclass", RNG.normal(size=(3, 30, 4)), LABELS),
        ("binary", RNG.normal(size=(3, 30, 1)), LABELS % 2),
        ("multilabel", RNG.normal(size=(3, 30, 4)), RNG.integers(0, 2, (30, 4))),
        ("regression", RNG.normal(size=(3, 30, 2)), RNG.normal(size=(30, 2))),
    ):
        together = phi(stack, labels, task=task).values  # type: ignore[arg-type]
        for outputs, alone in zip(stack, together, strict=True):
            np.testing.assert_array_equal(alone, observe(outputs, labels, task=task).phi)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("outputs", "labels", "task", "kind", "message"),
    [
        ([[0.5, 0.6]], [0], "multiclass", "probabilities", "sum to 1"),
        ([[1.5, -0.5]], [0], "multiclass", "probabilities", r"in \[0, 1\]"),
        ([[1.0, 2.0]], [2], "multiclass", "logits", "classes 0 to 1"),
        ([[1.0, 2.0]], [0, 1], "multiclass", "logits", "got 1 and 2 rows"),
        ([[1.0]], [0], "multiclass", "logits", "records, classes"),
        ([1.0, np.nan], [0, 1], "binary", "logits", "NaN"),
        ([[1.0, 2.0]], [[0.0]], "regression", "logits", "1 columns"),
        ([[1.0]], [[0.5]], "multilabel", "logits", "0 or 1, got 0.5"),
        ([[1.0]], [0], "ranking", "logits", "must be one of"),
    ],
)
def test_outputs_that_do_not_fit_are_refused(outputs, labels, task, kind, message) -> None:  # type: ignore[no-untyped-def]
    """One line: what is wrong, and the value."""
    with pytest.raises(InputError, match=message):
        observe(outputs, labels, task=task, kind=kind)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Signals(np.zeros(2), reference=np.zeros((3, 4)), included=np.zeros((3, 4), bool)), r"\(models, 2\)"),
        (lambda: Signals(np.zeros(2), reference=np.zeros((3, 2)), included=np.zeros((2, 2), bool)), "included"),
        (lambda: Signals(np.zeros(2), population=Signals(np.zeros(1), None, None, np.zeros((1, 1)),
                                                         np.zeros((1, 1), bool))), "same 0 reference"),
        (lambda: Signals(np.zeros(2), queries=(Signals(np.zeros(3)),)), "queries"),
        (lambda: Signals(np.zeros(2), features=np.zeros((3, 1))), "features must have 2 rows"),
        (lambda: PoolSignals(np.zeros((2, 3)), np.zeros((2, 3), bool)), "complementary pairs"),
    ],
)  # fmt: skip
def test_signals_that_do_not_fit_each_other_are_refused(make, message) -> None:  # type: ignore[no-untyped-def]
    """Reference signals of another shape, a population from other models, a design that shows the target."""
    with pytest.raises(InputError, match=message):
        make()
