"""A plan runs from data to report, goes on after an interruption, and leaves nothing half-written."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dpaudit.audits.plan import Plan, plan_from
from dpaudit.audits.run import run
from dpaudit.data.source import population_mask
from dpaudit.results.result import Result, load_result
from dpaudit.runtime.errors import AuditFailed, InputError

pytestmark = pytest.mark.tf


def small(**changes: Any) -> Plan:
    """A plan that trains for a second."""
    table: dict[str, Any] = {
        "schema": 1,
        "name": "small",
        "seed": 5,
        "data": {"source": "digits"},
        "architecture": {"kind": "mlp", "hidden": [16]},
        "model": [
            {"name": "plain", "trainer": "sgd", "epochs": 1},
            {
                "name": "private",
                "trainer": "tf-privacy",
                "l2_norm_clip": 1.0,
                "noise_multiplier": 1.0,
                "epochs": 1,
                "batch_size": 50,
            },
        ],
        "membership": {"attacks": ["loss", "attack-p"]},
    }
    return plan_from({**table, **changes})


def without_time(result: Result) -> dict[str, Any]:
    """A result without what differs between two runs on the clock."""
    content: dict[str, Any] = json.loads(result.json())
    del content["timing"], content["provenance"]["created"]
    return content


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Result, Path]:
    """One run of the small plan."""
    folder = tmp_path_factory.mktemp("runs") / "small"
    return run(small(), folder=folder), folder


def test_a_run_leaves_what_it_says(finished: tuple[Result, Path]) -> None:
    """The resolved plan, the result, the report, the figures, the models and the log."""
    result, folder = finished
    assert {"plan.toml", "result.json", "report.html", "figures", "models", "log.jsonl"} <= {
        p.name for p in folder.iterdir()
    }
    assert load_result(folder / "result.json") == result
    assert not list(folder.rglob("*.part"))
    names = sorted(path.name for path in (folder / "models").iterdir())
    assert [re.sub("-[0-9a-f]{32}", "-HASH", name) for name in names] == ["plain-HASH.npz", "private-HASH.npz"]
    events = [json.loads(line)["event"] for line in (folder / "log.jsonl").read_text().splitlines()]
    assert events[0] == "started"
    assert events[-1] == "finished"


def test_theory_is_that_of_what_was_trained(finished: tuple[Result, Path]) -> None:
    """Steps and rate follow from the number of members; the shuffled figure is called optimistic."""
    result, _ = finished
    plain, private = result.models
    assert plain.accounted is None
    assert result.comparison("plain") is None
    assert private.mechanism is not None
    assert private.mechanism.steps == result.data.members // 50
    assert private.accounted is not None
    assert private.accounted.optimistic
    from dpaudit.accounting.mechanism import epsilon

    assert private.accounted.claim.epsilon == epsilon(private.mechanism, delta=1e-5).epsilon


def test_error_level_is_shared_among_all_bounds(finished: tuple[Result, Path]) -> None:
    """Two attacks on two models are four bounds at a quarter of the level."""
    result, _ = finished
    assert result.level.bounds == 4
    assert result.membership is not None
    for attack in result.membership.attacks:
        assert attack.bound is not None
        assert attack.bound.confidence == pytest.approx(1 - 0.05 / 4)


def test_the_same_plan_gives_the_same_result_and_trains_nothing_twice(
    finished: tuple[Result, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second run takes the stored models; a run in another folder trains the same ones."""
    from dpaudit.training.sgd import Sgd

    result, folder = finished
    again = run(small(), folder=folder.parent / "again")
    assert without_time(again) == without_time(result)

    def no_training(*_: Any, **__: Any) -> None:
        raise AssertionError("trained although a model was stored")

    monkeypatch.setattr(Sgd, "__call__", no_training)
    (folder / "finished.json").unlink()  # or the result itself would be taken
    assert without_time(run(small(), folder=folder)) == without_time(result)


