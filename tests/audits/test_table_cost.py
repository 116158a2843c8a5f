"""Each table says its own cost: what is counted is held by hand, what is timed by the prediction of small plans."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from dpaudit.audits.cost import predict_cost
from dpaudit.audits.extraction import cost as extraction
from dpaudit.audits.extraction.run import ExtractionSettings
from dpaudit.audits.gradient import cost as gradient
from dpaudit.audits.gradient.settings import GradientSettings
from dpaudit.audits.ladder import cost as ladder
from dpaudit.audits.ladder.settings import LadderSettings
from dpaudit.audits.plan import plan_from
from dpaudit.audits.prior import cost as prior
from dpaudit.audits.prior.run import PriorSettings
from dpaudit.audits.table_cost import Untrained
from dpaudit.audits.unlearning import cost as unlearning
from dpaudit.audits.unlearning.settings import UnlearningSettings
from dpaudit.data.bundled import digits
from dpaudit.runtime.took import Took
from dpaudit.training.architecture import Mlp
from dpaudit.training.dp_sgd import DpSgd
from dpaudit.training.reference_models.speed import Speed
from dpaudit.training.sgd import Sgd

SECOND = Took(1.0, 1.0)


class Counted:
    """A plan in which each training takes a second, a prediction one, and the first of each program one more."""

    audit = cast(Any, SimpleNamespace(dataset=digits(), records=lambda: None, seed=0, delta=1e-5, confidence=0.95))

    def __init__(self, **trainers: Any) -> None:
        self.trainers = trainers

    def alone(self, trainer: object) -> Speed:
        """Of one."""
        return Speed(SECOND, Took(), Took(), SECOND)

    def together(self, trainer: object, models: int) -> Took:
        """Of many."""
        return SECOND * models

    def members(self) -> int:
        """On which it is trained."""
        return 900


def of(cost: Callable[[Any, Untrained], Any], settings: object, **trainers: object) -> Any:
    """What a table says."""
    return cost(settings, cast(Untrained, Counted(**trainers)))


@pytest.mark.tf
def test_unlearning_is_two_trainings_and_the_epochs_that_forget() -> None:
    """Of eight models each: before and retrained, and a quarter of one for 5 of 20 epochs; of ``retrain`` two."""
    given: dict[str, Any] = {"forget": 10, "models": 4, "references": 4}
    finetune = of(unlearning.cost, UnlearningSettings(method="finetune", **given), m=Sgd(Mlp(), epochs=20))
    assert (finetune.trainings, finetune.took) == (16, SECOND * 18)
    assert of(unlearning.cost, UnlearningSettings(method="retrain", **given), m=Sgd(Mlp())).took == SECOND * 16
    outside = of(unlearning.cost, UnlearningSettings(method="mine:forget", **given), m=Sgd(Mlp()))
    assert outside.took is None
    assert outside.reason == "it calls mine:forget, code from outside dpaudit"


def test_extraction_is_its_share_of_a_prediction() -> None:
    """100 texts of each side, of the 1,797 records that a prediction of a second is of."""
    took = of(extraction.cost, ExtractionSettings(records=100), m=Sgd(Mlp())).took
    assert took.cpu == pytest.approx(200 / 1797)


@pytest.mark.tf
def test_the_ladder_is_trainings_and_a_budget_is_what_it_says() -> None:
    """Rung 3 trains one model and its references, rung 4 as many as there are runs."""
    three = of(ladder.cost, LadderSettings(rungs=[3], score="lira", references=8), m=Sgd(Mlp()))
    assert (three.trainings, three.took) == (9, SECOND * 9)
    four = of(ladder.cost, LadderSettings(rungs=[0, 4], runs=50), m=Sgd(Mlp()), n=Sgd(Mlp()))
    assert (four.trainings, four.took) == (100, SECOND * 100)
    assert of(ladder.cost, LadderSettings(budget="2m"), m=Sgd(Mlp())).took == SECOND * 120


@pytest.mark.tf
def test_questions_are_counted_by_rung(monkeypatch: pytest.MonkeyPatch) -> None:
    """250 of rung 1, and the steps of rung 2 with its pilot of 20, traced once for each; ten took a second."""
    monkeypatch.setattr(ladder, "measured_twice", lambda work, *what: (SECOND * 3, SECOND))
    noisy, plain = DpSgd(Mlp(), noise_multiplier=1.0), Sgd(Mlp())
    found = of(ladder.cost, LadderSettings(rungs=[0, 1, 2], steps=100), noisy=noisy, plain=plain)
    assert found.took.cpu == pytest.approx(2 * 2 + (250 + 120) / 10)


def test_games_are_a_line_in_their_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of twenty games three seconds plus one a step: 40 games of 50 steps, twice."""
    monkeypatch.setattr(prior, "measured_once", lambda work, name, what, steps: SECOND * (3 + steps))
    monkeypatch.setattr(prior, "replace", lambda audit, **changes: audit)
    settings = PriorSettings(noise_multipliers=[1.0, 2.0], runs=40, steps=50)
    assert of(prior.cost, settings).took.cpu == pytest.approx(2 * (3 + 100))


