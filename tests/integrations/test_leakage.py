"""Leakage per epoch is the loss attack's, by hand, and too little data is refused before anything is trained."""

import json
from pathlib import Path

import numpy as np
import pytest

from dpaudit.data.dataset import Dataset
from dpaudit.integrations.leakage import Leakage, beliefs
from dpaudit.runtime.errors import InputError

DATA = Dataset("line", np.arange(80, dtype=np.float32)[:, None], np.tile([0, 1], 40))
MEMBERS, OTHERS = DATA.take(np.arange(40)), DATA.take(np.arange(40, 80))


def sure_of(count: int):
    """Outputs of a model that is surer of the first records: of so many of the members, and of no other."""
    return lambda features: np.where(features < count, 9.0, 1.0) * np.eye(2)[features[:, 0].astype(int) % 2]


def test_the_numbers_are_those_of_the_roc(tmp_path: Path) -> None:
    """30 of 40 members are told apart, the others are ties: AUC 0.75 + 0.25 / 2, TPR and advantage 0.75."""
    watch = Leakage(MEMBERS, OTHERS, fpr=0.1, every=2, path=tmp_path / "rows.json")
    assert watch.after(1, beliefs(sure_of(30))) == {}
    found = watch.after(2, beliefs(sure_of(30)))
    assert found == {"leakage_auc": 0.875, "leakage_advantage": 0.75, "leakage_tpr": 0.75}
    assert watch.after(4, beliefs(sure_of(0)))["leakage_auc"] == 0.5
    assert [row["epoch"] for row in watch.rows] == [2, 4]
    assert json.loads((tmp_path / "rows.json").read_text()) == watch.rows


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"fpr": 0.01}, r"fpr = 0\.01 needs \d+ non-members or more, got 40"),
        ({"fpr": 2.0}, "fpr"),
        ({"every": 0}, "every"),
        ({"members": []}, "members must hold at least one record"),
    ],
)
def test_what_shows_nothing_is_refused(given, says) -> None:
    """Before the training, in one line."""
    with pytest.raises(InputError, match=says):
        Leakage(**{"members": MEMBERS, "nonmembers": OTHERS, "fpr": 0.1, **given})
