"""What an interrupted machine or an attacker's file can do to a run: nothing."""

import io
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from rich.console import Console

from dpaudit.gate.claims_file import claims_from
from dpaudit.gate.verify import verify
from dpaudit.reports.gate import gate_as_markdown, junit, tabulate_judgements
from dpaudit.reports.html import write_report
from dpaudit.runtime.errors import InputError
from dpaudit.runtime.files import LOCK, map_npz, read_npz, read_text
from dpaudit.scores.signal_files import stored_signals
from tests.small_audits import edited, gaussian_audit

HOLD = """
import sys, time
from pathlib import Path
from dpaudit.runtime.files import alone_in
with alone_in(Path(sys.argv[1])):
    print("in", time.monotonic(), flush=True)
    sys.stdin.read()
    print("out", time.monotonic(), flush=True)
"""


def holding(folder: Path) -> "subprocess.Popen[str]":
    """A process that works in a folder until its input ends."""
    words = [sys.executable, "-c", HOLD, str(folder)]
    pipe = subprocess.PIPE
    return subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=pipe, text=True)


@pytest.mark.long
def test_second_run_in_a_folder_waits_for_the_first(tmp_path: Path) -> None:
    """Two processes are never in one folder at once, and the second says why it waits."""
    with holding(tmp_path) as first:
        assert first.stdout is not None
        assert first.stdout.readline().startswith("in ")
        with holding(tmp_path) as second:
            assert second.stderr is not None
            assert "waiting for it to end" in second.stderr.readline()
            left = float(first.communicate(timeout=60)[0].split()[-1])
            entered = float(second.communicate(timeout=60)[0].split()[1])
    assert entered >= left


def test_killed_run_leaves_no_lock_behind(tmp_path: Path) -> None:
    """The lock dies with its process, however it dies."""
    with holding(tmp_path) as first:
        assert first.stdout is not None
        assert first.stdout.readline().startswith("in ")
        first.send_signal(signal.SIGKILL)
    assert (tmp_path / LOCK).exists()
    with holding(tmp_path) as second:
        out, complaint = second.communicate(timeout=60)
    assert [line.split()[0] for line in out.splitlines()] == ["in", "out"]
    assert complaint == ""


@pytest.mark.skipif(sys.platform == "win32", reason="the size of files is limited by setrlimit")
@pytest.mark.long
def test_full_disk_is_one_line_and_leaves_nothing_half_written(tmp_path: Path) -> None:
    """When a file cannot be written to its end the command says so, exits 2, and what was there stays as it was."""
    rng = np.random.default_rng(1)
    rows = "".join(f"{x},{int(x > 0)}\n" for x in rng.normal(size=400))
    (tmp_path / "scores.csv").write_text("score,member\n" + rows)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "result.json").write_text("the last result")
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "sys.argv = ['dpaudit', 'score', 'scores.csv', '--out', 'out']\n"
        "from dpaudit.cli import main; main()"
    )
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False, env=environment
    )
    assert done.returncode == 2
    assert "cannot write out/scores.npz: File too large" in done.stderr  # the first file of the folder
    assert len(done.stderr.strip().splitlines()) == 1
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"result.json", ".lock"}
    assert (tmp_path / "out" / "result.json").read_text() == "the last result"


def test_result_cannot_write_outside_its_folder(tmp_path: Path) -> None:
    """A model called ``../../escaped`` is drawn inside the folder like any other."""
    result = gaussian_audit(1.0, seed=1, records=200)
    model = {**json.loads(result.json())["models"][0], "name": "../../escaped"}
    attack = {**json.loads(result.json())["membership"]["attacks"][0], "model": "../../escaped"}
    hostile = edited(result, models=[model], membership={"design": "one-run", "attacks": [attack]})
    inside = tmp_path / "a" / "b" / "c"
    write_report(hostile, inside)
    assert any("roc" in path.name for path in inside.rglob("*.svg"))
    assert {path for path in tmp_path.rglob("*") if path.is_file()} == {p for p in inside.rglob("*") if p.is_file()}


class Payload:
    """Leaves a file where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("read", [read_npz, map_npz, lambda path: stored_signals(path.parent)])
def test_arrays_of_objects_run_no_code(tmp_path: Path, read: Callable[[Path], object]) -> None:
    """Whole, mapped, or one file an array: what is pickled stays pickled, and the file is refused."""
    payload = np.array([Payload(tmp_path / "ran")], object)
    np.savez(tmp_path / "cache.npz", phi=payload)
    np.save(tmp_path / "phi.npy", payload, allow_pickle=True)
    with pytest.raises(InputError, match="cannot read"):
        read(tmp_path / "cache.npz")
    assert not (tmp_path / "ran").exists()
    np.load(tmp_path / "phi.npy", allow_pickle=True)  # as a careless reader would
    assert (tmp_path / "ran").exists()


def test_names_cannot_break_out_of_xml_markdown_or_a_terminal() -> None:
    """A result's name with control characters, tags, a line of its own, a link and a table cell."""
    name = "a[bold]\x00\x1b[31m]]><failure>\n# b | [c](javascript:d) `e` <img src=x>"
    claims = claims_from({"claim": [{"id": "k", "kind": "ceiling", "metric": "auc", "max": 0.9}]}, where="here")
    gate = verify([edited(gaussian_audit(1.0, seed=1, records=300), name=name)], [claims])
    (case,) = ElementTree.fromstring(junit(gate)).iter("testcase")
    assert "\ufffd\ufffd[31m]]><failure>" in case.attrib["classname"]
    assert [child.tag for child in case] == ["system-out"]
    rows = [line for line in gate_as_markdown(gate).splitlines() if "31m" in line]
    assert len(rows) == 1
    assert len(re.findall(r"(?<!\\)\|", rows[0])) == 7  # six cells
    assert "<img" not in rows[0]
    assert re.search(r"(?<!\\)[\[`]", rows[0]) is None
    terminal = Console(file=io.StringIO(), width=400)
    terminal.print(tabulate_judgements(gate))
    shown = terminal.file.getvalue()  # type: ignore[attr-defined]  # of a StringIO
    assert "a[bold]" in shown
    assert re.search(r"[\x00\x1b]", shown) is None


def test_archive_that_unpacks_to_a_mountain_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The size is read before anything is unpacked."""
    np.savez_compressed(tmp_path / "bomb.npz", zeros=np.zeros(10**6))
    assert (tmp_path / "bomb.npz").stat().st_size < 10_000
    monkeypatch.setattr("dpaudit.runtime.files.LARGEST_ARRAYS", 10**6)
    with pytest.raises(InputError, match="it unpacks to"):
        read_npz(tmp_path / "bomb.npz")


def test_huge_text_is_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No more than the limit is ever read."""
    monkeypatch.setattr("dpaudit.runtime.files.LARGEST_TEXT", 2**20)
    (tmp_path / "result.json").write_bytes(b" " * (2**20 + 1))
    with pytest.raises(InputError, match="larger than 1 MiB"):
        read_text(tmp_path / "result.json")
