"""A model is trained again only when it is asked something new, and only when that gives the same model."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dpaudit.runtime.errors import AuditFailed, InputError
from dpaudit.training.reference_models.recorded_outputs import RecordedOutputs
from dpaudit.training.reference_models.store import Store, digest

RECORDS = np.arange(6, dtype=np.float32).reshape(3, 2)


def answers(folder: Path, shift: float, trained: list[float]) -> RecordedOutputs:
    """Of a model that adds a number; each training is noted."""

    def train() -> Any:
        trained.append(shift)
        return lambda features: features.astype(np.float64) + shift

    return RecordedOutputs(train, Store(folder, "1"), RECORDS)


def test_a_new_question_trains_once_and_old_ones_never(tmp_path: Path) -> None:
    """Whoever asks, and in whatever order."""
    trained: list[float] = []
    first = answers(tmp_path, 1.0, trained)
    np.testing.assert_array_equal(first(RECORDS), RECORDS + 1.0)
    again = answers(tmp_path, 1.0, trained)
    again(RECORDS)
    assert trained == [1.0]
    np.testing.assert_array_equal(again(RECORDS[:1]), RECORDS[:1] + 1.0)
    again(RECORDS[1:])
    assert trained == [1.0, 1.0]


def test_another_model_from_the_same_seed_is_refused(tmp_path: Path) -> None:
    """Answers of two models are not put together."""
    answers(tmp_path, 1.0, [])(RECORDS)
    with pytest.raises(AuditFailed, match="the model is another one than that of"):
        answers(tmp_path, 2.0, [])(RECORDS[:1])


@pytest.mark.parametrize(
    "logits",
    [
        {"other": np.zeros((3, 2))},
        {"logits": np.zeros((2, 2))},
        {"logits": np.zeros(3)},
        {"logits": np.full((3, 2), np.nan)},
        {"logits": np.full((3, 2), "a")},
    ],
)
def test_stored_answers_that_are_none_are_refused(tmp_path: Path, logits: Any) -> None:
    """A file with a right digest may still hold anything."""
    Store(tmp_path, "1").put(digest(RECORDS), logits)
    with pytest.raises(InputError, match="holds no logits of 3 records; remove it"):
        answers(tmp_path, 1.0, [])(RECORDS)
