"""Whole commands, interrupted, killed, short of disk or two in one folder: nothing is half-written, nothing mixed."""

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from dpaudit.results.result import load_result
from dpaudit.runtime.files import LOCK, alone_in
from tests.commands import ended, start
from tests.small_audits import gaussian_audit

# Waits in the training while there is a file `hold`, and says that it is there.
TRAINER = """
import time
from pathlib import Path
import numpy as np

def train(dataset, included, *, seed):
    Path(f"training-{seed}").touch()
    while Path("hold").exists():
        time.sleep(0.01)
    features = dataset.features.reshape(len(dataset), -1)
    means = np.stack([features[included & (dataset.classes == c)].mean(axis=0) for c in range(dataset.outputs)], axis=1)
    return lambda asked: asked.reshape(len(asked), -1) @ means
"""
PLAN = """
schema = 1
name = "plan"
seed = 1
[data]
source = "records.csv"
[[model]]
name = "first"
trainer = "function"
train = "trainer:train"
[[model]]
name = "second"
trainer = "function"
train = "trainer:train"
[membership]
attacks = ["loss"]
"""
RUN = ("run", "plan.toml", "--trust", "--quiet", "--out", "run")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with a plan, its records and its trainer."""
    rng = np.random.default_rng(1)
    labels = rng.integers(2, size=120)
    rows = [",".join(f"{x:.4f}" for x in row) for row in rng.normal(size=(120, 3)) + labels[:, None]]
    table = "0,1,2,label\n" + "".join(f"{row},{label}\n" for row, label in zip(rows, labels, strict=True))
    (tmp_path / "records.csv").write_text(table)
    (tmp_path / "plan.toml").write_text(PLAN)
    (tmp_path / "trainer.py").write_text(TRAINER)
    return tmp_path


def waited_for(there: Callable[[], bool]) -> None:
    """Until something is there."""
    end = time.monotonic() + 120
    while not there():
        assert time.monotonic() < end
        time.sleep(0.01)


def content(folder: Path) -> dict[str, Any]:
    """A result without what the clock puts into it."""
    found: dict[str, Any] = json.loads((folder / "result.json").read_text())
    del found["timing"], found["provenance"]["created"]
    return found


def whole(folder: Path) -> None:
    """Every file is one that can be read, and none is half-written."""
    assert list(folder.rglob("*.part")) == []
    for path in folder.rglob("result.json"):
        load_result(path)


@pytest.mark.long
def test_code_in_a_plan_runs_only_when_trusted(place: Path) -> None:
    """Neither a run nor its prediction imports what the plan names; the line says how to allow it."""
    (place / "trainer.py").write_text("from pathlib import Path\nPath('ran').touch()\n")
    for words in (("run", "plan.toml"), ("run", "plan.toml", "--dry-run")):
        code, said = ended(start(*words, cwd=place), place)
        assert code == 2
        assert "'trainer:train', code from outside dpaudit" in said
        assert "--trust" in said
        assert len(said.strip().splitlines()) == 1
    assert not (place / "ran").exists()
    assert not (place / "runs").exists()


@pytest.mark.long
def test_killed_and_interrupted_run_ends_as_if_nothing_had_happened(place: Path) -> None:
    """SIGKILL in the first training, Ctrl-C in the next, then left alone: as if never stopped."""
    assert ended(start(*RUN[:-1], "alone", cwd=place), place)[0] == 0
    for stop, code in ((signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, 130)):
        for path in place.glob("training-*"):
            path.unlink()
        (place / "hold").touch()
        process = start(*RUN, cwd=place)
        waited_for(lambda: any(place.glob("training-*")))
        assert process.pid is not None
        os.kill(process.pid, stop)
        found, said = ended(process, place)
        assert found == code
        assert not (place / "run" / "result.json").exists()
        if stop == signal.SIGINT:
            assert said.count("\n") == 1
            assert "start it again" in said
        (place / "hold").unlink()
    (place / "run" / ".result.json.abc123.part").write_text("half")  # as a kill in the middle of writing leaves it
    assert ended(start(*RUN, cwd=place), place)[0] == 0
    assert content(place / "run") == content(place / "alone")
    whole(place / "run")


@pytest.mark.long
def test_resumed_run_takes_what_a_function_answered_until_its_code_changes(place: Path) -> None:
    """Neither model is trained again, and the result is the same; after an edit, here or in a neighbour, both are."""
    (place / "trainer.py").write_text("import averages\n" + TRAINER.replace("np.stack", "averages.stack"))
    (place / "averages.py").write_text("from numpy import stack\n")
    (place / "unrelated.py").write_text("import trainer\n")

    def trained() -> tuple[int, str]:
        for path in place.glob("training-*"):
            path.unlink()
        code, said = ended(start(*RUN, cwd=place), place)
        assert code == 0, said
        return len(list(place.glob("training-*"))), said

    assert trained() == (2, "")
    first = content(place / "run")
    for path in (place / "run").glob("*.*"):
        if path.name != "plan.toml":
            path.unlink()
    with (place / "unrelated.py").open("a") as stream:
        stream.write("# edited\n")
    count, said = trained()
    assert count == 0
    assert "remove that folder to train it again" in " ".join(said.split())  # in lines of 80 characters
    assert content(place / "run") == first
    for name in ("trainer.py", "averages.py"):
        with (place / name).open("a") as stream:
            stream.write("# edited\n")
        assert trained() == (2, "")


@pytest.mark.long
def test_run_killed_while_writing_its_plan_can_be_started_again(place: Path) -> None:
    """What is left then is a name of ours and no plan; a folder with anything else in it is still refused."""
    (place / "run").mkdir()
    (place / "run" / ".plan.toml.abc123.part").write_text("half")
    assert ended(start(*RUN, cwd=place), place)[0] == 0
    assert (place / "run" / "result.json").exists()


@pytest.mark.long
def test_second_run_in_a_folder_waits_and_a_third_of_another_plan_is_refused(place: Path) -> None:
    """Both runs of one plan end with its result; another plan leaves the folder as it is."""
    (place / "hold").touch()
    (place / "other.toml").write_text(PLAN.replace("seed = 1", "seed = 2"))
    first = start(*RUN, cwd=place)
    waited_for(lambda: any(place.glob("training-*")))
    others = [start(*RUN, cwd=place), start("run", "other.toml", *RUN[2:], cwd=place)]
    waited_for(lambda: all((place / f"err-{each.pid}.txt").exists() for each in others))
    time.sleep(0.3)
    assert all(each.is_alive() for each in others)
    (place / "hold").unlink()
    assert ended(first, place) == (0, "")
    code, said = ended(others[0], place)
    assert code == 0
    assert "waiting for it to end" in said
    code, said = ended(others[1], place)
    assert code == 2
    assert "holds a run of another plan" in said
    assert json.loads((place / "run" / "result.json").read_text())["provenance"]["seed"] == 1
    whole(place / "run")


def judged_and_attacked(place: Path) -> dict[str, tuple[str, ...]]:
    """A command line of `attack` and one of `verify`, with what they need."""
    rng = np.random.default_rng(2)
    for name, shift in (("in", 1.0), ("out", 0.0)):
        logits = rng.normal(size=(200, 3)) + np.array([shift, 0, 0])
        rows = [",".join(f"{x:.4f}" for x in row) + ",0\n" for row in logits]
        (place / f"{name}.csv").write_text("0,1,2,label\n" + "".join(rows))
    (place / "result.json").write_text(gaussian_audit(1.0, seed=1, records=300).json())
    (place / "claims.toml").write_text('[[claim]]\nid = "a"\nkind = "ceiling"\nmetric = "auc"\nmax = 0.99\n')
    attack = ("attack", "--predictions", "in.csv", "out.csv", "--outputs", "logits", "--quiet", "--out", "attacked")
    verify = ("verify", "result.json", "--claims", "claims.toml", "--junit", "gate/j.xml", "--markdown", "gate/s.md")
    return {"attack": attack, "verify": verify}


@pytest.mark.parametrize("command", ["attack", "verify"])
@pytest.mark.long
def test_killed_command_leaves_whole_files(place: Path, command: str) -> None:
    """Killed after 1, 50, 200 and 500 milliseconds, then left alone: it ends well in the same place."""
    words = judged_and_attacked(place)[command]
    for delay in (0.001, 0.05, 0.2, 0.5):
        process = start(*words, cwd=place)
        time.sleep(delay)
        process.kill()
        process.join(60)
        for path in place.rglob("result.json"):
            load_result(path)
    code, said = ended(start(*words, cwd=place), place)
    assert code == 0, said


@pytest.mark.parametrize(("command", "read"), [("attack", "in.csv"), ("verify", "claims.toml")])
@pytest.mark.long
def test_interrupted_command_says_so_in_one_line(place: Path, command: str, read: str) -> None:
    """Ctrl-C while it reads: exit 130 and nothing written; then left alone it ends well in the same place."""
    words = judged_and_attacked(place)[command]
    text = (place / read).read_text()
    (place / read).unlink()
    os.mkfifo(place / read)
    process = start(*words, cwd=place)
    with (place / read).open("w"):  # waits until the command has opened it too, and lets it wait for more
        assert process.pid is not None
        os.kill(process.pid, signal.SIGINT)
        code, said = ended(process, place)
    assert code == 130, said
    assert len(said.strip().splitlines()) == 1
    assert "interrupted; start it again" in said
    assert not (place / "gate").exists()
    assert not (place / "attacked" / "result.json").exists()
    (place / read).unlink()
    (place / read).write_text(text)
    assert ended(start(*words, cwd=place), place) == (0, "")
    whole(place)


@pytest.mark.parametrize(("command", "folder"), [("attack", "attacked"), ("verify", "gate")])
@pytest.mark.long
def test_second_command_in_a_folder_waits(place: Path, command: str, folder: str) -> None:
    """Nothing is written while another works there; what the other wrote last is kept or replaced whole."""
    words = judged_and_attacked(place)[command]
    with alone_in(place / folder):
        process = start(*words, cwd=place)
        heard = place / f"err-{process.pid}.txt"
        waited_for(lambda: heard.exists() and "another process works" in heard.read_text())
        time.sleep(0.3)
        assert process.is_alive()
        assert {path.name for path in (place / folder).iterdir()} <= {LOCK, "j.xml"}  # which is nobody else's
        (place / folder / "s.md").write_text("of the other")
    assert ended(process, place)[0] == 0
    if command == "verify":
        summary = (place / folder / "s.md").read_text()
        assert summary.startswith("of the other")
        assert "### Privacy claims" in summary
        assert ElementTree.parse(place / folder / "j.xml").getroot().tag == "testsuites"
    whole(place)


@pytest.mark.parametrize("command", ["run", "attack", "verify"])
@pytest.mark.long
def test_full_disk(place: Path, command: str) -> None:
    """No file may grow beyond 200 bytes: one line, exit 2, and nothing half-written; with room it then ends well."""
    words = {"run": RUN, **judged_and_attacked(place)}[command]
    code, said = ended(start(*words, cwd=place, largest=200), place)
    assert code == 2, said
    assert "cannot write" in said
    assert "File too large" in said
    assert len(said.strip().splitlines()) == 1
    whole(place)
    assert not (place / "gate" / "j.xml").exists()
    assert not any((place / name / "result.json").exists() for name in ("run", "attacked"))
    code, said = ended(start(*words, cwd=place), place)
    assert code == 0, said
