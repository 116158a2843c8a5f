from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from dpaudit.attacks.gradient.label_recovery import LabelCounts, SingleLabel
from dpaudit.attacks.gradient.linear_layer import DenseInversion, dense_layers
from dpaudit.attacks.gradient.metrics import assignment, overlap, psnr
from dpaudit.attacks.gradient.spear import Spear
from dpaudit.attacks.gradient.view import BatchGradient, ClientUpdate, NoisyReleases, SecureSum
from dpaudit.runtime.errors import AuditFailed, InputError
from tests.attacks.gradient import mlp
from tests.attacks.gradient.mlp import Images


def test_dense_inversion_is_exact_without_noise(images: Images) -> None:
    """One record through a dense layer comes back to 1e-9 (Phong et al. 2017: the input is ∂L/∂W over ∂L/∂b)."""
    x, y = images
    for seed in range(5):
        arrays = mlp.weights((64, 50, 10), seed=seed)
        view = mlp.observed(arrays, x[seed : seed + 1], y[seed : seed + 1])
        for fit in ("least-squares", "total-least-squares"):
            assert np.abs(DenseInversion(fit)(view).records - x[seed]).max() < 1e-9


def test_dense_inversion_under_noise_follows_the_law() -> None:
    """At noise s on a gradient that is one record's outer product of norm about 1, PSNR is -10 log10(s²|x|²) for the
    best estimator (Schwethelm et al. 2024, arXiv:2402.12861): 40 ± 1 dB at s = 1e-3 and |x|² = 100. One neuron's
    bias gradient is one number with noise s, here 10 times smaller than the kernel's norm. False alarms: the mean of
    20 draws has a standard error below 0.3 dB."""
    rng = np.random.default_rng(0)
    x = rng.random((1, 784))
    x *= 10 / np.linalg.norm(x)
    found = []
    for seed in range(20):
        noise = np.random.default_rng(seed)
        delta = np.zeros(4)
        delta[0] = 0.1  # the gradient's norm is |x| |δ| = 1, as after clipping to 1
        kernel = np.outer(x[0], delta) + noise.normal(0, 1e-4, (784, 4))
        view = BatchGradient((np.ones((784, 4)), np.ones(4)), (kernel, delta + noise.normal(0, 1e-4, 4)), batch_size=1)
        found.append(psnr(DenseInversion()(view).records, x)[0])
    # error per pixel is s/|δ| = 1e-3 from the kernel and |x_i| 1e-3 from the bias
    expected = -10 * np.log10(1e-6 * (1 + (x**2).mean()))
    assert np.mean(found) == pytest.approx(expected, abs=1.0)


def test_neurons_that_saw_one_record_alone_give_it_exactly() -> None:
    """In a batch, an input two neurons agree on is a record; mixtures are left out."""
    rng = np.random.default_rng(0)
    x = rng.random((3, 12))
    # neurons 0, 1 see record 0 alone; 2, 3 record 1 alone; 4..7 mix all three
    delta = np.array([[1, 2, 0, 0, 1, 1, 2, 3], [0, 0, 1, -1, 2, 1, 1, 1], [0, 0, 0, 0, 1, 3, 1, 2]], float)
    view = BatchGradient((np.ones((12, 8)), np.ones(8)), (x.T @ delta, delta.sum(0)), batch_size=3)
    found = DenseInversion()(view).records
    assert len(found) == 2
    assert np.abs(found[assignment(found, x[:2])] - x[:2]).max() < 1e-12


@pytest.mark.parametrize(("batch", "width"), [(1, 200), (2, 200), (4, 200), (8, 200), (25, 600)])
@pytest.mark.long
def test_spear_is_exact(batch: int, width: int) -> None:
    """A batch of 8 through a ReLU layer of width 200, or of 25 through one of 600, comes back to 1e-9 (Dimitrov et al.
    2024: exact, up to about 25)."""
    rng = np.random.default_rng(batch)
    x = rng.normal(size=(batch, 100))
    arrays = mlp.weights((100, width, 10), seed=batch)
    found = Spear()(mlp.observed(arrays, x, rng.integers(10, size=batch))).records
    assert np.abs(found[assignment(found, x)] - x).max() < 1e-9


def test_spear_refuses_noise_that_hides_the_batch() -> None:
    """Noise destroys the rank; SPEAR says so and returns nothing, whether the noise is stated or not."""
    rng = np.random.default_rng(0)
    arrays = mlp.weights((100, 200, 10), seed=0)
    view = mlp.observed(arrays, rng.random((8, 100)), rng.integers(10, size=8), noise=0.1)
    with pytest.raises(AuditFailed, match="above its noise, but the batch has 8 records: noise hides some record"):
        Spear()(view)
    with pytest.raises(AuditFailed, match="rank 100, but the batch has 8 records: it carries noise that is not stated"):
        Spear()(replace(view, noise=0.0))


