"""The page that puts dpaudit beside its peers: what is better, what is worse, what is missing, and what fell."""

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import census, quick
from dpaudit.audits.plan import load_plan

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    spec = spec_from_file_location("benchmarks_all", BENCHMARKS / "all.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "benchmarks_all", module)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "RESULTS", tmp_path / "results")
    return module


def record(driver: Any, **ratios: tuple[float, float, float]) -> Any:
    measured = driver.Measured(
        ratios={name: driver.Ratio(median=m, low=low, high=high) for name, (m, low, high) in ratios.items()},
        figures={"accuracy": {"ours": 0.9134, "peer": 0.9}, "names|pipes": "a|b"},
        targets={"fast": 50, "slow": 3},
    )
    machine = {"CPU": "a CPU", "cores": "2", "memory": "8 GiB", "system": "Linux"}
    return driver.Record(
        benchmark="attacks", command="python benchmarks/attacks.py", date="2026-01-02", seconds=12.0, machine=machine,
        versions={"numpy": "1.26.4"}, measured=measured,
    )  # fmt: skip


def test_the_page_says_where_a_peer_is_better_and_what_is_missing(driver: Any, tmp_path: Path) -> None:
    """A ratio below 1 is listed first; a benchmark without a record is named as not measured."""
    driver.store(record(driver, fast=(83.4, 80, 90), slow=(0.5, 0.4, 0.6)), "attacks")
    driver.write_page(tmp_path / "peers.md")
    page = (tmp_path / "peers.md").read_text()
    better = page.index("## Where a peer is better")
    assert page.index("Membership attacks, slow: 0.5 times the peer") > better
    assert "Membership attacks, slow: 0.5, wanted 3" in page
    assert "| fast | 83.4 [80, 90] | 50: reached |" in page
    assert "| slow | **0.5** (the peer is better) [0.4, 0.6] | 3: missed |" in page
    assert "| accuracy, ours | 0.913 |  |" in page
    assert "on 2 cores of\na CPU with 8 GiB" in page
    assert "**Not measured yet**: training, bounds, federated, gradient." in page


def test_the_committed_page_is_that_of_the_committed_results(tmp_path: Path) -> None:
    """Nobody edited the page by hand, and no result was left out of it."""
    spec = spec_from_file_location("benchmarks_page", BENCHMARKS / "all.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    module.write_page(tmp_path / "peers.md")
    assert (tmp_path / "peers.md").read_text() == module.PAGE.read_text()


def busy(times: int) -> Any:
    """Work of so many equal parts, some milliseconds each."""
    parts = np.random.default_rng(1).random((times, 100_000))
    return lambda: [np.sort(part) for part in parts]


@pytest.mark.long
def test_a_quarter_more_work_is_a_loss_and_noise_is_none() -> None:
    """Ratios of work of equal size are within a twentieth; five parts in the place of four are below what is allowed.

    Least processor times of 15 rounds in turn: what else the machine does is in both.
    """
    recorded = {"equal": 1.0}
    assert quick.fell({"equal": quick.ratio(busy(4), busy(4), rounds=15)}, recorded) == []
    (line,) = quick.fell({"equal": quick.ratio(busy(5), busy(4), rounds=15)}, recorded)
    assert "times its loop, 1 recorded" in line
    assert quick.ratio(busy(4), busy(4), rounds=5, slow=1.25) < quick.LOST


@pytest.mark.long
def test_nothing_recorded_is_no_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A quick run on a processor that has no record checked nothing; once recorded it passes, and slower it fails."""
    monkeypatch.setattr(quick, "RESULTS", tmp_path / "quick.json")
    monkeypatch.setattr(quick, "WORKS", {"equal": lambda: (busy(4), busy(4))})
    for arguments, code in (([], 1), (["--record"], 0), ([], 0), (["--slow", "1.4"], 1)):
        monkeypatch.setattr(sys, "argv", ["quick", *arguments])
        assert quick.main() == code


def test_a_benchmark_that_writes_something_else_is_refused(driver: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """No results, or results of another form: no record."""

    def run(command: list[str], cwd: Path) -> Any:
        Path(command[-1]).write_text('{"figures": {}}')
        return type("Done", (), {"returncode": 0})()

    monkeypatch.setattr(driver.subprocess, "run", run)
    with pytest.raises(SystemExit, match="wrote what this page cannot show"):
        driver.measure("attacks")


def test_the_census_is_the_same_every_time_and_has_what_tables_have(tmp_path: Path) -> None:
    """42 columns, rare words, gaps, equal people, a rare income; both plans read it, for a network and for trees."""
    table = census.people(3000)
    assert table.equals(census.people(3000))
    assert table.shape == (3000, 42)
    assert 0.15 < table.duplicated(keep=False).mean() < 0.4
    assert table["migration msa"].isna().mean() == pytest.approx(0.5, abs=0.05)  # six standard errors
    assert (table["previous state"].value_counts() < 10).sum() > 10
    assert 0.08 < (table["income"] == "50000+.").mean() < 0.15
    table.to_csv(tmp_path / "census.csv", index=False)
    for path in census.PLANS.values():
        plan = load_plan(path)
        assert plan.data is not None
        assert plan.membership is not None
        assert plan.membership.references == 16
    records, _ = load_plan(path, [f"data.source={tmp_path / 'census.csv'}"]).source()()
    assert len(census.words_of(records.columns)) == 42  # of 41 features, and the gaps of the only number with some
