import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from dpaudit.attacks.gradient.candidate_attack import PrivacyUnits
from dpaudit.attacks.gradient.imprint import ImprintInversion, expected_isolated, plant_imprint, plant_traps
from dpaudit.attacks.gradient.linear_layer import DenseInversion
from dpaudit.attacks.gradient.logistic_inversion import LogisticInversion
from dpaudit.attacks.gradient.metrics import psnr
from dpaudit.attacks.gradient.scanner import scan
from dpaudit.attacks.gradient.view import BatchGradient, FinalModel
from dpaudit.runtime.errors import InputError
from tests.attacks.gradient import mlp
from tests.attacks.gradient.mlp import Images


def test_imprint_yield_follows_the_law() -> None:
    """Records alone in one of K equal bins: n(1 - 1/K)^(n-1), by simulation of 20,000 batches (5 standard errors)."""
    rng = np.random.default_rng(0)
    for records, bins in ((16, 128), (64, 256), (100, 100)):
        alone = [(np.bincount(b, minlength=bins) == 1).sum() for b in rng.integers(bins, size=(20_000, records))]
        error = np.std(alone) / np.sqrt(20_000)
        assert expected_isolated(records, bins) == pytest.approx(np.mean(alone), abs=5 * error)


def test_imprint_recovers_what_is_alone_in_its_bin(images: Images) -> None:
    """On digits at batch 16 and 128 bins exactly the records alone in their bin come back, to 60 dB and better; their
    number is that of the law, 14.2 on average (5 standard errors over 20 batches, 0.26 each)."""
    x, y = images
    planted = plant_imprint(mlp.weights((64, 128, 10), seed=0), x[1000:])
    rng, alone_total = np.random.default_rng(0), 0
    for _ in range(20):
        rows = rng.choice(1000, 16, replace=False)
        found = ImprintInversion()(BatchGradient(planted, mlp.gradient(planted, x[rows], y[rows]), 16)).records
        bins = np.searchsorted(-planted[1], x[rows].mean(1))
        alone = np.bincount(bins, minlength=130)[bins] == 1
        best = np.array([psnr(found, np.broadcast_to(t, found.shape)).max() for t in x[rows]])
        assert (best[alone] > 60).all()
        alone_total += alone.sum()
    assert alone_total / 20 == pytest.approx(expected_isolated(16, 128), abs=5 * 0.26)


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


def test_the_scanner_finds_both_and_leaves_honest_models_alone(images: Images) -> None:
    """Imprint and trap layers are named; 100 initialised models and a trained one are not."""
    x, y = images
    for seed in range(100):
        assert scan(mlp.weights((50, 40, 10), seed=seed)) == ()
    trained = mlp.weights((64, 64, 10), seed=0)
    for _ in range(50):
        trained = tuple(w - 0.5 * g for w, g in zip(trained, mlp.gradient(trained, x[:200], y[:200]), strict=True))
    assert scan(trained) == ()
    imprint = scan(plant_imprint(trained, x[1000:]))
    assert {finding.check for finding in imprint} == {"malicious layers: imprint module"}
    assert imprint[0].fed.startswith("dense layer 0")
    (traps,) = scan(plant_traps(trained, seed=0))
    assert traps.check.endswith("trap weights")
    assert traps.severity == "violation"


@pytest.mark.parametrize("classes", [2, 5])
def test_a_released_logistic_regression_gives_its_last_record_away(images: Images, classes: int) -> None:
    """scikit-learn's optimum, all records but one known: the missing image and its class come back (Balle et al.
    2022, closed form), as exactly as the optimiser converged."""
    x, y = images
    rows = np.flatnonzero(y < classes)[:150]
    x, y = x[rows], y[rows]
    model = LogisticRegression(C=1.0, tol=1e-12, max_iter=10_000).fit(x, y)
    view = FinalModel((model.coef_.T, model.intercept_), box=(0.0, 1.0))
    for missing in (3, 77):
        rest = np.delete(np.arange(len(x)), missing)
        found = LogisticInversion(penalty=1.0)(view, known=PrivacyUnits(x[rest], y[rest]))
        assert psnr(found.records, x[missing : missing + 1])[0] > 40
        assert found.labels is not None
        assert found.labels[0] == y[missing]


def test_a_gradient_is_no_released_model() -> None:
    """Logistic inversion refuses what it cannot read."""
    arrays = mlp.weights((6, 4, 3), seed=0)
    with pytest.raises(InputError, match="one kernel and one bias"):
        LogisticInversion(1.0)(FinalModel(arrays), known=PrivacyUnits(np.ones((1, 6)), np.zeros(1, int)))
