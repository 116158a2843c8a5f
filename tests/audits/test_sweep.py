"""A sweep runs each combination once, shares one error level, goes on where it stopped, and refuses what is not it."""

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from typer.testing import CliRunner

from dpaudit import read_sweep, sweep
from dpaudit.accounting.claim import GaussianSteps, Poisson
from dpaudit.accounting.mechanism import epsilon
from dpaudit.audits import run_folder
from dpaudit.audits import sweep as sweeping
from dpaudit.audits.plan import load_plan
from dpaudit.audits.run import membership_coins, prepare_audit
from dpaudit.audits.run import run as run_plan
from dpaudit.cli import app
from dpaudit.reports.sweep import draw_sweep
from dpaudit.results.result import load_result
from dpaudit.results.sweep import load_sweep, summarise_sweep
from dpaudit.runtime.errors import AuditFailed, InputError
from dpaudit.runtime.jobs import Workers
from dpaudit.runtime.progress import Silent
from dpaudit.runtime.seeds import derive_seed

TRAINER = """
import numpy as np

def train(dataset, included, *, seed):
    classes = range(dataset.outputs)
    means = np.stack([dataset.features[included & (dataset.classes == c)].mean(axis=0) for c in classes], axis=1)
    return lambda asked: asked @ means + np.random.default_rng(seed).normal(scale=1e-3, size=dataset.outputs)
"""
PLAN = """
name = "small"
seed = 3
[data]
source = "records.csv"
[[model]]
name = "dp"
trainer = "function"
train = "trainer_of_sweep:train"
noise_multiplier = 1.0
steps = 50
rate = 0.1
[membership]
attacks = ["loss"]
"""
NOISE = "model.dp.noise_multiplier"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a plan, its records and its trainer, which needs no TensorFlow."""
    rng = np.random.default_rng(1)
    labels = rng.integers(2, size=200)
    table = pd.DataFrame(rng.normal(size=(200, 3)) + labels[:, None], columns=["a", "b", "c"]).assign(label=labels)
    table.to_csv(tmp_path / "records.csv", index=False)
    (tmp_path / "plan.toml").write_text(PLAN)
    (tmp_path / "trainer_of_sweep.py").write_text(TRAINER)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def run(place: Path, values: dict[str, list[Any]], **more: Any) -> pd.DataFrame:
    """The sweep of the small plan."""
    return sweep(place / "plan.toml", values, folder=place / "swept", trust=True, workers=Workers(1), **more)


@pytest.mark.long
def test_each_combination_runs_once_with_the_epsilon_of_its_noise(place: Path) -> None:
    """The claimed ε of every run is the accountant's for the noise that the sweep set."""
    table = run(place, {NOISE: [1.0, 2.0]}, seeds=2)
    assert table[[NOISE, "seed"]].to_numpy().tolist() == [[1.0, 3], [1.0, 4], [2.0, 3], [2.0, 4]]
    expected = [epsilon(GaussianSteps(noise, 50, Poisson(0.1)), delta=1e-5).epsilon for noise in (1.0, 1.0, 2.0, 2.0)]
    assert table["claimed_epsilon"].tolist() == pytest.approx(expected)
    assert read_sweep(place / "swept").equals(table)
    for name in ("runs", "summary"):
        assert all((place / "swept" / f"{name}.{form}").exists() for form in ("csv", "md", "tex"))
    assert pd.read_csv(place / "swept" / "runs.csv")["claimed_epsilon"].tolist() == pytest.approx(expected)
    assert (place / "swept" / "epsilon.svg").exists()


@pytest.mark.long
def test_all_runs_share_one_error_level(place: Path) -> None:
    """What the bounds of all runs may go wrong adds up to what the plan's confidence allows a single run."""
    table = run(place, {NOISE: [1.0, 2.0]}, seeds=2)
    bounds = [b for name in table["run"] for b in load_result(place / "swept" / name).bounds("dp")]
    assert len(bounds) == 4
    assert sum(1 - bound.confidence for bound in bounds) == pytest.approx(0.05)


