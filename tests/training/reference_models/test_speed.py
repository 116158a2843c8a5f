"""A speed is read from two lengths of training, kept for the next time, and measured anew for anything else."""

from pathlib import Path

import pytest

from dpaudit.training.reference_models import speed
from dpaudit.training.reference_models.speed import Speed, measure_training, measured_once

TRUTH = Speed(5.0, 1.0, 0.25)


class Clock:
    """Trainings that take what `TRUTH` says, on a clock of their own; each length compiles a program of its own."""

    def __init__(self) -> None:
        self.now = 0.0
        self.trained: list[int] = []

    def __call__(self, epochs: int) -> None:
        self.now += TRUTH.once * (epochs not in self.trained) + TRUTH.call + epochs * TRUTH.epoch
        self.trained.append(epochs)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr("dpaudit.training.reference_models.speed.time.perf_counter", lambda: made.now)
    return made


def test_the_line_is_found(clock: Clock, tmp_path: Path) -> None:
    """Compiling, the cost of a call and that of an epoch are told apart."""
    found = measure_training(clock, "recipe", folder=tmp_path)
    assert (found.once, found.call, found.epoch) == pytest.approx((TRUTH.once, TRUTH.call, TRUTH.epoch))
    assert found.seconds(1000, calls=3) == pytest.approx(5 + 3 * (1 + 250))
    assert found.seconds(1000, calls=0) == 0


def test_a_speed_is_measured_once_a_recipe(clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same recipe is read; another one, or another machine, is measured."""
    first = measure_training(clock, "recipe", folder=tmp_path)
    trained = len(clock.trained)
    assert measure_training(clock, "recipe", folder=tmp_path) == first
    assert len(clock.trained) == trained
    measure_training(clock, "another", folder=tmp_path)
    assert len(clock.trained) == 2 * trained
    monkeypatch.setattr(speed, "this_machine", lambda: ("another",))
    measure_training(clock, "recipe", folder=tmp_path)
    assert len(clock.trained) == 3 * trained


def test_a_folder_that_cannot_be_written_is_said(
    clock: Clock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The figure is still returned."""
    (tmp_path / "file").touch()
    assert measured_once(lambda: clock(8), "work", folder=tmp_path / "file") == pytest.approx(3.0)
    assert "what was measured is not kept" in caplog.text


def test_the_cache_is_the_users(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where the desktop's convention says."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert speed.cache_folder() == tmp_path / "dpaudit"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert speed.cache_folder() == tmp_path / ".cache" / "dpaudit"
