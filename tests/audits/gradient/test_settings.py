"""Gradient leakage and the candidate attack as a plan runs them, down to the page."""

from pathlib import Path
from typing import Any

import pytest

from dpaudit.audits.plan import plan_from
from dpaudit.audits.run import run
from dpaudit.runtime.errors import InputError
from dpaudit.testing import PrivacyViolation, assert_private

BASE: dict[str, Any] = {"schema": 1, "name": "leakage", "seed": 3, "data": {"source": "digits", "population": 0.4}}


def test_missing_noise_is_seen_from_the_plan_to_the_page(tmp_path: Path) -> None:
    """σ = 20 claimed and σ = 2 added: the result says contradicted, and the page shows games, bound and verdict."""
    table = {
        **BASE,
        "prior": {
            "candidates": [8],
            "noise_multipliers": [2.0],
            "claimed_noise": [20.0],
            "runs": 20,
            "records": 60,
            "steps": 20,
        },
    }
    result = run(plan_from(table), folder=tmp_path / "run")
    assert result.contradicted
    with pytest.raises(PrivacyViolation, match="8 candidates"):
        assert_private(result)
    assert result.prior is not None
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "Reconstruction among candidates" in page
    assert "Attackers who see gradients" not in page
    assert "<h3>Training</h3>" not in page
    assert "contradicted" in page
    assert (tmp_path / "run" / "figures" / "reconstruction.svg").exists()


@pytest.mark.tf
def test_the_page_says_what_a_low_psnr_is_worth(tmp_path: Path) -> None:
    """The gallery and the floor are there, and the sentence that a low PSNR is no evidence for a small ε."""
    table = {
        **BASE,
        "gradient": {
            "architecture": {"kind": "mlp", "hidden": [30]},
            "attacks": ["dense"],
            "victims": 2,
            "utility_steps": 0,
            "show_records": True,
            "scenario": [{"name": "one image", "batch": 1}],
            "defence": [{"name": "none"}, {"name": "noise", "clip": 1.0, "noise_multiplier": 1.0}],
        },
    }
    result = run(plan_from(table), folder=tmp_path / "run")
    assert result.gradient is not None
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "A low PSNR is no evidence for a small ε" in page
    assert "Attackers who see gradients" not in page
    assert {picture.title for picture in result.gradient.gallery} == {"original", "none", "noise"}
    assert (tmp_path / "run" / "figures" / "gradient-gallery.svg").exists()


@pytest.mark.parametrize(
    ("gradient", "message"),
    [
        ({"architecture": {}}, "gradient.architecture.kind: this key is missing"),
        ({"architecture": {"kind": "mpl"}}, "mlp"),
        ({"architecture": {"kind": "mlp"}, "defence": [{"name": "x", "noise_multiplier": 1.0}]}, "give clip as well"),
        ({"architecture": {"kind": "mlp"}, "attacks": ["magic"]}, "gradient.attacks: name must be one of"),
        ({"architecture": {"kind": "mlp"}, "attacks": [{"name": "spear", "zero": 0.1}]}, "'zero' is not known"),
        ({"architecture": {"kind": "mlp"}, "attacks": [{"name": "matching", "restarts": 0}]}, "restarts must be at le"),
        ({"architecture": {"kind": "mlp"}, "attacks": ["dense", "dense"]}, "two have the name 'dense'"),
        ({"architecture": {"kind": "mlp"}, "defence": [{"name": "x"}, {"name": "x"}]}, "two have the name 'x'"),
    ],
)
def test_a_bad_plan_is_refused_before_anything_runs(gradient: dict[str, Any], message: str) -> None:
    """Architecture, defence and attack names are checked when the plan is read."""
    table = {
        **BASE,
        "gradient": {
            "scenario": [{"name": "a", "batch": 1}],
            "defence": [{"name": "n"}],
            "attacks": ["dense"],
            **gradient,
        },
    }
    with pytest.raises(InputError, match=message):
        plan_from(table)


def test_a_cell_has_as_many_values_for_each_victim() -> None:
    """A stored result with values for a part of the victims is refused, not averaged over whatever is there."""
    from pydantic import ValidationError

    from dpaudit.results.gradient import GradientCell

    fields: dict[str, Any] = {
        "scenario": "one", "defence": "none", "attack": "dense", "epsilon": None, "refused": None, "ssim": [],
        "nearest": [], "label_accuracy": None, "identified": 1, "victims": 2, "decoys": 9, "p_value": 1.0,
        "verdict": None,
    }  # fmt: skip
    whole = GradientCell(psnr=[20.0, 40.0, 10.0, 30.0], floor=[9.0, 9.0, 9.0, 9.0], **fields)
    assert whole.typical(whole.psnr).median == 25.0
    for psnr in ([20.0, 40.0, 10.0], [], [float("inf"), 1.0]):
        with pytest.raises(ValidationError, match="psnr"):
            GradientCell(psnr=psnr, floor=[9.0, 9.0], **fields)
    with pytest.raises(ValidationError, match="more victims"):
        GradientCell(psnr=[20.0, 40.0], floor=[9.0, 9.0], **{**fields, "labels_right": 3})
