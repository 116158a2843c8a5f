"""What an attack lacks is said before anything is trained, and an attack that lacks nothing is let through."""

from typing import Any

import pytest

from dpaudit.audits.membership.rehearsal import refuse_attacks
from dpaudit.audits.membership.run import MembershipSettings
from dpaudit.data.dataset import Task
from dpaudit.runtime.errors import InputError

NOISE = [{"kind": "noise", "scale": 0.1}]
RUN_ON_TEXTS = ("auto", "attack-p", "loss", "quantile", "lira", "lira-offline", "rmia", "base", "offset", "bavaria",
               "informia")  # fmt: skip


@pytest.mark.parametrize(
    ("table", "task", "said"),
    [
        ({"attacks": ["loss", "entropy"]}, "next-token", "'entropy' cannot run .*needs the probabilities of all"),
        ({"attacks": ["gap"]}, "regression", "'gap' cannot run .*needs the probabilities of all classes"),
        ({"attacks": [{"name": "attack-p", "per_class": True}]}, "next-token", "needs the true classes"),
        ({"attacks": ["lira"]}, "next-token", "needs reference models; set membership.references"),
        ({"attacks": ["rmia"]}, "multiclass", "needs reference models; set membership.references"),
        ({"attacks": ["multi-signal-lira"], "references": 4}, "multiclass", "needs queries"),
        ({"attacks": ["ranges"], "references": 4}, "multiclass", "needs queries"),
        ({"attacks": ["ranges"], "queries": NOISE}, "multiclass", "needs reference models; set membership.references"),
        ({"attacks": ["label-only"]}, "multiclass", "needs reference models; set membership.references"),
        ({"attacks": ["label-only"], "references": 4}, "next-token", "'label-only' .*needs the probabilities"),
        ({"attacks": ["bavaria"]}, "multiclass", "needs reference models; set membership.references"),
        ({"attacks": ["informia"]}, "multiclass", "needs reference models; set membership.references"),
        ({"attacks": ["trajectory"], "references": 4}, "next-token", "needs checkpoints"),
        ({"attacks": ["loss"], "slices": ["class"]}, "next-token", "slices by class need a classification task"),
    ],
)  # fmt: skip
def test_what_cannot_run_is_refused(table: dict[str, Any], task: Task, said: str) -> None:
    """One line names the attack and what it lacks."""
    with pytest.raises(InputError, match=said):
        refuse_attacks(MembershipSettings.model_validate(table), task)


@pytest.mark.parametrize(
    ("table", "task"),
    [
        ({"attacks": RUN_ON_TEXTS, "references": 4, "slices": ["loss"]}, "next-token"),
        ({"attacks": ["gap", "entropy", "modified-entropy", "hinge", "confidence"]}, "binary"),
        ({"attacks": ["robustness"], "queries": NOISE}, "multiclass"),
        ({"attacks": ["multi-signal-lira", "ranges"], "references": 4, "queries": NOISE}, "multiclass"),
        ({"attacks": ["label-only"], "references": 4}, "binary"),
        ({"attacks": ["trajectory"], "references": 4, "checkpoints": [1]}, "next-token"),
        ({"attacks": [{"name": "quantile", "alpha": 0.001}]}, "multiclass"),
    ],
)
def test_what_can_run_is_not_refused(table: dict[str, Any], task: Task) -> None:
    """The number of records is left to the real ones: a quantile of 0.001 needs more than the random signals have."""
    refuse_attacks(MembershipSettings.model_validate(table), task)
