"""`dpaudit run` as people start it: quiet streams, an interruption, a report."""

import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from dpaudit.cli import app

pytestmark = pytest.mark.tf
COMMAND = [sys.executable, "-m", "dpaudit"]
SMALL = ["--set", "model.no-dp.epochs=2", "--set", "model.dp.epochs=1", "--set", "architecture.hidden=[8]"]
SMALL += ["--set", 'membership.attacks=["loss"]', "--set", "membership.references=0", "--set", "data.population=0.8"]


def environment() -> dict[str, str]:
    """A wide terminal, no colour, one thread for each pool of TensorFlow."""
    return {**os.environ, "COLUMNS": "200", "NO_COLOR": "1", "TF_NUM_INTRAOP_THREADS": "1"}


def test_init_then_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `init` writes runs; results on standard output, nothing of TensorFlow's noise anywhere."""
    monkeypatch.chdir(tmp_path)
    runner = CliRunner()
    assert runner.invoke(app, ["init"]).exit_code == 0
    done = subprocess.run(
        [*COMMAND, "run", "plan.toml", *SMALL],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env=environment(),
    )
    assert done.returncode == 0, done.stderr
    assert "dp " in done.stdout
    assert "report: runs/my-audit/report.html" in done.stdout
    for line in done.stderr.splitlines():
        assert line.startswith(("training:", "attacking:", "accounting:")), line
    again = runner.invoke(app, ["run", "plan.toml", *SMALL, "--json", "--quiet"])
    assert again.stderr == ""
    assert json.loads(again.stdout)["name"] == "my-audit"


@pytest.mark.slow
def test_the_plan_of_init_makes_its_point(tmp_path: Path) -> None:
    """The model without DP leaks measurably; the claim of the one with DP holds, and could have been contradicted."""
    subprocess.run([*COMMAND, "init"], cwd=tmp_path, check=True, capture_output=True)
    words = [*COMMAND, "run", "plan.toml", "--json", "--quiet"]
    found = json.loads(subprocess.run(words, cwd=tmp_path, check=True, capture_output=True, env=environment()).stdout)
    bounds = {(each["model"], each["attack"]): each["bound"]["epsilon"] for each in found["membership"]["attacks"]}
    assert max(epsilon for (model, _), epsilon in bounds.items() if model == "no-dp") > 1
    assert [verdict["verdict"] for verdict in found["comparisons"]] == ["consistent"]


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C is a signal of POSIX systems")
def test_ctrl_c_is_neither_a_verdict_nor_half_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit 130, one line, no temporary file, and no result that was not finished."""
    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(app, ["init"]).exit_code == 0
    words = [*COMMAND, "run", "plan.toml", "--set", "model.no-dp.epochs=100000", "--quiet"]
    # A shell starts what runs in its background with Ctrl-C ignored, and that is inherited.
    heeding = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    process = subprocess.Popen(
        words, cwd=tmp_path, stderr=subprocess.PIPE, text=True, env=environment(), preexec_fn=heeding
    )
    log = tmp_path / "runs" / "my-audit" / "log.jsonl"
    deadline = time.monotonic() + 120
    while not log.exists() or '"data"' not in log.read_text():
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.1)
    time.sleep(2)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "interrupted" in errors
    assert not list(tmp_path.rglob("*.part"))
    assert not (tmp_path / "runs" / "my-audit" / "result.json").exists()


NETWORKS = """
schema = 1
name = "networks"
seed = 1
[data]
source = "sequences.npz"
[architecture]
kind = "keras-json"
path = "norm.json"
[[model]]
name = "norm"
trainer = "sgd"
epochs = 1
batch_size = 40
[membership]
attacks = ["loss"]
references = 0
"""
PRIVATE = """
[[model]]
name = "{name}"
trainer = "dp-sgd"
epochs = 1
batch_size = 40
l2_norm_clip = 1.0
noise_multiplier = 1.0
architecture = {{ kind = "keras-json", path = "{name}.json" }}
"""


@pytest.mark.slow
def test_networks_of_sequences_go_from_plan_to_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """LSTM, GRU and separable convolutions with DP, batch normalisation without; with DP it is refused in one line."""
    from dpaudit.runtime.tensorflow import keras

    monkeypatch.chdir(tmp_path)
    rng, L = np.random.default_rng(0), keras.layers
    np.savez("sequences.npz", features=rng.normal(size=(160, 6, 3)), labels=rng.integers(3, size=160))
    layers = {
        "norm": [L.Conv1D(4, 3), L.BatchNormalization(), L.Flatten()],
        "lstm": [L.LSTM(4)],
        "gru": [L.GRU(4)],
        "separable": [L.SeparableConv1D(4, 3), L.GlobalMaxPooling1D()],
    }
    for name, own in layers.items():
        network = keras.Sequential([keras.Input((6, 3)), *own, L.Dense(3)])
        Path(f"{name}.json").write_text(network.to_json(), encoding="utf-8")
    private = [PRIVATE.format(name=name) for name in layers]
    Path("plan.toml").write_text(NETWORKS + "".join(private[1:]), encoding="utf-8")
    done = CliRunner().invoke(app, ["run", "plan.toml", "--json", "--quiet"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    attacked = {each["model"] for each in json.loads(done.stdout)["membership"]["attacks"]}
    assert attacked == set(layers)
    assert Path("runs/networks/report.html").stat().st_size > 10_000
    Path("plan.toml").write_text(NETWORKS + private[0].replace('"norm"', '"dp"', 1), encoding="utf-8")
    refused = subprocess.run(
        [*COMMAND, "run", "plan.toml", "--out", "dp", "--quiet"], capture_output=True, text=True, check=False
    )
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1
    assert "use GroupNormalization or LayerNormalization, freeze the layer" in refused.stderr
