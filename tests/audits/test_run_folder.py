"""A finished run is not done again while everything it rests on and wrote is as it was, and is otherwise."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dpaudit.audits import run_folder
from dpaudit.audits.plan import Plan, load_plan, plan_from
from dpaudit.audits.run import run
from dpaudit.audits.run_folder import basis_of, runs_other_code
from dpaudit.runtime.errors import InputError
from dpaudit.trace import DpClaim, Manifest, TraceWriter

PLAN = 'schema = 1\nname = "p"\nseed = 1\n[trace]\npath = "trace"\n'
DATA = {"source": "t.csv", "population": 0.5}
TABLE: dict[str, Any] = {
    "name": "t",
    "seed": 1,
    "data": DATA,
    "model": [{"name": "m", "trainer": "sgd", "epochs": 1}],
    "architecture": {"kind": "mlp", "hidden": [2]},
    "membership": {"attacks": ["loss"]},
}


class Computed(Exception):
    """Raised in place of an audit."""


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plan, the trace it names, and its finished run; the claim is contradicted."""
    folder = tmp_path_factory.mktemp("first")
    claim = DpClaim(epsilon=3.0, delta=1e-5, clip=1.0, noise_multiplier=1.0, sampler="all", clients=4, of=4, rounds=2)
    rng, model = np.random.default_rng(0), np.zeros(50)
    manifest = Manifest(weight_names=["w"], shapes=[(50,)], framework="test", dp_claim=claim)
    with TraceWriter(folder / "trace", manifest) as writer:
        for _ in range(2):
            after = model + rng.normal(0, 1 / 4, 50)
            writer.round(before=[model], after=[after], clip=1.0, replies=4)
            model = after
    (folder / "plan.toml").write_text(PLAN)
    run(folder / "plan.toml", folder=folder / "run")
    return folder