def test_a_damaged_model_is_trained_again_and_said_so(
    finished: tuple[Result, Path], caplog: pytest.LogCaptureFixture
) -> None:
    """Half a file is no model."""
    result, folder = finished
    stored = next((folder / "models").glob("*.npz"))
    stored.write_bytes(stored.read_bytes()[:1000])
    assert without_time(run(small(), folder=folder)) == without_time(result)
    assert "made again" in caplog.text


def test_a_folder_of_another_plan_is_kept(finished: tuple[Result, Path]) -> None:
    """Neither overwritten nor mixed; nor is a folder that holds something else."""
    _, folder = finished
    before = (folder / "result.json").read_text()
    with pytest.raises(InputError, match="another plan"):
        run(small(seed=6), folder=folder)
    assert (folder / "result.json").read_text() == before
    (folder.parent / "other").mkdir()
    (folder.parent / "other" / "thesis.txt").write_text("precious")
    with pytest.raises(InputError, match="holds no run"):
        run(small(), folder=folder.parent / "other")


def test_an_interrupted_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, finished: tuple[Result, Path]
) -> None:
    """Ctrl-C in the second training leaves the first model and no half-written file."""
    from dpaudit.training.tf_privacy import TFPrivacy

    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(TFPrivacy, "__call__", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(small(), folder=tmp_path / "small")
    assert len(list((tmp_path / "small" / "models").iterdir())) == 1
    assert not (tmp_path / "small" / "result.json").exists()
    assert not list(tmp_path.rglob("*.part"))
    assert without_time(run(small(), folder=tmp_path / "small")) == without_time(finished[0])


def test_a_training_that_misses_its_aim_is_a_failure_not_a_verdict(tmp_path: Path) -> None:
    """One epoch does not memorise; the log names it."""
    model = {"name": "plain", "trainer": "sgd", "epochs": 1, "until_accuracy": 1.0}
    with pytest.raises(AuditFailed, match="below until_accuracy"):
        run(small(model=[model]), folder=tmp_path / "small")
    assert "AuditFailed" in (tmp_path / "small" / "log.jsonl").read_text()


def test_more_records_in_a_batch_than_there_are(tmp_path: Path) -> None:
    """Said before anything is trained on too few records."""
    model = {"name": "plain", "trainer": "sgd", "batch_size": 5000}
    with pytest.raises(InputError, match="trainer needs at least 5000"):
        run(small(model=[model]), folder=tmp_path / "small")


class Trained(Exception):
    """Raised in place of a training."""


@pytest.fixture
def _no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    def trained(*_: Any, **__: Any) -> None:
        raise Trained

    monkeypatch.setattr("dpaudit.audits.audit.train_models", trained)


PLAIN: dict[str, Any] = {"name": "plain", "trainer": "sgd", "epochs": 1}


@pytest.mark.usefixtures("_no_training")
@pytest.mark.parametrize(
    ("norm", "second", "said"),
    [
        (
            "moving",
            {"trainer": "dp-sgd"},
            "'batch_norm' .* mixes the examples .* train without DP by the trainer 'sgd'",
        ),
        ("frozen", {"trainer": "dp-sgd"}, ""),
        ("moving", {"trainer": "sgd"}, ""),
        ("moving", {"trainer": "tf-privacy", "l2_norm_clip": 1.0, "noise_multiplier": 0.0}, ""),
        (
            "moving",
            {"trainer": "tf-privacy", "l2_norm_clip": 1.0, "noise_multiplier": 0.0, "optimizer": "dp-sequential"},
            "dp-sequential needs a Sequential architecture",
        ),
        ("frozen", {"trainer": "federated"}, "of no record whose it is"),
        ("moving", {"trainer": "federated", "clients": {"kind": "iid", "clients": 9}}, "mixes the examples"),
        (
            "frozen",
            {
                "trainer": "federated",
                "clients": {"kind": "iid", "clients": 9},
                "participation": {"kind": "fixed-size", "clients": 4, "of": 10},
            },
            "draws from a roster of 10 clients, but there are 9",
        ),
    ],
)
def test_a_model_that_cannot_be_trained_is_refused_before_the_first_one(
    tmp_path: Path, norm: str, second: dict[str, Any], said: str
) -> None:
    """The second of two models: named in one line with the mend, and nothing trained; its right twin is trained."""
    from dpaudit.runtime.tensorflow import keras

    inputs = keras.Input((8, 8, 1))
    flat = keras.layers.Dense(4)(keras.layers.Flatten()(inputs))
    normed = keras.layers.BatchNormalization(name="batch_norm", trainable=norm == "moving")(flat)
    path = tmp_path / "norm.json"
    path.write_text(keras.Model(inputs, keras.layers.Dense(10)(normed)).to_json())
    models = [PLAIN, {"name": "second", "learning_rate": 0.1, "epochs": 1, **second}]
    if second["trainer"] == "federated":
        models[1] = {"name": "second", **second}
    plan = small(model=models, architecture={"kind": "keras-json", "path": str(path)})
    expected = f"model 'second': .*{said}" if said else None
    with pytest.raises(InputError if said else Trained, match=expected) as caught:
        run(plan, folder=tmp_path / "run")
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("_no_training")
@pytest.mark.parametrize(
    ("table", "right", "said"),
    [
        ({"ladder": {"rungs": [0, 3]}}, {"ladder": {"rungs": [0, 1]}}, "the canaries of the ladder need classes"),
        (
            {"prior": {"noise_multipliers": [1.0], "records": 5000}},
            {"prior": {"noise_multipliers": [1.0], "records": 50, "candidates": [10]}},
            "4999 known records and 100 candidates need 5099",
        ),
        (
            {"unlearning": {"method": "retrain", "forget": "gone.txt"}},
            {"unlearning": {"method": "retrain", "forget": 4}},
            r"gone\.txt",
        ),
    ],
)
def test_tables_that_the_records_do_not_do_for_are_refused_before_a_training(
    tmp_path: Path, table: dict[str, Any], right: dict[str, Any], said: str
) -> None:
    """No classes, too few records, no file of records to forget; the right table comes as far as the training."""
    data = {"source": "line", "task": "regression"}
    with pytest.raises(InputError, match=said):
        run(small(data=data, model=[PLAIN], **table), folder=tmp_path / "wrong")
    with pytest.raises(Trained):
        run(small(data=data, model=[PLAIN], **right), folder=tmp_path / "right")


def test_population_is_the_share_asked_for() -> None:
    """Random, seeded, never empty, never everything."""
    mask = population_mask(1000, 0.25, seed=1)
    assert mask.sum() == 250
    assert not np.array_equal(mask, population_mask(1000, 0.25, seed=2))
    with pytest.raises(InputError, match="both sides need records"):
        population_mask(2, 0.1, seed=1)


def test_a_run_that_died_reading_its_data_does_not_block_its_folder(tmp_path: Path) -> None:
    """A file with gaps fails before anything is trained: the mended plan takes the folder over."""
    rng = np.random.default_rng(0)
    source = tmp_path / "t.csv"
    frame = pd.DataFrame({"a": rng.normal(size=80), "word": "x", "label": rng.integers(0, 2, 80)})
    frame.to_csv(source, index=False)
    table: dict[str, Any] = {
        "name": "t",
        "seed": 1,
        "data": {"source": str(source)},
        "model": [{"name": "m", "trainer": "sgd", "epochs": 1}],
        "architecture": {"kind": "mlp", "hidden": [2]},
        "membership": {"attacks": ["loss"]},
    }
    with pytest.raises(InputError, match="'word' holds words"):
        run(plan_from(table), folder=tmp_path / "run")
    table["data"] = {"source": str(source), "drop": ["word"]}
    assert run(plan_from(table), folder=tmp_path / "run").data.records == 64
    table["seed"] = 2
    (tmp_path / "run" / "mine.txt").write_text("kept")
    with pytest.raises(InputError, match=r"another plan.*--overwrite"):
        run(plan_from(table), folder=tmp_path / "run")
    assert run(plan_from(table), folder=tmp_path / "run", overwrite=True).provenance.seed == 2
    assert len(list((tmp_path / "run" / "models").iterdir())) == 1
    assert (tmp_path / "run" / "mine.txt").read_text() == "kept"
