"""On a Dask cluster: workers die and join, the client is interrupted, and the result is that of one process.

A scheduler and workers run as processes of their own on the loopback. `make test-cluster` runs the slow test too.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dpaudit.cli import main
from dpaudit.runtime.doctor import examine_cluster
from dpaudit.runtime.errors import AuditFailed, InputError, SchedulerLost
from dpaudit.runtime.jobs import Workers
from tests.runtime.test_jobs import dying, often, once, square
from tests.training.reference_models.test_pool import MODELS, pool

pytest.importorskip("distributed", reason="the test extra installs it")
ROOT = Path(__file__).parents[2]
PATIENCE = 900.0  # seconds, on a machine with much else to do
PLAN = """
schema = 1
name = "cluster"
seed = 7
[data]
source = "digits"
[architecture]
kind = "mlp"
hidden = [128]
[[model]]
name = "dp"
trainer = "dp-sgd"
noise_multiplier = 0.6
epochs = 20
batch_size = 200
learning_rate = 0.5
[membership]
attacks = ["loss", "lira", "rmia"]
references = 64
"""


def until(condition: Callable[[], object]) -> None:
    """Wait for something that other processes do."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


@dataclass
class Cluster:
    """A scheduler and its workers."""

    folder: Path
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def file(self) -> Path:
        return self.folder / "scheduler.json"

    @property
    def backend(self) -> str:
        return f"dask={json.loads(self.file.read_text())['address']}"

    def start(self, kind: str, *options: str) -> subprocess.Popen[bytes]:
        with (self.folder / f"{kind}-{len(self.processes)}.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", f"distributed.cli.dask_{kind}", "--scheduler-file", self.file, *options],
                cwd=self.folder,
                env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])},
                stdout=log,
                stderr=log,
            )
        self.processes.append(process)
        return process

    def worker(self) -> subprocess.Popen[bytes]:
        """A worker without a nanny: nobody starts it again when it dies."""
        return self.start("worker", "--nthreads", "1", "--no-nanny", "--no-dashboard")

    def workers(self) -> int:
        from dpaudit.runtime.jobs import client

        with client(Workers(backend=self.backend).scheduler) as found:
            return len(found.nthreads())


