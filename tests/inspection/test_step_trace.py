"""A trace of steps is read as it was written, and anything else is refused in one line."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dpaudit.accounting.claim import FixedSize, GaussianSteps, Poisson, Sampling, Shuffled, TruncatedPoisson
from dpaudit.inspection.recorded import RecordedBatches
from dpaudit.inspection.step_trace import read_steps, with_stated, write_steps
from dpaudit.runtime.errors import InputError

BATCHES = [np.array([3, 1]), np.array([], np.int64), np.array([0, 2, 4])]


@pytest.mark.parametrize("sampling", [Poisson(0.25), TruncatedPoisson(0.25, 2, 5), FixedSize(2, 5), Shuffled(3), None])
def test_it_comes_back(tmp_path: Path, sampling: Sampling | None) -> None:
    """Batches, empty ones too, what was counted, and what was accounted."""
    steps = None if sampling is None else GaussianSteps(1.5, 3, sampling)
    write_steps(tmp_path / "s.npz", RecordedBatches(5, BATCHES, accounted_steps=3), steps)
    batches, accounted = read_steps(tmp_path / "s.npz")
    assert (batches.records, batches.noise_draws, batches.accounted_steps, accounted) == (5, None, 3, steps)
    assert [batch.tolist() for batch in batches.batches] == [batch.tolist() for batch in BATCHES]


def test_what_is_typed_goes_before_what_is_written() -> None:
    """And is needed where nothing is."""
    held = GaussianSteps(1.5, 3, Shuffled(3))

    def told(
        accounted: GaussianSteps | None, noise: float | None = None, rate: float | None = None, steps: int | None = None
    ) -> GaussianSteps:
        return with_stated(accounted, noise_multiplier=noise, rate=rate, steps=steps, ran=9)

    assert told(held) == held
    assert told(held, rate=0.5, steps=7) == GaussianSteps(1.5, 7, Poisson(0.5))
    assert told(None, 2.0, 0.5) == GaussianSteps(2.0, 9, Poisson(0.5))
    with pytest.raises(InputError, match="--rate is needed"):
        told(None, 2.0)


GOOD = {"records": np.array(5), "sizes": np.array([2, 1]), "drawn": np.array([0, 1, 2])}
STATED = {"noise_multiplier": np.array(1.0), "steps": np.array(2), "sampling": np.array("poisson")}


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"x": np.zeros(3)}, "no trace of steps: it holds no 'records'"),
        ({**GOOD, "sizes": np.array([2, 2])}, "hold 4 records, and 3 are listed"),
        ({**GOOD, "sizes": np.array([4, -1])}, "hold 3 records, and 3 are listed"),
        ({**GOOD, "drawn": np.array([0.0, 1.0, 2.0])}, "drawn must be whole numbers, got float64"),
        ({**GOOD, "drawn": np.array([0, 1, 7])}, "must hold records 0 to 4"),
        ({**GOOD, "records": np.array([5])}, "records must be a single value"),
        ({**GOOD, "sizes": np.zeros(0, np.int64), "drawn": np.zeros(0, np.int64)}, "at least one step"),
        (
            {**GOOD, **STATED, "sampling": np.array("truncated-poisson"), "rate": np.array(0.5)},
            "without 'largest_batch'",
        ),
        ({**GOOD, **STATED}, "states sampling 'poisson' without 'rate'"),
        ({**GOOD, **STATED, "rate": np.array(1.5)}, "sampling rate must be"),
        ({**GOOD, **STATED, "sampling": np.array("dice")}, "sampling must be one of"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, arrays: dict[str, Any], says: str) -> None:
    """The file is named, and what is wrong with it."""
    np.savez(tmp_path / "s.npz", **arrays)
    with pytest.raises(InputError, match=says) as caught:
        read_steps(tmp_path / "s.npz")
    assert "s.npz" in str(caught.value)


def test_the_ending_says_what_it_is(tmp_path: Path) -> None:
    """``dpaudit inspect`` knows it by that."""
    with pytest.raises(InputError, match=r"is an \.npz file"):
        write_steps(tmp_path / "steps.json", RecordedBatches(5, BATCHES))
