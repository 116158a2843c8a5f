"""Reference models trained beside the models under audit are the same, and neither hides what the other does."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from threading import Event

import numpy as np
import pytest

from dpaudit.audits.audit import Audit
from dpaudit.audits.cost import AuditCost, ModelCost, saved_beside
from dpaudit.audits.membership.ahead import pools_ahead, references_ahead
from dpaudit.audits.membership.run import MembershipSettings
from dpaudit.data.bundled import digits
from dpaudit.data.inclusion import fair_coins
from dpaudit.runtime.errors import AuditFailed
from dpaudit.runtime.jobs import Stopped, Workers, stopped_by
from dpaudit.runtime.progress import Silent
from dpaudit.runtime.took import Took
from dpaudit.training.architecture import Mlp
from dpaudit.training.dp_sgd import DpSgd
from dpaudit.training.reference_models.pool import PoolCost
from dpaudit.training.sgd import Sgd
from dpaudit.training.trainer import Trainer
from tests.small_audits import ABOUT

SETTINGS = MembershipSettings(attacks=["loss"], references=4)
TRAINER = Sgd(Mlp((8,)), epochs=2, batch_size=50, learning_rate=0.1)


@pytest.fixture(autouse=True)
def two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as the engine needs to train beside something, wherever the tests run."""
    monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", "2")


def audit(folder: Path) -> Audit:
    """Of 400 digits, before its first training."""
    records = digits()
    return Audit(
        dataset=records.take(np.arange(400)),
        member=fair_coins(400, seed=1),
        population=records.take(np.arange(400, 500)),
        subjects=(),
        protection=ABOUT,
        design="one-run",
        confidence=0.95,
        seed=1,
        folder=folder,
        progress=Silent(),
    )


def stored(folder: Path) -> dict[str, bytes]:
    """Files of reference models by name, without the notes of how they were divided."""
    files = (folder / "references").glob("*.npz")
    return {path.name: path.read_bytes() for path in files if not path.name.startswith("chunks")}


def weights(given: Audit) -> list[bytes]:
    """Of a model that Keras trains from TensorFlow's global random state."""
    trained = TRAINER(given.dataset, given.member, seed=3)
    return [value.tobytes() for value in trained.weights.values()]


@pytest.mark.tf
def test_beside_each_other_or_in_turn_is_the_same(tmp_path: Path) -> None:
    """Bit for bit: weights of a model that Keras trains, and the outputs of references of two recipes."""
    trainers: dict[str, Trainer] = {
        "plain": TRAINER,
        "dp": DpSgd(Mlp((8,)), noise_multiplier=1.0, epochs=1, batch_size=50),
    }
    together, alone = audit(tmp_path / "together"), audit(tmp_path / "alone")
    with references_ahead(SETTINGS, trainers, together):
        beside = weights(together)
        deadline = time.monotonic() + 120
        while len(stored(together.folder)) < 2 and time.monotonic() < deadline:  # otherwise [membership] goes on
            time.sleep(0.02)
    for pool in pools_ahead(SETTINGS, trainers, alone):
        pool()
    assert beside == weights(alone)
    assert stored(together.folder) == stored(alone.folder)
    assert len(stored(alone.folder)) == 2


@pytest.mark.tf
def test_a_failure_is_raised_whoever_it_befalls(tmp_path: Path) -> None:
    """Of a reference that diverges after the block; of the block at once, and the training of references then stops."""
    diverges = {"far": replace(TRAINER, learning_rate=1e30)}
    with pytest.raises(AuditFailed, match="diverged"), references_ahead(SETTINGS, diverges, audit(tmp_path / "a")):
        pass
    hours = {"long": replace(TRAINER, epochs=10**6)}
    with pytest.raises(KeyboardInterrupt), references_ahead(SETTINGS, hours, audit(tmp_path / "b")):
        raise KeyboardInterrupt
    assert not stored(tmp_path / "b")


@pytest.mark.tf
def test_a_training_that_is_told_to_stop_gives_no_model(tmp_path: Path) -> None:
    """Half a training is none."""
    event = Event()
    event.set()
    with pytest.raises(Stopped), stopped_by(event):
        DpSgd(Mlp((8,)), epochs=1)(audit(tmp_path).dataset, np.ones(400, bool), seed=1)


@pytest.mark.tf
@pytest.mark.parametrize(
    "change",
    [
        lambda audit: replace(audit, workers=Workers(2)),
        lambda audit: replace(audit, workers=Workers(None, "dask=tcp://a:1")),
    ],
)
def test_processes_that_were_asked_for_train_them(tmp_path: Path, change: Callable[[Audit], Audit]) -> None:
    """They and a cluster have more cores than a thread of this process."""
    assert not pools_ahead(SETTINGS, {"a": TRAINER}, change(audit(tmp_path)))


@pytest.mark.tf
def test_only_the_engine_trains_beside_something(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other code may draw from random state that a process has one of; one core is busy with one thing."""

    def own(dataset: object, included: object, *, seed: int) -> object:
        raise NotImplementedError

    trainers: dict[str, Trainer] = {"own": own}  # type: ignore[dict-item]  # no more is asked of it here
    assert not pools_ahead(SETTINGS, trainers, audit(tmp_path))
    assert not pools_ahead(None, {"a": TRAINER}, audit(tmp_path))
    assert len(pools_ahead(SETTINGS, {"a": TRAINER}, audit(tmp_path))) == 1
    monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", "1")
    assert not pools_ahead(SETTINGS, {"a": TRAINER}, audit(tmp_path))


def test_a_prediction_knows_what_is_done_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    """On two cores: the longer of two steps of one core is left; steps that use both cores save nothing."""
    monkeypatch.setattr("dpaudit.audits.cost.cores", lambda: 2)
    assert saved_beside(Took(10, 10), Took(6, 6)) == 6
    assert saved_beside(Took(10, 20), Took(6, 12)) == 0
    assert saved_beside(Took(10, 15), Took(6, 6)) == pytest.approx(16 - 21 / 2)
    pool = PoolCost(4, 4, 4, 10, Took(10, 10), 0.1)
    costs = {"a": ModelCost(Took(6, 6), pool, Took(1, 1))}
    in_turn, beside = (AuditCost(costs, Took(), ahead=ahead).took for ahead in (False, True))
    assert in_turn is not None
    assert beside == Took(in_turn.wall - 6, in_turn.cpu)
