"""The attacks beside TF Privacy's released code on the same arrays.

``tf_privacy.npz`` holds the arrays and what tensorflow-empirical-privacy 0.1.0 made of them, run in an environment of
its own; ``make bench-attacks`` runs it again at full size.
"""

from pathlib import Path

import numpy as np
import pytest

from dpaudit.attacks.membership.calibrated import Offset
from dpaudit.attacks.membership.exposure import exposure, extrapolated_exposure
from dpaudit.attacks.membership.lira import Lira
from dpaudit.attacks.membership.lira_offline import LiraOfflineDensity
from dpaudit.attacks.membership.modified_entropy import ModifiedEntropy
from dpaudit.scores.roc import Roc
from dpaudit.scores.scores import Scores
from dpaudit.scores.signals import Signals

STORED = dict(np.load(Path(__file__).parent / "tf_privacy.npz"))
SIGNALS = Signals(STORED["given_phi"], reference=STORED["given_reference"], included=STORED["given_included"])


@pytest.mark.parametrize("centre", ["mean", "median"])
@pytest.mark.parametrize("variance", ["per-record", "residual"])
def test_lira_and_its_density_form(centre, variance) -> None:  # type: ignore[no-untyped-def]
    """compute_score_lira with option "both" and "out" (theirs is low for members), to 1e-6."""
    released = STORED[f"released_lira_{centre}_{variance}"]
    np.testing.assert_allclose(Lira(variance, centre)(SIGNALS), released, atol=1e-6, rtol=1e-6)
    released = STORED[f"released_density_{centre}_{variance}"]
    np.testing.assert_allclose(LiraOfflineDensity(variance, centre)(SIGNALS), released, atol=1e-6, rtol=1e-6)


def test_offset_statistic_and_threshold_attack() -> None:
    """compute_score_offset, calculate_statistic, the modified entropy and the AUC of the threshold attack, to 1e-6."""
    np.testing.assert_allclose(Offset()(SIGNALS), STORED["released_offset_mean"], atol=1e-6)
    signals = Signals.from_logits(STORED["given_logits"], STORED["given_labels"])
    np.testing.assert_allclose(signals.phi, STORED["released_phi"], atol=1e-6)
    member = STORED["given_member"]
    entropy = np.exp(-ModifiedEntropy()(signals))
    np.testing.assert_allclose(
        np.concatenate([entropy[member], entropy[~member]]), STORED["released_modified_entropy"], atol=1e-6
    )
    assert Roc.of(Scores.join(signals.phi, member)).auc == pytest.approx(float(STORED["released_auc_threshold"]))


def test_exposure() -> None:
    """Same ranks. We count the secret among the n + 1 candidates, they divide by n; they return secrets sorted."""
    secrets, reference = STORED["given_perplexities"], STORED["given_perplexity_reference"]
    ours = np.sort(exposure(secrets, reference))[::-1]
    n = reference.size
    np.testing.assert_allclose(ours - np.log2((n + 1) / n), STORED["released_exposure"], atol=1e-6)
    np.testing.assert_allclose(extrapolated_exposure(secrets, reference), STORED["released_extrapolated"], rtol=1e-6)
