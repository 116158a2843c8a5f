from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest

from dpaudit.attacks.gradient.baselines import decoy_test
from dpaudit.attacks.gradient.metrics import fidelity
from dpaudit.attacks.gradient.view import Arrays, GradientView, Reconstruction
from dpaudit.audits.audit import Audit
from dpaudit.audits.gradient import run as gradient
from dpaudit.audits.gradient import settings as gradient_settings
from dpaudit.audits.gradient import stage as gradient_stage
from dpaudit.audits.gradient.stage_inputs import StageInputs, draw_victims
from dpaudit.audits.prior import run as prior
from dpaudit.data.bundled import digits
from dpaudit.runtime import plugins as registry
from dpaudit.runtime.errors import InputError
from dpaudit.runtime.progress import Silent
from tests.small_audits import ABOUT


def audit(folder: Path, *, confidence: float = 0.95) -> Audit:
    data = digits()
    rows = np.random.default_rng(0).permutation(len(data))
    return Audit(
        dataset=data.take(rows[:1000]),
        member=np.ones(1000, bool),
        population=data.take(rows[1000:]),
        subjects=(),
        protection=ABOUT,
        design="one-run",
        confidence=confidence,
        seed=1,
        folder=folder,
        progress=Silent(),
    )


@dataclass(frozen=True)
class Grey:
    """From elsewhere: every record is of one grey, and a model with more than so many weights is refused."""

    level: float = 0.5
    most: int = 10**9
    seed: int | None = None

    def together(self, views: Sequence[GradientView]) -> list[Reconstruction]:
        assert self.seed is not None  # the stage gives one to those who have the field
        return [Reconstruction(np.full((1, 64), self.level)) for _ in views]

    def require(self, weights: Arrays) -> None:
        if sum(map(np.size, weights)) > self.most:
            raise InputError("more weights than Grey can read.")