@pytest.fixture
def place(first: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder itself, put back afterwards; whatever would be computed raises `Computed`."""

    def computed(*_: object) -> None:
        raise Computed

    monkeypatch.setattr("dpaudit.audits.run._run_trace", computed)
    return first


@pytest.fixture(autouse=True)
def _as_it_was(first: Path, tmp_path: Path) -> Any:
    shutil.copytree(first, tmp_path / "kept")
    yield
    shutil.rmtree(first)
    shutil.copytree(tmp_path / "kept", first)


def again(place: Path, **options: Any) -> Any:
    """The run once more."""
    return run(place / "plan.toml", folder=place / "run", **options)


def test_the_same_run_is_the_stored_result(place: Path) -> None:
    """Nothing is computed or written but a line of the log; files of others beside the run may change."""
    (place / "run" / "mine.txt").write_text("kept")
    written = {path: path.read_bytes() for path in (place / "run").rglob("*") if path.is_file()}
    result = again(place)
    assert result.json().encode() == written[place / "run" / "result.json"]
    assert again(place, overwrite=True) == result
    log = place / "run" / "log.jsonl"
    assert all(path.read_bytes() == content for path, content in written.items() if path != log)
    events = [json.loads(line)["event"] for line in log.read_text().splitlines()]
    assert events == ["started", "finished", "unchanged", "unchanged"]


def edited(name: str) -> Callable[[Path], object]:
    """Changes one byte of a file, and not its size."""

    def edit(place: Path) -> None:
        content = bytearray((place / name).read_bytes())
        content[-2] ^= 1
        (place / name).write_bytes(content)

    return edit


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (edited("run/result.json"), "result.json"),
        (edited("run/report.html"), "report.html"),
        (lambda place: (place / "run" / "report.html").unlink(), "report.html"),
        (lambda place: next((place / "run" / "figures").iterdir()).unlink(), "figures"),
        (edited("trace/manifest.json"), "data"),
        (lambda place: (place / "trace" / "new.npz").write_bytes(b""), "data"),
        (lambda place: (place / "run" / "finished.json").write_text("{}"), "finished.json"),
        (lambda place: (place / "run" / "finished.json").write_text("?"), "finished.json"),
    ],
)
def test_what_changed_is_done_again(
    place: Path, damage: Callable[[Path], object], named: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A result or report edited by hand, a figure that is gone, other data, a broken record: said, and computed."""
    damage(place)
    with caplog.at_level("INFO"), pytest.raises(Computed):
        again(place)
    assert f"{named} changed" in caplog.text or f"/{named}/" in caplog.text


@pytest.mark.parametrize("part", ["versions_of", "_own_code"])
def test_another_version_is_another_run(place: Path, part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a package, or of the code of dpaudit where its version is the same."""
    monkeypatch.setattr(run_folder, part, lambda *_: "another")
    with pytest.raises(Computed):
        again(place)


def test_a_damaged_cache_and_a_missing_one_are_made_again(place: Path) -> None:
    """What the run kept for the next one is part of it: a file that is shorter or gone is not passed over."""
    kept = place / "run" / "attacks" / "a.npz"
    kept.parent.mkdir()
    kept.write_bytes(b"12")
    run_folder.record_finished(place / "run", basis_of(load_plan(place / "plan.toml")))
    again(place)
    kept.write_bytes(b"1")
    with pytest.raises(Computed):
        again(place)
    kept.unlink()
    with pytest.raises(Computed):
        again(place)


def test_another_plan_is_another_run(place: Path) -> None:
    """Refused as ever; the run of the other one is removed where that is asked for."""
    (place / "plan.toml").write_text(PLAN.replace("seed = 1", "seed = 2"))
    with pytest.raises(InputError, match="another plan"):
        again(place)
    with pytest.raises(Computed):
        again(place, overwrite=True)
    assert not (place / "run" / "finished.json").exists()


@pytest.mark.long
def test_the_command_says_so_and_ends_as_the_first_time(first: Path) -> None:
    """The same lines and exit code, without TensorFlow; what is new is one line of standard error, none when quiet."""
    code = (
        "import sys; from dpaudit.cli import main\n"
        "try: main()\n"
        "finally: assert not {'tensorflow', 'scipy.stats', 'pandas'} & set(sys.modules)"
    )

    def command(*options: str) -> Any:
        typed = [sys.executable, "-c", code, "run", "plan.toml", "--out", "run", *options]
        return subprocess.run(typed, cwd=first, capture_output=True, text=True, check=False)

    shown, quiet = command(), command("--quiet", "--json")
    assert (shown.returncode, quiet.returncode) == (1, 1)
    assert "contradicted" in shown.stdout
    assert "report: run/report.html" in shown.stdout
    assert "nothing changed since this run finished" in shown.stderr
    assert quiet.stderr == ""
    assert quiet.stdout == (first / "run" / "result.json").read_text()


def at(folder: Path, **changes: Any) -> Plan:
    """The plan of a table, all paths in a folder."""
    table = {**TABLE, **changes}
    return plan_from({**table, "data": {**table["data"], "source": str(folder / table["data"]["source"])}})


def test_a_result_rests_on_the_content_of_what_the_plan_names(tmp_path: Path) -> None:
    """A table whose date changes is the same data, one whose content changes is not; folders of texts count as well."""
    table, texts = tmp_path / "t.csv", tmp_path / "texts"
    texts.mkdir()
    decoder = {"kind": "decoder", "layers": 1, "heads": 1, "width": 8}
    text = at(tmp_path, data={"kind": "text", "source": "texts"}, architecture=decoder)
    for plan, file in ((at(tmp_path), table), (text, texts / "a.txt")):
        file.write_text("a,label\n1,0\n")
        before = basis_of(plan)
        file.touch()
        assert basis_of(plan) == before
        file.write_text("a,label\n2,0\n")
        changed = basis_of(plan)
        assert [key for key in before if before[key] != changed[key]] == ["data"]


def test_code_of_others_is_run_every_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A function that a plan names, and any plug-in, may have changed without a trace."""
    assert not runs_other_code(at(tmp_path))
    assert runs_other_code(at(tmp_path, model=[{"name": "m", "trainer": "function", "train": "mine:train"}]))
    added = EntryPoint("mine", "mine:Attack", "dpaudit.membership")
    monkeypatch.setattr(run_folder, "registered", lambda: (added,))
    assert runs_other_code(at(tmp_path))
