"""Every heavy step of a plan is a task: the same numbers in one process and in two, and none done twice."""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import BaseModel

from dpaudit.audits.plan import Plan, plan_from
from dpaudit.audits.run import run
from dpaudit.data.source import Records, Source, rebuild_records
from dpaudit.results.result import Result
from dpaudit.runtime.check import FloatArray
from dpaudit.runtime.errors import InputError
from dpaudit.runtime.jobs import Workers
from dpaudit.training.reference_models.task_cache import (
    decode_result,
    encode_result,
    in_order,
    missing,
    name_of,
    run_cached,
    store_of,
)

FUNCTION = {"name": "plain", "trainer": "sgd", "epochs": 1}
DP = {"name": "dp", "trainer": "dp-sgd", "noise_multiplier": 2.0, "epochs": 1, "batch_size": 100, "compiled": False}


def plan(**changes: Any) -> Plan:
    """Models, references, attacks, rungs 3 and 4 and gradient victims, each as small as it gets."""
    table: dict[str, Any] = {
        "schema": 1,
        "name": "steps",
        "seed": 5,
        "data": {"source": "digits", "population": 0.5},
        "architecture": {"kind": "mlp", "hidden": [4]},
        "model": [FUNCTION, DP],
        "membership": {"attacks": ["loss", "lira"], "references": 4},
        "ladder": {"rungs": [3, 4], "canaries": 10, "runs": 40},
        "gradient": {
            "architecture": {"kind": "mlp", "hidden": [8]},
            "attacks": ["dense"],
            "victims": 2,
            "utility_steps": 2,
            "scenario": [{"name": "one image", "batch": 1}],
            "defence": [{"name": "none"}, {"name": "noise", "clip": 1.0, "noise_multiplier": 1.0}],
        },
    }
    return plan_from({**table, **changes})


def numbers(result: Result) -> dict[str, Any]:
    """A result without what the clock says."""
    content: dict[str, Any] = json.loads(result.json())
    del content["timing"], content["provenance"]["created"]
    for rung in content["ladder"]["rungs"]:
        del rung["seconds"]
    return content


@pytest.fixture(autouse=True, scope="module")
def _without_a_report() -> Iterator[None]:
    """Drawing takes longer than these models."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dpaudit.reports.html.write_report", lambda result, folder: None)
        yield


def run_and_asked(folder: Path) -> tuple[dict[str, Any], list[str]]:
    """The numbers of the plan in this process, and the tasks that it asked for."""
    asked: list[str] = []
    called = Workers.__call__

    def counted(self: Workers, work: Any, recipes: dict[Any, Any], **options: Any) -> Any:
        asked.extend(map(str, recipes))
        return called(self, work, recipes, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Workers, "__call__", counted)
        return numbers(run(plan(), folder=folder, workers=Workers(1))), asked


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], list[str], Path]:
    """The plan in this process, in a folder without any stored result."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    return *run_and_asked(folder), folder


@pytest.mark.tf
def test_nothing_is_done_twice(whole: tuple[dict[str, Any], list[str], Path]) -> None:
    """A run without any stored result asks for every step; a second run of the folder for no task."""
    found, asked, folder = whole
    assert sorted(asked) == sorted(
        [
            *("train plain", "train dp", "train plain with canaries", "train dp with canaries"),
            *("train models 0 to 3", "train models 0 to 3"),
            *(f"attack {model} by {name} of 2)" for model in ("plain", "dp") for name in ("loss (1", "lira (2")),
            *(f"train runs {runs} of {model}" for model in ("plain", "dp") for runs in ("0 to 31", "32 to 39")),
            *(
                "invert one image, none, dense",
                "invert one image, noise, dense",
                "cost of none",
                "cost of noise",
                "server",
            ),
        ]
    )
    (folder / "finished.json").unlink()  # or the result itself would be taken
    assert run_and_asked(folder) == (found, [])


@pytest.mark.tf
@pytest.mark.slow
def test_two_processes_give_the_numbers_of_one(whole: tuple[dict[str, Any], list[str], Path], tmp_path: Path) -> None:
    """Models this small are not split among threads, so they agree to the last bit."""
    assert numbers(run(plan(), folder=tmp_path / "two", workers=Workers(2))) == whole[0]


@dataclass(frozen=True)
class Twice:
    """What `Double` gives."""

    twice: FloatArray


@dataclass(frozen=True, eq=False)
class Double:
    """A task: a number times some values, twice."""

    number: int
    values: FloatArray

    def __call__(self) -> Twice:
        return Twice(2 * self.values * self.number)


class Failing(Double):
    """Another task with the same fields."""

    def __call__(self) -> Twice:
        raise AssertionError("done again")