@contextmanager
def running(folder: Path) -> Iterator[Cluster]:
    """A cluster of two workers."""
    made = Cluster(folder)
    try:
        made.start("scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard")
        until(made.file.exists)
        for _ in range(2):
            made.worker()
        until(lambda: made.workers() == 2)
        yield made
    finally:
        for process in reversed(made.processes):
            process.kill()
            process.wait()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """For one test, which may break it."""
    with running(tmp_path) as made:
        yield made


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Of a cluster that every test leaves as it was."""
    with running(tmp_path_factory.mktemp("cluster")) as made:
        yield made.backend


@pytest.mark.long
def test_a_pool_survives_its_workers(cluster: Cluster, tmp_path: Path) -> None:
    """One worker is killed and one joins while models are trained; every model is that of a single process."""
    whole = pool(tmp_path / "one")().records
    made = replace(pool(tmp_path / "many"), workers=Workers(backend=cluster.backend))
    done: list[int] = []

    def progress(models: int) -> None:
        done.append(models)
        if len(done) == 2:
            cluster.processes[1].send_signal(signal.SIGKILL)
            cluster.worker()

    np.testing.assert_array_equal(made(progress).records, whole)
    assert sum(done) == MODELS


@pytest.mark.long
def test_failures_on_a_cluster_are_those_of_one_machine(backend: str, tmp_path: Path) -> None:
    """Results by key, another attempt after a failure, a task that keeps failing named and the rest kept."""
    workers = Workers(backend=backend)
    assert dict(workers(square, {f"{i}": (i,) for i in range(7)})) == {f"{i}": i * i for i in range(7)}
    for name in ("once", "often"):
        (tmp_path / name).mkdir()
    assert dict(workers(once, {i: (tmp_path / "once", i) for i in range(4)})) == {0: 0, 1: 1, 2: 4, 3: 9}
    kept: dict[int, int] = {}
    with pytest.raises(AuditFailed, match="task 2 failed: ZeroDivisionError: two is bad"):
        kept.update(workers(often, {i: (tmp_path / "often", i) for i in range(4)}))
    assert kept == {0: 0, 1: 1, 3: 9}


def test_doctor_looks_at_every_worker(backend: str) -> None:
    """One line for each worker, all of them with what is installed here."""
    checks = examine_cluster(backend)
    assert [check.what.split()[0] for check in checks] == ["workers", "worker", "worker"]
    assert all(check.ok for check in checks)


@pytest.mark.long
def test_nobody_at_the_address_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """A port where no scheduler listens."""
    monkeypatch.setattr("dpaudit.runtime.jobs.CONNECT_SECONDS", 1)
    with pytest.raises(InputError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:1"):
        examine_cluster("dask=tcp://127.0.0.1:1")


@pytest.mark.long
def test_a_scheduler_that_goes_away_is_one_line(cluster: Cluster, tmp_path: Path) -> None:
    """Exit 4, the address, that what is done is kept, and the command that goes on, which does only what is missing."""
    address = Workers(backend=cluster.backend).scheduler
    made = replace(pool(tmp_path), workers=Workers(backend=cluster.backend))
    done: list[int] = []

    def progress(models: int) -> None:
        done.append(models)
        if len(done) == 2:
            cluster.processes[0].kill()

    for _ in range(2):  # in the middle, and before it begins again
        with pytest.raises(SchedulerLost, match=f"the Dask scheduler at {address} was lost"):
            made(progress)
    left = made.missing()
    assert 0 < left < MODELS
    again: list[int] = []
    np.testing.assert_array_equal(pool(tmp_path)(again.append).records, pool(tmp_path / "whole")().records)
    assert sum(again) == left


@pytest.mark.long
def test_the_command_that_goes_on_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """With the words it was started with, quoted as a shell needs them."""
    error = SchedulerLost("the Dask scheduler at tcp://a:1 was lost")
    error.log = "log.jsonl"  # type: ignore[attr-defined]  # as a run leaves it

    def lost(**_: object) -> None:
        raise error

    monkeypatch.setattr("dpaudit.cli.app", lost)
    monkeypatch.setattr(sys, "argv", ["dpaudit", "run", "my plan.toml", "--backend", "dask=tcp://a:1"])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 4
    assert capsys.readouterr().err == (
        "dpaudit: the Dask scheduler at tcp://a:1 was lost; what is done is kept, go on with: "
        "dpaudit run 'my plan.toml' --backend dask=tcp://a:1\n"
    )


@pytest.mark.slow
def test_a_task_that_kills_every_worker_is_named(cluster: Cluster, tmp_path: Path) -> None:
    """Dask gives a task up after four dead workers; that is its end, and not a wait without one."""
    for _ in range(4):
        cluster.worker()
    until(lambda: cluster.workers() == 6)
    kept: dict[int, int] = {}
    with pytest.raises(AuditFailed, match="task 2 failed: KilledWorker"):
        kept.update(Workers(backend=cluster.backend)(dying, {i: (tmp_path, i) for i in range(5)}))
    assert kept == {0: 0, 1: 1, 3: 9, 4: 16}


@pytest.mark.slow
@pytest.mark.tf
def test_a_run_on_a_cluster_is_the_run_on_one_process(cluster: Cluster, tmp_path: Path) -> None:
    """64 reference models: a worker killed, one added, the client interrupted, the run resumed; same result.json."""
    plan = tmp_path / "plan.toml"
    plan.write_text(PLAN)
    command = [sys.executable, "-m", "dpaudit", "run", str(plan), "--quiet", "--out"]

    def started(folder: Path) -> subprocess.Popen[bytes]:
        return subprocess.Popen([*command, str(folder), "--backend", cluster.backend], cwd=ROOT)

    def result(folder: Path) -> dict[str, Any]:
        read: dict[str, Any] = json.loads((folder / "result.json").read_text())
        del read["timing"], read["provenance"]["created"]
        return read

    subprocess.run([*command, str(tmp_path / "one")], cwd=ROOT, check=True)
    many = tmp_path / "many"

    def chunks() -> int:
        return len([path for path in (many / "references").glob("*.npz") if not path.name.startswith("chunks-")])

    client = started(many)
    until(lambda: chunks() >= 2)
    cluster.processes[1].kill()
    cluster.worker()
    until(lambda: chunks() >= 6)
    client.send_signal(signal.SIGINT)
    assert client.wait(PATIENCE) == 130
    interrupted = chunks()
    assert 6 <= interrupted < 16
    assert not (many / "result.json").exists()
    assert started(many).wait(PATIENCE) == 0
    assert chunks() == 16
    assert result(many) == result(tmp_path / "one")
