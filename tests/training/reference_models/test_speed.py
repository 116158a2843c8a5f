"""A speed is read from two lengths of training, kept for the next time, and measured anew for anything else."""

from pathlib import Path

import numpy as np
import pytest

from dpaudit.data.dataset import Dataset
from dpaudit.runtime.took import Took, epoch_done
from dpaudit.training.architecture import Mlp
from dpaudit.training.reference_models import speed
from dpaudit.training.reference_models.speed import Sample, Speed, measure_alone, measure_training, measured_once
from dpaudit.training.sgd import Sgd

TRUTH = Speed(Took(5.0, 5.0), Took(1.0, 1.0), Took(0.25, 0.25), Took(0.125, 0.125))


class Clock:
    """Trainings that take what `TRUTH` says, on a clock of their own; the first compiles the program of all."""

    def __init__(self) -> None:
        self.now = 0.0
        self.trained: list[int] = []

    def __call__(self, epochs: int) -> None:
        self.now += TRUTH.once.wall * (not self.trained) + TRUTH.call.wall + epochs * TRUTH.epoch.wall
        self.trained.append(epochs)

    def ask(self, models: None) -> None:
        """Predict."""
        self.now += TRUTH.predict.wall


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr("dpaudit.runtime.took._now", lambda: Took(made.now, made.now))
    return made


def test_the_line_is_found(clock: Clock, tmp_path: Path) -> None:
    """Compiling, the cost of a call, that of an epoch and that of a prediction are told apart."""
    found = measure_training(clock, clock.ask, "recipe", folder=tmp_path)
    parts = [(part.wall, part.cpu) for part in (found.once, found.call, found.epoch, found.predict)]
    assert parts == pytest.approx([(5.0, 5.0), (1.0, 1.0), (0.25, 0.25), (0.125, 0.125)])
    assert found.took(1000, calls=3).cpu == pytest.approx(5 + 3 * (1 + 250 + 0.125))
    assert found.took(1000, calls=0) == Took()
    assert found.of_records(4).took(1000).wall == pytest.approx(5 + 1 + 1000 + 0.5)


def test_one_training_that_says_when_its_epochs_end_is_enough(clock: Clock, tmp_path: Path) -> None:
    """What it needs before the first epoch belongs to the call; nothing is trained twice."""

    def train(epochs: int) -> None:
        clock.trained.append(epochs)
        clock.now += 6.0
        for _ in range(epochs):
            clock.now += 0.25
            epoch_done()

    found = measure_alone(train, clock.ask, "recipe", epochs=4, folder=tmp_path)
    assert found.once == Took()
    assert [found.call.cpu, found.epoch.cpu] == pytest.approx([6.0, 0.25])
    assert clock.trained == [4]


def test_a_training_that_says_nothing_is_repeated(clock: Clock, tmp_path: Path) -> None:
    """Its line is found from two lengths, as of a stack of models."""
    found = measure_alone(clock, clock.ask, "recipe", epochs=4, folder=tmp_path)
    assert [found.call.cpu, found.epoch.cpu] == pytest.approx([1.0, 0.25])
    assert len(clock.trained) == 4


def test_large_data_are_timed_on_some_records_of_both_sides() -> None:
    """At most 2,000 records, or twelve batches, as many times fewer as is said; small data are taken whole."""
    data = Dataset("line", np.arange(50_000.0).reshape(-1, 1), np.arange(50_000) % 2)
    included = np.arange(50_000) % 5 == 0
    some = Sample.of(Sgd(Mlp(), batch_size=32), data, included)
    assert len(some.dataset) == 2000
    assert some.scale == 25
    assert included[some.rows].mean() == pytest.approx(0.2)
    assert len(Sample.of(Sgd(Mlp(), batch_size=1000), data, included).dataset) == 12_000
    assert Sample.of(Sgd(Mlp()), data.take(np.arange(1500)), included[:1500]).scale == 1


def test_a_speed_is_measured_once_a_recipe(clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same recipe is read; another one, or another machine, is measured."""
    first = measure_training(clock, clock.ask, "recipe", folder=tmp_path)
    trained = len(clock.trained)
    assert measure_training(clock, clock.ask, "recipe", folder=tmp_path) == first
    assert len(clock.trained) == trained
    measure_training(clock, clock.ask, "another", folder=tmp_path)
    assert len(clock.trained) == 2 * trained
    monkeypatch.setattr(speed, "this_machine", lambda: ("another",))
    measure_training(clock, clock.ask, "recipe", folder=tmp_path)
    assert len(clock.trained) == 3 * trained


def test_a_folder_that_cannot_be_written_is_said(
    clock: Clock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The figure is still returned."""
    (tmp_path / "file").touch()
    assert measured_once(lambda: clock(8), "work", folder=tmp_path / "file").wall == pytest.approx(8.0)
    assert "what was measured is not kept" in caplog.text


def test_the_cache_is_the_users(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where the desktop's convention says."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert speed.cache_folder() == tmp_path / "dpaudit"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert speed.cache_folder() == tmp_path / ".cache" / "dpaudit"