@pytest.mark.parametrize("workers", [Workers(1), Workers(2)])
@pytest.mark.long
def test_results_are_kept_under_their_task(tmp_path: Path, workers: Workers) -> None:
    """Another number, another array or another work is another task; what is stored comes first."""
    store, values = store_of(tmp_path), np.arange(3.0)
    done: list[int] = []
    tasks = {i: Double(i, values) for i in range(3)}
    first = dict(run_cached(tasks, Twice, store=store, workers=workers, done=done.append))
    assert sorted(done) == [0, 1, 2]
    tasks = {0: Double(2, values), 1: Double(3, values), 2: Double(2, values + 1)}
    again = list(run_cached(tasks, Twice, store=store, workers=workers, done=done.append))
    assert again[0][0] == 0
    np.testing.assert_array_equal(again[0][1].twice, first[2].twice)
    assert sorted(done) == [0, 1, 1, 2, 2]
    with pytest.raises(Exception, match="done again"):
        list(run_cached({0: Failing(2, values)}, Twice, store=store, workers=Workers(1)))


class Noted(BaseModel):
    """A part of a result with a number that JSON has no word for."""

    epsilon: float


@dataclass(frozen=True)
class Everything:
    """One field of each kind that a task may give."""

    scores: FloatArray
    weights: dict[str, FloatArray]
    note: Noted
    second: Noted | None = None
    shown: FloatArray | None = None


@pytest.mark.parametrize("full", [True, False])
def test_what_a_task_gives_survives_its_file(tmp_path: Path, full: bool) -> None:
    """Arrays, arrays by name, models with an infinite number, and what is not there; in memory and mapped."""
    given = Everything(
        np.arange(3.0), {"a/kernel:0": np.eye(2), "b": np.zeros(0)}, Noted(epsilon=math.inf),
        Noted(epsilon=1.5) if full else None, np.ones((1, 2)) if full else None,
    )  # fmt: skip
    store = store_of(tmp_path)
    store.put("key", encode_result(given))
    for mapped in (False, True):
        stored = store.get("key", mapped=mapped)
        assert stored is not None
        found = decode_result(Everything, stored)
        np.testing.assert_array_equal(found.scores, given.scores)
        assert found.weights.keys() == given.weights.keys()
        np.testing.assert_array_equal(found.weights["a/kernel:0"], np.eye(2))
        assert (found.note, found.second) == (given.note, given.second)
        assert (found.shown is None) == (given.shown is None)


def test_names_of_files_are_for_people_and_found_without_them(tmp_path: Path) -> None:
    """A label from the key, made safe; a file of an earlier run that has none, or another one, is the same file."""
    store, ones = store_of(tmp_path), np.ones(2)
    labels = {"../a model": "a-model-", "": "", "x" * 300: "x" * 64 + "-"}
    tasks = {key: Double(number, ones) for number, key in enumerate(labels)}
    hashes = {key: name_of(task) for key, task in tasks.items()}
    done: list[str] = []

    def results() -> dict[str, Any]:
        return dict(run_cached(tasks, Twice, store=store, workers=Workers(1), label=str, done=done.append))

    first = results()
    assert {path.name for path in tmp_path.iterdir()} == {f"{labels[key]}{hashes[key]}.npz" for key in labels}
    assert sorted(done) == sorted(labels)
    for earlier in ("", "another-name-"):
        path = store.path(hashes["../a model"])
        path.rename(tmp_path / f"{earlier}{hashes['../a model']}.npz")
        assert missing(tasks, store=store) == []
        assert results().keys() == first.keys()
        assert len(done) == len(list(tmp_path.iterdir())) == 3


def test_file_of_an_earlier_run_that_is_damaged_is_made_again_in_its_place(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever its name is, its content is checked; there are never two files of one task."""
    store, tasks = store_of(tmp_path), {"a": Double(1, np.ones(2))}
    ((_, first),) = run_cached(tasks, Twice, store=store, workers=Workers(1))
    (path,) = tmp_path.iterdir()
    with np.load(path) as stored:
        np.savez(path, **{**stored, "twice": stored["twice"] + 1})
    ((_, again),) = run_cached(tasks, Twice, store=store, workers=Workers(1), label=str)
    assert "is damaged; it is made again" in caplog.text
    np.testing.assert_array_equal(again.twice, first.twice)
    assert list(tmp_path.iterdir()) == [path]


def test_results_in_order_come_as_early_as_they_can() -> None:
    """The first result waits for nobody, the third for the second."""
    seen: list[str] = []

    def late() -> Any:
        for key in ("a", "c", "b", "d"):
            seen.append(key)
            yield key, {"key": np.array(key)}

    order = []
    for arrays in in_order(late(), dict.fromkeys("abcd")):
        order.append((str(arrays["key"]), len(seen)))
    assert order == [("a", 1), ("b", 3), ("c", 3), ("d", 4)]


def test_records_are_built_again_with_what_was_added() -> None:
    """From the source, with the canaries behind: the same records and fingerprint; of another seed they are refused."""
    source = Source("digits", "multiclass", "label", None, None, 0.2, 3)
    dataset, population = source()
    added = population.take(np.arange(5))
    sent = Records.of(dataset, population, added=added, source=source)
    there, others = sent()
    here, _ = Records.of(dataset, population, added=added)()
    assert there.fingerprint == here.fingerprint
    assert others is not None
    assert others.fingerprint == population.fingerprint
    assert sent.fingerprint == Records.of(dataset, population, added=added).fingerprint
    assert sent.fingerprint != Records.of(dataset, population).fingerprint
    assert Records.of(dataset, None, source=source)()[1] is None
    with pytest.raises(InputError, match="digits holds other records"):
        rebuild_records(source, "another")
