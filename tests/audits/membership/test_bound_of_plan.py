"""``audit.bound``: the scores of a plan are judged by the bound it names, and by no other."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest

from dpaudit.audits.by_name import BoundSettings
from dpaudit.audits.plan import load_plan
from dpaudit.audits.run import run
from dpaudit.bounds.choosing import HeldOut
from dpaudit.bounds.default import HELD_OUT, check_bound
from dpaudit.bounds.lower_bound import LowerBound
from dpaudit.bounds.one_run_trade_off import OneRunTradeOff
from dpaudit.data.member_choice import Coins
from dpaudit.runtime import plugins as registry
from dpaudit.runtime.errors import InputError
from dpaudit.runtime.jobs import Workers
from dpaudit.runtime.seeds import derive_seed
from dpaudit.scores.scores import Scores

PLAN = """
name = "small"
seed = 3
[data]
source = "records.csv"
[[model]]
name = "m"
trainer = "function"
train = "tests.audits.membership.test_bound_of_plan:train"
[membership]
attacks = ["loss"]
"""


def train(dataset: Any, included: Any, *, seed: int) -> Any:
    """Remembers its records: their logit of the right class is larger."""
    known = {row.tobytes() for row in dataset.features[included]}
    truth = {row.tobytes(): int(label) for row, label in zip(dataset.features, dataset.classes, strict=True)}

    def predict(features: Any) -> Any:
        rows = [np.asarray(row, np.float32).tobytes() for row in features]
        sure = np.array([3.0 if row in known else 1.0 for row in rows])
        return sure[:, None] * np.eye(2)[[truth.get(row, 0) for row in rows]]

    return predict


@dataclass(frozen=True)
class Stated:
    """A bound of somebody's own, which says what it was made with."""

    designs: ClassVar = ("one-run",)
    value: float = 0.25
    seed: int = 0

    def __call__(self, scores: Scores, *, delta: float, confidence: float, adjacency: Any, unit: Any) -> LowerBound:
        """Its value, whatever the scores."""
        return LowerBound(self.value, delta, confidence, "stated", adjacency, unit, ("none",), 9.0, scores.member.size)


@dataclass(frozen=True)
class Silent:
    """A bound that does not say for which designs it holds."""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a plan and its records; two bounds are registered."""
    rng = np.random.default_rng(1)
    table = pd.DataFrame(rng.normal(size=(400, 3)), columns=["a", "b", "c"]).assign(label=rng.integers(2, size=400))
    table.to_csv(tmp_path / "records.csv", index=False)
    (tmp_path / "plan.toml").write_text(PLAN)
    for name in ("Stated", "Silent"):
        monkeypatch.setitem(registry.KINDS["bounds"], name.lower(), f"{__name__}:{name}")  # type: ignore[arg-type]
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.long
def test_a_registered_bound_judges_the_scores(place: Path) -> None:
    """With its parameters; the seed of the audit is given to it where it has a field for one."""
    plan = load_plan(place / "plan.toml", ['audit.bound={ name = "stated", value = 0.5 }'])
    result = run(plan, folder=place / "run", trust=True, workers=Workers(1))
    assert [(bound.method, bound.epsilon) for bound in result.bounds("m")] == [("stated", 0.5)]
    assert plan.audit.bound is not None
    assert plan.audit.bound.build("one-run", Coins(), seed=7) == Stated(0.5, seed=7)
    assert load_plan(place / "run" / "plan.toml").fingerprint == plan.fingerprint


@pytest.mark.long
def test_a_bound_of_the_registry_gives_what_it_gives_by_itself(place: Path) -> None:
    """Called directly on the scores of the records it finds the same ε; the default finds its own."""
    plan = load_plan(place / "plan.toml", ["audit.bound=one-run-trade-off"])
    result = run(plan, folder=place / "run", trust=True, workers=Workers(1))
    table = result.frame("scores")
    seed = derive_seed(3, "bound", "m", "loss")
    alone = OneRunTradeOff(HeldOut(seed, HELD_OUT), chosen=Coins(), seed=seed)(
        Scores.join(table["score"].to_numpy(), table["member"].to_numpy()),
        delta=1e-5,
        confidence=0.95,
        adjacency="add-remove",
        unit="record",
    )
    assert result.bounds("m") == [alone]
    assert alone.epsilon > 1
    default = run(load_plan(place / "plan.toml"), folder=place / "default", trust=True, workers=Workers(1))
    assert [bound.method for bound in default.bounds("m")] == ["one-run"]


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("audit.bound=clopper-pearson", "holds for many-runs only"),
        ("audit.bound=silent", "does not say for which designs"),
        ("audit.bound=statde", "Did you mean 'stated'"),
        ('audit.bound={ name = "stated", valu = 1.0 }', "Did you mean 'value'"),
    ],
)
def test_a_bound_that_does_not_fit_is_an_error_of_the_plan(place: Path, override: str, said: str) -> None:
    """One that holds for independent trainings would be wrong on the records of one; it is refused before training."""
    with pytest.raises(InputError, match=said):
        load_plan(place / "plan.toml", [override])


def test_a_bound_without_scores_to_judge_is_refused(place: Path) -> None:
    """It would have no effect."""
    (place / "plan.toml").write_text(PLAN.replace('[membership]\nattacks = ["loss"]', "[ladder]\nrungs = [0]"))
    with pytest.raises(InputError, match=r"audit\.bound judges the scores"):
        load_plan(place / "plan.toml", ["audit.bound=stated"])


def test_a_bound_on_something_else_is_refused() -> None:
    """Another δ, another unit, less confidence, and a bare number."""
    bound = Stated()(Scores(np.ones(1), np.zeros(1)), delta=1e-5, confidence=0.9, adjacency="add-remove", unit="record")
    check_bound(bound, delta=1e-5, unit="record", confidence=0.9)
    asked: dict[str, Any] = {"delta": 1e-5, "unit": "record", "confidence": 0.9}
    for change in ({"delta": 1e-6}, {"unit": "user"}, {"confidence": 0.95}):
        with pytest.raises(InputError, match="was asked for"):
            check_bound(bound, **{**asked, **change})
    with pytest.raises(InputError, match="must return a LowerBound, got float"):
        check_bound(0.5, **asked)  # type: ignore[arg-type]
    assert BoundSettings(name="stated").model_extra == {}