@pytest.mark.tf
def test_an_attack_from_elsewhere_is_run_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its parameter comes from the plan: a grey of 0.25 has the PSNR of that grey, computed here; it may refuse."""
    grown = {**registry.KINDS["gradient"], "grey": f"{__name__}:Grey"}
    monkeypatch.setitem(vars(registry), "KINDS", {**registry.KINDS, "gradient": grown})

    def settings(**parameters: Any) -> gradient_settings.GradientSettings:
        return gradient_settings.GradientSettings(
            architecture={"kind": "mlp", "hidden": [4]},
            scenario=[gradient_settings.Scenario(name="one image", batch=1)],
            defence=[gradient_settings.DefenceSettings(name="none")],
            attacks=[{"name": "grey", **parameters}],  # type: ignore[list-item]  # as a plan gives it
            victims=3,
            utility_steps=0,
        )

    given = audit(tmp_path)
    (cell,) = gradient.audit_gradients(settings(level=0.25), given).cells
    stage = StageInputs(settings(), given.records(), given.seed, given.delta, given.confidence)
    truth, _ = draw_victims(given.dataset, settings().scenario[0], 3, seed=stage.seed_for("one image"))
    expected = [10 * np.log10(1 / np.square(record - 0.25).mean()) for record in truth[:, 0]]
    assert cell.attack == "grey"
    assert cell.psnr == pytest.approx(expected, abs=1e-3)
    with pytest.raises(InputError, match="more weights than Grey can read"):
        gradient.audit_gradients(settings(most=5), given)


@pytest.mark.long
def test_true_noise_is_consistent_and_missing_noise_contradicted(tmp_path: Path) -> None:
    """σ = 5 as claimed is never above γ; σ = 5 where 20 was claimed is contradicted; 60 games each, 95 % (the first
    false alarm rate is below 5 %, seed fixed)."""
    settings = prior.PriorSettings(
        candidates=[8],
        noise_multipliers=[5.0, 5.0],
        claimed_noise=[5.0, 20.0],
        runs=60,
        records=200,
        steps=50,
    )
    honest, broken = prior.audit_reconstruction(settings, audit(tmp_path)).cells
    assert honest.verdict.verdict == "consistent"
    assert honest.orthogonal <= honest.simplex <= honest.gamma
    assert honest.family.epsilon <= honest.epsilon
    assert broken.verdict.verdict == "contradicted"
    assert broken.family.epsilon > broken.epsilon


def test_too_few_records_are_refused(tmp_path: Path) -> None:
    """Known records and candidates must be there."""
    with pytest.raises(InputError, match="prior: 999 known records and 100 candidates need 1099 records"):
        prior.audit_reconstruction(
            prior.PriorSettings(candidates=[100], noise_multipliers=[1.0], runs=1), audit(tmp_path)
        )


def test_noise_and_epsilon_are_not_both_taken() -> None:
    """A defence says its noise once."""
    chosen = gradient_settings.DefenceSettings(name="both", clip=1.0, epsilon=1.0, noise_multiplier=1.0)
    with pytest.raises(InputError, match="give epsilon or noise_multiplier, not both"):
        chosen.build(1e-5)


def test_noise_of_an_epsilon_is_the_gaussian_mechanism() -> None:
    """ε = 8 at 1e-5 in one release needs σ = 0.600, ε = 1 needs 3.73 (dp-accounting's Gaussian mechanism)."""
    assert gradient_settings.noise_for(8.0, 1e-5) == pytest.approx(0.600, abs=1e-3)
    assert gradient_settings.noise_for(1.0, 1e-5) == pytest.approx(3.73, abs=5e-3)


def test_more_guesses_than_records_identify_no_more_often() -> None:
    """300 batches of two, 12 guesses each that know nothing, matched to the truth: the first record is the nearest of
    20 once in 20 (two-sided exact test at 0.1 %). The best two guesses alone would not be fair to the decoys.
    """
    rng = np.random.default_rng(0)
    truth, decoys = rng.random((300, 2, 6)), rng.random((300, 19, 6))
    found = [Reconstruction(rng.random((12 - v % 2, 6))) for v in range(300)]
    measured = [fidelity(f, t, prior=np.full(6, 0.5)) for f, t in zip(found, truth, strict=True)]
    fair = decoy_test(gradient_stage._guesses(found, measured, (0.0, 1.0)), truth[:, 0], decoys)
    assert binomtest(fair.identified, 300, 1 / 20).pvalue > 1e-3
    chosen = decoy_test(np.stack([m.matched for m in measured]), truth[:, 0], decoys)
    assert binomtest(chosen.identified, 300, 1 / 20).pvalue < 1e-3


@pytest.mark.tf
def test_what_is_exact_without_defence_is_gone_with_noise(tmp_path: Path) -> None:
    """An MLP on digits: dense inversion and matching are exact for one image without defence and see nothing at
    ε = 8; SPEAR is exact for a batch of four, and refuses the noisy gradient."""
    settings = gradient_settings.GradientSettings(
        architecture={"kind": "mlp", "hidden": [80], "activation": "relu"},
        scenario=[
            gradient_settings.Scenario(name="one image", batch=1),
            gradient_settings.Scenario(name="batch of 4", batch=4, knows_labels=True),
        ],
        defence=[
            gradient_settings.DefenceSettings(name="none"),
            gradient_settings.DefenceSettings(name="ε = 8", clip=1.0, epsilon=8.0),
        ],
        attacks=["dense", "spear"],
        victims=4,
        utility_steps=20,
        show_records=True,
    )
    outcome = gradient.audit_gradients(settings, audit(tmp_path))
    cells = {(c.scenario, c.defence, c.attack): c for c in outcome.cells}
    exact = cells["one image", "none", "dense"]
    assert min(exact.psnr) > 100
    assert (exact.identified, exact.label_accuracy, exact.labels_right, exact.epsilon) == (4, 1.0, 4, None)
    assert exact.labels_share == pytest.approx((0.025 ** (1 / 4), 1.0))  # of four of four, in closed form
    assert cells["batch of 4", "none", "spear"].labels_share is None
    assert min(cells["batch of 4", "none", "spear"].psnr) > 100
    noisy = cells["one image", "ε = 8", "dense"]
    assert noisy.epsilon == pytest.approx(8.0, abs=1e-6)
    assert np.mean(noisy.psnr) < np.mean(noisy.floor)
    assert noisy.verdict is not None
    assert noisy.verdict.verdict != "contradicted"
    refused = cells["batch of 4", "ε = 8", "spear"].refused
    assert refused is not None
    assert "noise" in refused
    assert {picture.title for picture in outcome.gallery} == {"original", "none", "ε = 8"}
    assert {cost.defence for cost in outcome.costs} == {"none", "ε = 8"}


@pytest.mark.tf
def test_larger_batches_and_local_steps_are_defences(tmp_path: Path) -> None:
    """Dense inversion has one image exactly, and still after five local steps on it: every step moves the first kernel
    by a multiple of the image. The same first record in a batch of eight is mixed with the others. No record is in the
    result unless the plan asks for it."""
    settings = gradient_settings.GradientSettings(
        architecture={"kind": "mlp", "hidden": [40], "activation": "tanh"},
        scenario=[gradient_settings.Scenario(name="one image", batch=1, learning_rate=2.0)],
        defence=[
            gradient_settings.DefenceSettings(name="none"),
            gradient_settings.DefenceSettings(name="batch of 8", batch=8),
            gradient_settings.DefenceSettings(name="5 local steps", epochs=5),
        ],
        attacks=["dense"],
        victims=3,
        utility_steps=4,
    )
    outcome = gradient.audit_gradients(settings, audit(tmp_path))
    none, batch, steps = outcome.cells
    assert min(none.psnr) > 100
    assert max(batch.psnr) < 60
    assert len(batch.psnr) == 3 * 8
    assert min(steps.psnr) > 100
    assert outcome.gallery == []
    assert {cost.defence for cost in outcome.costs} == {"none", "batch of 8", "5 local steps"}