@pytest.mark.long
def test_what_is_finished_is_not_run_again(
    place: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Of four runs the one without a result is run; the table is the same. What is not compared is said."""
    table = run(place, {NOISE: [1.0, 2.0]}, seeds=2)
    (place / "swept" / table["run"][2] / "result.json").unlink()
    started = []

    def counted(plan: Any, **more: Any) -> Any:
        started.append(more["folder"].name)
        return run_plan(plan, **more)

    monkeypatch.setattr(sweeping, "run", counted)
    with caplog.at_level("INFO"):
        assert run(place, {NOISE: [1.0, 2.0]}, seeds=2).equals(table)
    assert started == [table["run"][2]]
    assert "3 finished runs are kept; they rest on functions of the plan" in caplog.text
    assert "changed since" not in caplog.text


@pytest.mark.long
def test_what_changed_under_a_finished_sweep_is_named_and_run_again(
    place: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Another package, file of dpaudit, result edited by hand, or record: the runs that rest on it are done again.

    One that fails this time leaves no result that speaks of what was there before. Then nothing is done a third time.
    """
    values = {NOISE: [1.0, 2.0]}
    before = run(place, values)
    both, swept, data = list(before["run"]), place / "swept", place / "records.csv"
    shutil.copytree(swept, place / "kept")
    started = []

    def failing(plan: Any, **more: Any) -> Any:
        started.append(more["folder"].name)
        raise AuditFailed("loss became nan.")

    def changed(part: str) -> list[str]:
        started.clear()
        caplog.clear()
        with monkeypatch.context() as patch, caplog.at_level("INFO"):
            patch.setattr(sweeping, "run", failing)
            if part in ("versions_of", "_own_code"):
                patch.setattr(run_folder, part, lambda *_: "another")
            with pytest.raises(AuditFailed, match="became nan"):
                run(place, values)
        assert not any((swept / name / "result.json").exists() for name in started)
        found = re.findall(r"(\w+|\S*/result\.json) changed since the run in", caplog.text)
        shutil.copytree(place / "kept", swept, dirs_exist_ok=True)
        assert len(found) == len(started)
        assert started == (both[:1] if part == "result" else both)
        return found

    assert changed("versions_of") == ["packages", "packages"]
    assert changed("_own_code") == ["dpaudit", "dpaudit"]
    (swept / both[0] / "result.json").write_text("{}")
    assert changed("result")[0].endswith("result.json")
    data.write_text(data.read_text() + "0,0,0,1\n" * 40)
    assert changed("data") == ["data", "data"]
    after = run(place, values)
    assert not after.equals(before)
    monkeypatch.setattr(sweeping, "run", failing)
    assert run(place, values).equals(after)


@pytest.mark.long
def test_another_sweep_is_refused(place: Path) -> None:
    """A changed plan, and runs added afterwards, whose number is fixed beforehand."""
    run(place, {NOISE: [1.0]})
    with pytest.raises(InputError, match="planned with 1 other runs"):
        run(place, {NOISE: [1.0]}, seeds=2)
    (place / "plan.toml").write_text(PLAN.replace("steps = 50", "steps = 60"))
    with pytest.raises(InputError, match="the plan has changed"):
        run(place, {NOISE: [1.0]})


@pytest.mark.parametrize(
    ("values", "seeds", "said"),
    [
        ({NOISE: [1.0, "much"]}, 1, "noise_multiplier"),
        ({NOISE: [1.0, -1.0]}, 1, "noise"),
        ({"model.pd.noise_multiplier": [1.0]}, 1, "nothing is called 'pd'"),
        ({"audit.detla": [1.0]}, 1, "Did you mean 'delta'"),
        ({NOISE: [1.0, 1.0]}, 1, "two runs would be the same"),
        ({NOISE: []}, 1, "no value"),
        ({"seed": [1, 2]}, 1, "--seeds"),
        ({}, 0, "seeds"),
        ({"data.source": ["records.csv", "missing.csv"]}, 1, "missing.csv: no such file"),
        ({"data.source": ["digits", "digit"]}, 1, "Did you mean 'digits'"),
    ],
)
def test_bad_values_are_one_line_before_anything_runs(
    place: Path, values: dict[str, list[Any]], seeds: int, said: str
) -> None:
    """The last of the values as well as the first; no folder is made."""
    with pytest.raises(InputError, match=said) as caught:
        run(place, values, seeds=seeds)
    assert "\n" not in str(caught.value)
    assert not (place / "swept").exists()


@pytest.mark.long
def test_a_failed_run_does_not_stop_the_others(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is named with its reason, the others are in the table, and the next call runs only it."""

    def failing(plan: Any, **more: Any) -> Any:
        if plan.model[0].model_extra["noise_multiplier"] == 2.0:
            raise AuditFailed("loss became nan.")
        return run_plan(plan, **more)

    monkeypatch.setattr(sweeping, "run", failing)
    with pytest.raises(AuditFailed, match=r"1 of 3 runs failed.*noise_multiplier-2.0_seed-3: loss became nan"):
        run(place, {NOISE: [1.0, 2.0, 3.0]})
    assert read_sweep(place / "swept")[NOISE].tolist() == [1.0, 3.0]
    monkeypatch.setattr(sweeping, "run", run_plan)
    assert run(place, {NOISE: [1.0, 2.0, 3.0]})[NOISE].tolist() == [1.0, 2.0, 3.0]


def test_intervals_over_seeds_are_students() -> None:
    """SciPy's own interval of a mean; with one seed there is none, and no edge is below 0."""
    values = [0.5, 0.7, 0.9]
    rows = {
        "k": 1,
        "model": "m",
        "claimed_epsilon": 2.0,
        "verdict": "consistent",
        "metric": "accuracy",
        "epsilon": [0.0, 0.0, 1.0],
        "epsilon_within": None,
        "auc": values,
        "train": 0.9,
        "test": 0.8,
    }
    found = summarise_sweep(pd.DataFrame(rows), ["k"]).iloc[0]
    low, high = stats.t.interval(0.95, 2, np.mean(values), stats.sem(values))
    assert (found["auc_low"], found["auc_high"]) == pytest.approx((low, high))
    assert found["epsilon_low"] == 0
    assert found["seeds"] == 3
    single = summarise_sweep(pd.DataFrame(rows).head(1), ["k"])
    assert single.iloc[0]["auc_low"] is None
    assert set(draw_sweep(single, ["k"])) == {"epsilon", "utility"}


def test_values_of_any_kind_reach_the_plan(place: Path) -> None:
    """Tables and lists are written as TOML, and their folder has a name that any file system takes."""
    attacks = [["loss"], [{"name": "loss"}, {"name": "entropy"}]]
    planned = sweeping.plan_sweep(place / "plan.toml", {"membership.attacks": attacks}, seeds=1)
    counts = [len(plan.membership.attacks) for plan in planned.plans.values() if plan.membership is not None]
    assert counts == [1, 2]
    assert all(set(name) <= set("abcdefghijklmnopqrstuvwxyz-_.0123456789") for name in planned.plans)


@pytest.mark.long
def test_the_command_prints_the_table_and_says_where_it_is(place: Path) -> None:
    """Exit 0 where nothing is contradicted; what cannot be parsed is one line."""
    words = ["sweep", "plan.toml", "--set", f"{NOISE}=1,2", "--trust", "--jobs", "1", "--out", "s"]
    done = CliRunner().invoke(app, words, catch_exceptions=False)
    assert done.exit_code == 0
    assert "hold together with 95% confidence" in " ".join(done.output.split())
    assert load_sweep(place / "s").keys == [NOISE]
    for bad, said in ((["--set", "x"], "KEY=VALUE"), (["--set", "a=1", "--set", "a=2"], "names a key twice")):
        with pytest.raises(InputError, match=said):
            CliRunner().invoke(app, ["sweep", "plan.toml", *bad], catch_exceptions=False)


def test_seeds_apart_move_only_their_part(place: Path) -> None:
    """Without ``[seeds]`` members and trainings follow from ``seed`` as ever; with it each follows its own."""

    def audit(*overrides: str) -> Any:
        plan = load_plan(place / "plan.toml", overrides)
        return prepare_audit(plan, place / "run", Silent(), memory=None, workers=Workers(1))

    plain = audit()
    expected = membership_coins(plain.dataset, "record", seed=derive_seed(3, "coins"))
    assert (plain.member == expected).all()
    assert plain.training_seed("dp") == derive_seed(3, "train", "dp")
    assert plain.seed_for("pairs") == derive_seed(3, "pairs")
    training = audit("seeds.training=9")
    assert (training.member == plain.member).all()
    assert training.training_seed("dp") == derive_seed(9, "train", "dp")
    assert training.seed_for("pairs") == plain.seed_for("pairs")
    attack = audit("seeds.attack=9")
    assert (attack.member == plain.member).all()
    assert attack.training_seed("dp") == plain.training_seed("dp")
    assert attack.seed_for("pairs") == derive_seed(9, "pairs")
    split = audit("seeds.split=9")
    assert split.member.shape != plain.member.shape or (split.member != plain.member).any()
    assert split.training_seed("dp") == plain.training_seed("dp")
