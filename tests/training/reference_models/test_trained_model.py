"""Single models: named in their folder by what the plan calls them, and found whatever an earlier run called them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dpaudit.data.dataset import Dataset
from dpaudit.data.source import Records
from dpaudit.runtime.jobs import Workers
from dpaudit.training.function import Function
from dpaudit.training.reference_models.trained_model import Wanted, train_models
from dpaudit.training.trainer import Predict

DATA = Dataset("corners", np.eye(4, dtype=np.float32), np.array([0, 1, 0, 1]))
TRAININGS: list[int] = []


def seeded(dataset: Dataset, included: Any, *, seed: int) -> Predict:
    """A model that answers with random weights of its seed."""
    TRAININGS.append(seed)
    weights = np.random.default_rng(seed).normal(size=(dataset.features.shape[1], dataset.outputs))
    return lambda asked: asked @ weights


def test_answers_of_a_function_lie_in_a_folder_with_its_name(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The folder of an earlier run, a hash alone, is as good: nothing is trained again and no second folder made."""
    wanted = {"my model": Wanted(Function(seeded), np.array([True, True, False, False]), 7)}

    def answers() -> Any:
        models = train_models(wanted, DATA, Records.of(DATA), folder=tmp_path, workers=Workers(1))
        return models["my model"].predict(DATA.features)

    TRAININGS.clear()
    first = answers()
    (folder,) = tmp_path.iterdir()
    label, _, key = folder.name.rpartition("-")
    assert (label, len(key)) == ("my-model", 32)
    folder.rename(tmp_path / key)
    np.testing.assert_array_equal(answers(), first)
    assert [path.name for path in tmp_path.iterdir()] == [key]
    assert TRAININGS == [7]
    assert f"is taken from {tmp_path / key}" in caplog.text