def test_small_noise_that_is_stated_costs_spear_in_proportion() -> None:
    """Least squares: ten times the noise makes ten times the error, and the batch is still found. One batch of 8, one
    draw of the noise at both sizes."""
    rng = np.random.default_rng(0)
    arrays, x, y = mlp.weights((100, 400, 10), seed=0), rng.normal(size=(8, 100)), rng.integers(10, size=8)
    errors = []
    for noise in (1e-7, 1e-6):
        found = Spear()(mlp.observed(arrays, x, y, noise=noise)).records
        errors.append(np.abs(found[assignment(found, x)] - x).max())
    assert errors[1] < 1e-2
    assert errors[1] / errors[0] == pytest.approx(10, rel=0.2)


def test_spear_searches_only_where_noise_leaves_a_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    """The weakest singular value of a batch of 8 is 4 times what noise alone gives: refused with that number before
    any search. 40 times: found. One batch, one draw of the noise at both sizes."""
    rng = np.random.default_rng(0)
    arrays, x, y = mlp.weights((100, 400, 10), seed=0), rng.normal(size=(8, 100)), rng.integers(10, size=8)
    weakest = np.linalg.svd(mlp.gradient(arrays, x, y)[0], compute_uv=False)[7] / (np.sqrt(400) + np.sqrt(100))
    found = Spear()(mlp.observed(arrays, x, y, noise=weakest / 40)).records
    assert np.abs(found[assignment(found, x)] - x).max() < 0.1 * np.abs(x).max()
    monkeypatch.setattr("dpaudit.attacks.gradient.spear._descended", None)
    with pytest.raises(AuditFailed, match=r"too much noise: the weakest singular value of the batch is [34]\.\d times"):
        Spear()(mlp.observed(arrays, x, y, noise=weakest / 4))


def test_spear_refuses_what_does_not_fit_the_layer() -> None:
    """The right rank on the wrong weights is no reconstruction: the ReLU pattern gives it away."""
    rng = np.random.default_rng(0)
    arrays, other = mlp.weights((30, 60, 5), seed=0), mlp.weights((30, 60, 5), seed=1)
    gradient = mlp.gradient(arrays, rng.random((3, 30)), rng.integers(5, size=3))
    with pytest.raises(AuditFailed, match="reproduces the layer's ReLU pattern"):
        Spear(starts=1000)(BatchGradient(other, gradient, 3))


def test_label_of_one_record(images: Images) -> None:
    """The sign rule is right for every record (Zhao et al. 2020: by construction)."""
    x, y = images
    arrays = mlp.weights((64, 32, 10), seed=0)
    for i in range(30):
        assert SingleLabel()(mlp.observed(arrays, x[i : i + 1], y[i : i + 1]))[0] == y[i]


def test_label_counts_on_an_untrained_net(images: Images) -> None:
    """Untrained 64-64-10 with auxiliary records: every count right at batch 16; at batch 64 at most one label of a
    batch is wrong and 0.99 are right on average, where guessing reaches 0.845. Twenty batches of each."""
    x, y = images
    arrays = mlp.weights((64, 64, 10), seed=0)
    auxiliary = mlp.probabilities(arrays, x[1000:]).mean(0)
    rng = np.random.default_rng(0)
    found: dict[int, list[float]] = {16: [], 64: []}
    for batch, overlaps in found.items():
        for _ in range(20):
            rows = rng.choice(1000, batch, replace=False)
            overlaps.append(overlap(LabelCounts(auxiliary)(mlp.observed(arrays, x[rows], y[rows])), y[rows]))
    assert min(found[16]) == 1.0
    assert min(found[64]) >= 63 / 64
    assert np.mean(found[64]) > 0.99


@pytest.mark.long
def test_label_counts_with_predictions_by_class(mnist: Images) -> None:
    """MNIST, untrained 784-64-10, batch 64, 1,000 auxiliary records, 40 networks: the batch's own predictions differ
    from the auxiliary mean, so a few counts are off by one whatever is rounded. On average 0.99 and more of the labels
    are right, which to two digits is the published 1.00; predictions by class are at least as good, with smoothing
    too."""
    x, y = mnist
    plain, by_class, smoothed = [], [], []
    for seed in range(40):
        arrays = mlp.weights((784, 64, 10), seed=seed)
        order = np.random.default_rng(seed).permutation(len(x))
        rows, auxiliary = order[:64], order[64:1064]
        each, view = mlp.probabilities(arrays, x[auxiliary]), mlp.observed(arrays, x[rows], y[rows])
        means = np.stack([each[y[auxiliary] == c].mean(0) for c in range(10)])
        plain.append(overlap(LabelCounts(each.mean(0))(view), y[rows]))
        by_class.append(overlap(LabelCounts(means)(view), y[rows]))
        # smoothing moves the last bias's gradient by what it moves the mean label
        shift = 0.1 * (np.bincount(y[rows], minlength=10) / 64 - 0.1)
        gradient = (*view.gradient[:-1], view.gradient[-1] + shift)
        smoothed.append(overlap(LabelCounts(means, smoothing=0.1)(BatchGradient(arrays, gradient, 64)), y[rows]))
    assert min(plain) >= 62 / 64
    assert np.mean(by_class) >= np.mean(plain) >= 0.995
    assert np.mean(smoothed) >= 0.995


