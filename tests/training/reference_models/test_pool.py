"""The pool: never twice, the same after a kill, in any number of processes, and loud about damaged files."""

import logging
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dpaudit.data.inclusion import complementary_pairs
from dpaudit.runtime.check import FloatArray
from dpaudit.runtime.errors import InputError
from dpaudit.runtime.jobs import Workers
from dpaudit.training.architecture import Mlp
from dpaudit.training.dp_sgd import DpSgd
from dpaudit.training.function import Function
from dpaudit.training.reference_models.pool import Pool, model_seed
from dpaudit.training.reference_models.store import describe_value
from tests.training.reference_models.pool_functions import data

MODELS = 16
SCRIPT = """
import sys
from pathlib import Path
from tests.training.reference_models.test_pool import pool
made = pool(Path(sys.argv[1]))
print("begins", flush=True)
made()
"""


def pool(folder: Path) -> Pool:
    records = data()
    trainer = Function("tests.training.reference_models.pool_functions:train")
    return Pool(trainer, records, complementary_pairs(MODELS, len(records), seed=3), records, 7, folder)


def counted(made: Pool) -> tuple[FloatArray, int]:
    """Outputs, and how many models were not found in the store."""
    before = set(made.folder.glob("*.npz"))
    outputs = made().records
    return outputs, len(set(made.folder.glob("*.npz")) - before)


def test_models_are_those_of_the_trainer(tmp_path: Path) -> None:
    """Model i of a pool is the trainer's model for its row of the masks and its own seed."""
    made = pool(tmp_path)
    outputs = made()
    assert outputs.records.shape == (MODELS, 40, 2)
    assert outputs.population is not None
    for i in (0, 5):
        alone = made.trainer(made.dataset, made.included[i], seed=model_seed(7, i))
        np.testing.assert_array_equal(outputs.records[i], alone.predict(made.dataset.features))


def test_second_run_trains_nothing(tmp_path: Path) -> None:
    """A finished pool is read, not trained, and gives the same outputs."""
    first, made = counted(pool(tmp_path))
    second, again = counted(pool(tmp_path))
    assert made == MODELS + 1  # and the note of the chunks' size
    assert again == 0
    np.testing.assert_array_equal(first, second)
    assert pool(tmp_path).cost().trainings == 0


@pytest.mark.parametrize(
    "changed",
    [
        lambda p: replace(p, seed=8),
        lambda p: replace(p, included=~p.included),
        lambda p: replace(p, population=None),
        lambda p: replace(p, trainer=replace(p.trainer, noise_multiplier=1.0, steps=1, rate=1.0)),
        lambda p: replace(p, dataset=replace(p.dataset, features=p.dataset.features + 1)),
    ],
)
def test_everything_a_model_depends_on_is_in_its_key(tmp_path: Path, changed: Callable[[Pool], Pool]) -> None:
    """Another seed, mask, population, trainer or data set finds none of the stored models."""
    made = pool(tmp_path)
    made()
    assert changed(made).cost().trainings == MODELS


@pytest.mark.parametrize("kills", [2, pytest.param(10, marks=pytest.mark.slow)])
@pytest.mark.long
def test_killed_again_and_again_ends_the_same(tmp_path: Path, kills: int) -> None:
    """SIGKILL at random moments of training and writing, then one run to the end: the outputs of an unharmed run."""
    whole = pool(tmp_path / "whole")().records
    rng = random.Random(11)
    alive = 0
    for _ in range(kills):
        process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(tmp_path / "killed")], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "begins\n"
        wanted = len(list((tmp_path / "killed").glob("*.npz"))) + rng.randrange(4)
        while process.poll() is None and len(list((tmp_path / "killed").glob("*.npz"))) < wanted:
            time.sleep(0.002)
        time.sleep(rng.uniform(0, 0.04))
        alive += process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert alive >= 1
    outputs, made = counted(pool(tmp_path / "killed"))
    np.testing.assert_array_equal(outputs, whole)
    assert made < MODELS  # what the killed runs had finished was kept
    assert not [path for path in (tmp_path / "killed").glob("*.npz") if path.stat().st_size == 0]


@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b[:-200] + bytes(200)])
def test_damaged_file_is_made_again_and_said_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: Callable[[bytes], bytes]
) -> None:
    """A truncated, empty or overwritten file is noticed, retrained and named in a warning."""
    first = pool(tmp_path)().records
    victim = max(tmp_path.glob("*.npz"), key=lambda path: path.stat().st_size)
    victim.write_bytes(damage(victim.read_bytes()))
    with caplog.at_level(logging.WARNING):
        np.testing.assert_array_equal(pool(tmp_path)().records, first)
    assert victim.name in caplog.text
    assert "made again" in caplog.text