def test_cells_are_counted_in_iterations(monkeypatch: pytest.MonkeyPatch) -> None:
    """25 took a second: 250 take ten, twice that for four records and for three epochs; tracing has the epochs."""
    monkeypatch.setattr(gradient, "measured_twice", lambda work, *what: (SECOND * 3, SECOND))
    prices = iter([SECOND * 4, SECOND * 9])  # of one step and of six: three seconds and one a step
    monkeypatch.setattr(gradient, "measured_once", lambda work, *what: next(prices))
    settings = GradientSettings.model_validate(
        {
            "architecture": {"kind": "mlp", "hidden": [8]},
            "attacks": [{"name": "matching", "iterations": 250}],
            "scenario": [{"name": "one", "batch": 1}, {"name": "four", "batch": 4, "epochs": 3}],
            "defence": [{"name": "none"}, {"name": "clip", "clip": 1.0}],
            "utility_steps": 50,
        }
    )
    assert of(gradient.cost, settings).took.cpu == pytest.approx(2 * (1 + 2) + 10 * 2 * (1 + 2 * 2) + 2 * (3 + 50))


@pytest.mark.tf
def test_every_table_of_small_plans_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each says a time above zero, and the second prediction is read from what the first has measured."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    common = {"schema": 1, "seed": 1, "data": {"source": "digits"}, "architecture": {"kind": "mlp", "hidden": [8]}}
    noisy = {"name": "m", "trainer": "dp-sgd", "noise_multiplier": 1.0, "l2_norm_clip": 1.0, "epochs": 2}
    users = {"name": "f", "trainer": "federated", "clients": {"kind": "iid", "clients": 8}, "rounds": 4}
    plans: list[dict[str, Any]] = [
        {
            "model": [noisy],
            "ladder": {"rungs": [0, 1, 2]},
            "prior": {"noise_multipliers": [1.0], "candidates": [5], "records": 50, "runs": 8, "steps": 2},
            "gradient": {
                "architecture": {"kind": "mlp", "hidden": [8]},
                "attacks": [{"name": "matching", "iterations": 10}],
                "scenario": [{"name": "one", "batch": 1}],
                "defence": [{"name": "none"}],
                "victims": 2,
            },
        },
        {
            "model": [users],
            "audit": {"unit": "user"},
            "federated": {"canaries": {"clients": 20}, "users": ["releases"]},
        },
    ]
    for number, tables in enumerate(plans):
        plan = plan_from({**common, "name": f"p{number}", **tables})
        found = predict_cost(plan, folder=tmp_path / "run")
        assert found.took is not None
        assert found.tables
        assert all(part.took is not None and part.took.cpu > 0 for part in found.tables.values())
        assert predict_cost(plan, folder=tmp_path / "run").as_dict() == json.loads(json.dumps(found.as_dict()))
