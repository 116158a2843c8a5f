"""What is logged to MLflow, checked on a stand-in that keeps what a store would, with MLflow's own limits."""

import re
import sys
from types import ModuleType
from typing import Any

import pytest

from dpaudit.reports.numbers import as_csv
from dpaudit.reports.to_mlflow import log_to_mlflow, metric_names, tags_of
from dpaudit.runtime.errors import InputError, MissingDependency
from tests.reports.results import hostile, three


class MlflowException(Exception):
    """What MLflow raises."""


class Store:
    """What one tracking store holds."""

    def __init__(self) -> None:
        self.experiments: dict[str, str] = {}
        self.metrics: dict[str, float] = {}
        self.tags: dict[str, str] = {}
        self.files: dict[str, str] = {}
        self.ended = False


class Record:
    """A metric, a tag, a run or an experiment: anything with fields."""

    def __init__(self, **fields: Any) -> None:
        self.__dict__.update(fields)


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Store:
    """The store behind a stand-in for MLflow, which takes what MLflow 3.17 takes of names and batches."""
    kept = Store()
    name = re.compile(r"[/\w.\- :]{1,250}", re.ASCII)

    class Client:
        """MLflow's client."""

        def __init__(self, tracking_uri: str) -> None:
            if tracking_uri == "nowhere:":
                raise MlflowException("unsupported URI 'nowhere:'\nSupported are: file")

        def get_experiment_by_name(self, experiment: str) -> Record | None:
            return Record(experiment_id="1") if experiment in kept.experiments else None

        def create_experiment(self, experiment: str) -> str:
            kept.experiments[experiment] = "1"
            return "1"

        def create_run(self, experiment_id: str, run_name: str) -> Record:
            assert experiment_id == "1"
            assert len(run_name) <= 250
            return Record(info=Record(run_id="run", start_time=1))

        def log_batch(self, run_id: str, metrics: Any = (), tags: Any = ()) -> None:
            assert run_id == "run"
            assert len(metrics) <= 1000
            assert len(tags) <= 100
            for each in [*metrics, *tags]:
                assert name.fullmatch(each.key)
                assert not each.key.startswith("/")
                assert ".." not in each.key
            assert all(len(tag.value) <= 8000 for tag in tags)
            kept.metrics.update({each.key: each.value for each in metrics})
            kept.tags.update({each.key: each.value for each in tags})

        def log_text(self, run_id: str, text: str, artifact_file: str) -> None:
            kept.files[artifact_file] = text

        def set_terminated(self, run_id: str) -> None:
            kept.ended = True

    modules = {
        "mlflow": ModuleType("mlflow"),
        "mlflow.entities": ModuleType("mlflow.entities"),
        "mlflow.exceptions": ModuleType("mlflow.exceptions"),
        "mlflow.tracking": ModuleType("mlflow.tracking"),
    }
    modules["mlflow.entities"].Metric = (  # type: ignore[attr-defined]
        lambda key, value, timestamp, step: Record(key=key, value=value, timestamp=timestamp, step=step)
    )
    modules["mlflow.entities"].RunTag = lambda key, value: Record(key=key, value=value)  # type: ignore[attr-defined]
    modules["mlflow.exceptions"].MlflowException = MlflowException  # type: ignore[attr-defined]
    modules["mlflow.tracking"].MlflowClient = Client  # type: ignore[attr-defined]
    for module, made in modules.items():
        monkeypatch.setitem(sys.modules, module, made)
    return kept


@pytest.mark.long
def test_numbers_verdicts_and_page_are_logged(store: Store) -> None:
    """Every finite number is a metric, every verdict a tag, and page, result and table are files of an ended run."""
    result = three()
    assert log_to_mlflow(result, "file:./mlruns") == "run"
    assert store.metrics == dict(metric_names(result))
    assert store.tags == dict(tags_of(result))
    assert store.tags["verdict dp-high-noise"] == "contradicted"
    assert store.files["numbers.csv"] == as_csv(result)
    assert store.files["result.json"] == result.json()
    assert store.files["report.html"].startswith("<!DOCTYPE html>")
    assert store.ended


def test_a_second_result_is_another_run_of_the_same_experiment(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Releases are runs side by side; names of any kind are taken."""
    monkeypatch.setattr("dpaudit.reports.to_mlflow.page", lambda result: "")
    log_to_mlflow(three(), "file:./mlruns")
    log_to_mlflow(hostile(), "file:./mlruns")
    assert list(store.experiments) == ["dpaudit"]


def test_a_store_that_cannot_be_written_is_said_in_one_line(store: Store) -> None:
    """What MLflow says of it is passed on."""
    with pytest.raises(InputError, match="cannot log to MLflow at nowhere:: unsupported URI 'nowhere:' Supported are"):
        log_to_mlflow(three(), "nowhere:")


def test_without_mlflow_the_command_that_installs_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is skipped silently."""
    monkeypatch.setitem(sys.modules, "mlflow.entities", None)
    with pytest.raises(MissingDependency, match=r"pip install 'dpaudit\[mlflow\]'"):
        log_to_mlflow(three(), "file:./mlruns")