def test_flipped_numbers_are_noticed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A well-formed file whose numbers were changed does not pass for a result."""
    first = pool(tmp_path)().records
    victim = max(tmp_path.glob("*.npz"), key=lambda path: path.stat().st_size)
    arrays = dict(np.load(victim))
    arrays["records"] = arrays["records"] + 1
    np.savez(victim, **arrays)
    with caplog.at_level(logging.WARNING):
        np.testing.assert_array_equal(pool(tmp_path)().records, first)
    assert "is damaged" in caplog.text


@pytest.mark.long
def test_file_of_another_version_is_not_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files written by another version of dpaudit are trained again, and the log says so."""
    pool(tmp_path)()
    monkeypatch.setattr("dpaudit.__version__", "0.0.1")
    with caplog.at_level(logging.WARNING):
        pool(tmp_path)()
    assert "was written by version" in caplog.text


@pytest.mark.long
def test_processes_give_the_same_outputs(tmp_path: Path) -> None:
    """Two worker processes give what one process gives."""
    one = pool(tmp_path / "one")().records
    np.testing.assert_array_equal(replace(pool(tmp_path / "two"), workers=Workers(2))().records, one)


def test_progress_counts_what_is_trained(tmp_path: Path) -> None:
    """Progress adds up to the models that were missing: what was found says nothing about the time that is left."""
    for expected in (MODELS, 0):
        made, done = pool(tmp_path), list[int]()
        assert made.missing() == expected
        made(done.append)
        assert sum(done) == expected


@pytest.mark.tf
@pytest.mark.slow
def test_stacked_models_are_the_same_in_any_process(tmp_path: Path) -> None:
    """DP-SGD models in chunks over two processes are those of one process, but for rounding.

    The order in which a matrix product adds up depends on the threads of a process, and a worker has fewer.
    """
    trainer = DpSgd(Mlp((512, 512)), 1.0, 1.0, epochs=4, batch_size=20)
    one = replace(pool(tmp_path / "one"), trainer=trainer, memory=4_000_000_000)
    two = replace(one, folder=tmp_path / "two", workers=Workers(2))
    assert two.chunk_size() <= MODELS // 2
    np.testing.assert_allclose(two().records, one().records, atol=1e-3)


@pytest.mark.tf
def test_too_few_records_are_refused(tmp_path: Path) -> None:
    """Models on 20 records each cannot have batches of 30, the message has both numbers, and none is trained."""
    made = replace(pool(tmp_path), trainer=DpSgd(Mlp((4,)), batch_size=30, compiled=False))
    with pytest.raises(InputError, match=r"a model on .* has 20 training records; a DpSgd trainer needs at least 30"):
        made()


@pytest.mark.tf
def test_memory_counts_every_program_that_trains_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On three cores three programs hold a step each, in three processes one each; too little memory is said."""
    made = replace(pool(tmp_path), trainer=DpSgd(Mlp((512, 512)), batch_size=20))
    cost = DpSgd(Mlp((512, 512)), batch_size=20).cost(made.dataset)
    assert cost.stack(20) == 1
    need = {}
    for cores, jobs in ((1, 1), (3, 1), (3, 3)):
        monkeypatch.setattr("dpaudit.engine.training.workers", lambda cores=cores: cores)
        need[cores, jobs] = replace(made, workers=Workers(jobs)).process_bytes()
    assert need[3, 1] - need[1, 1] == 2 * cost.step_bytes(20)
    assert need[3, 3] == need[1, 1]
    with pytest.raises(InputError, match=r"memory of 600 MB is too little for 1 process\(es\)"):
        replace(made, memory=600_000_000).chunk_size()


def test_bad_masks_are_refused(tmp_path: Path) -> None:
    """Masks of the wrong shape or type name what would be right."""
    made = pool(tmp_path)
    with pytest.raises(
        InputError, match=r"included must be booleans of shape \(models, 40\), got bool of shape \(16, 39\)"
    ):
        replace(made, included=made.included[:, 1:])
    with pytest.raises(InputError, match="got int64"):
        replace(made, included=made.included.astype(np.int64))


def test_description_sees_inside() -> None:
    """A trainer's text has every field, and a function's has its code."""
    text = describe_value(Function("tests.training.reference_models.pool_functions:train"))
    assert "tests.training.reference_models.pool_functions:train" in text
    assert describe_value(Function("tests.training.reference_models.pool_functions:data")) != text