def test_label_counts_of_an_update_over_several_steps(images: Images) -> None:
    """-update / (learning rate · steps) is the mean gradient on the way: counts of a small-step client are right."""
    x, y = images
    arrays = mlp.weights((64, 64, 10), seed=0)
    rows, local = np.arange(16), arrays
    for _ in range(5):
        local = tuple(w - 0.01 * g for w, g in zip(local, mlp.gradient(local, x[rows], y[rows]), strict=True))
    update = tuple(b - a for a, b in zip(arrays, local, strict=True))
    view = ClientUpdate(arrays, update, learning_rate=0.01, epochs=5, local_batch=16, records=16)
    before, after = (mlp.probabilities(w, x[1000:]).mean(0) for w in (arrays, local))
    assert overlap(LabelCounts((before + after) / 2)(view), y[rows]) == 1.0


def test_one_local_step_is_a_gradient(images: Images) -> None:
    """A client that makes one full-batch step sent its gradient times -learning rate, to 1e-12."""
    x, y = images
    arrays = mlp.weights((64, 20, 10), seed=1)
    gradient = mlp.gradient(arrays, x[:4], y[:4])
    view = ClientUpdate(arrays, tuple(-0.1 * g for g in gradient), 0.1, epochs=1, local_batch=4, records=4)
    for ours, true in zip(view.as_gradient().gradient, gradient, strict=True):
        assert np.abs(ours - true).max() < 1e-12


def test_a_secure_sum_is_one_large_batch(images: Images) -> None:
    """Three clients of four records under secure aggregation look like one batch of twelve."""
    x, y = images
    arrays = mlp.weights((64, 20, 10), seed=1)
    each = [mlp.gradient(arrays, x[4 * c : 4 * c + 4], y[4 * c : 4 * c + 4]) for c in range(3)]
    total = tuple(sum(parts) for parts in zip(*each, strict=True))
    view = SecureSum(arrays, total, clients=3, records_per_client=4).as_gradient()
    assert view.batch_size == 12
    for ours, true in zip(view.gradient, mlp.gradient(arrays, x[:12], y[:12]), strict=True):
        assert np.abs(ours - true).max() < 1e-12


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda w, g: BatchGradient(w, g[:-1]), "it comes from another model"),
        (lambda w, g: BatchGradient(w, tuple(0 * a for a in g)), "zero everywhere"),
        (lambda w, g: BatchGradient(w, (*g[:-1], g[-1] * np.nan)), "must be finite"),
        (lambda w, g: BatchGradient(w, g, labels=np.array([1])), "does not know it"),
        (lambda w, g: BatchGradient(w, g, 4, labels=np.array([], int)), "labels must"),
        (lambda w, g: DenseInversion()(BatchGradient(w, g)), "dense inversion needs batch_size"),
        (lambda w, g: Spear()(BatchGradient(w, g)), "SPEAR needs batch_size"),
        (lambda w, g: DenseInversion()(BatchGradient(w[::2], g[::2], 1)), "needs a dense layer with a bias"),
        (
            lambda w, g: DenseInversion()(NoisyReleases(np.ones((1, 2)), np.ones((1, 2)), 1.0, 1.0)),
            "reads a gradient or an update, got",
        ),
        (lambda w, g: DenseInversion(layer=5)(BatchGradient(w, g, 1)), "layer must be one of the 2"),
        (lambda w, g: SingleLabel()(BatchGradient(w, g, 4)), "use LabelCounts"),
        (lambda w, g: BatchGradient(w, g, box=(1.0, 0.0)), "box must be"),
        (lambda w, g: LabelCounts()(BatchGradient(w[:-1], g[:-1], 4)), "needs mean_feature_sum"),
        (lambda w, g: ClientUpdate(w, g).as_gradient(), "needs learning_rate"),
    ],
)
def test_bad_input_gets_one_clear_line(make: Any, message: str) -> None:
    """What is wrong is said in one line that names it."""
    arrays = mlp.weights((6, 4, 3), seed=0)
    gradient = mlp.gradient(arrays, np.ones((1, 6)), np.array([1]))
    with pytest.raises(InputError, match=message) as caught:
        make(arrays, gradient)
    assert "\n" not in str(caught.value)


def test_dense_layers_are_found_by_shape() -> None:
    """A convolution's kernel has four axes and is no dense layer; a dense layer without a bias is none either."""
    shapes = [(3, 3, 1, 4), (4,), (36, 8), (8, 5), (5,)]
    assert dense_layers(tuple(np.ones(s) for s in shapes)) == [(3, 4)]
