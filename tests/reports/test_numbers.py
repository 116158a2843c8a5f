"""All numbers of a result in one table: those of the report, each once, the same for dashboards."""

import csv
import io
import math
from collections.abc import Callable
from pathlib import Path

import pytest

from dpaudit import Result
from dpaudit.reports.figures import general_bound
from dpaudit.reports.numbers import HEAD, as_csv, numbers
from dpaudit.reports.to_mlflow import metric_names, tags_of
from tests.reports import sections
from tests.reports.results import hostile, small, three
from tests.small_audits import around

GOLDEN = Path(__file__).parent / "numbers.csv"


def rows(result: Result) -> list[dict[str, str]]:
    """The table, read back."""
    return list(csv.DictReader(io.StringIO(as_csv(result))))


def test_the_table_is_the_one_on_file() -> None:
    """Every row of a result with every experiment, as it was read; values to eight digits."""
    expected = list(csv.DictReader(io.StringIO(GOLDEN.read_text(encoding="utf-8"))))
    found = rows(sections.everything())
    names = ("subject", "source", "quantity")
    assert [[row[name] for name in names] for row in found] == [[row[name] for name in names] for row in expected]
    for row, wanted in zip(found, expected, strict=True):
        for column in ("value", "low", "high", "confidence"):
            assert (row[column] == "") == (wanted[column] == "")
            assert not row[column] or float(row[column]) == pytest.approx(float(wanted[column]), rel=1e-8)


@pytest.mark.parametrize("made", [small, three, sections.everything, sections.extracted])
def test_each_number_is_told_once(made: Callable[[], Result]) -> None:
    """No subject has two numbers of one name, none is NaN, and each lies within its interval."""
    found = numbers(made())
    keys = [(each.subject, each.source, each.quantity) for each in found]
    assert len(set(keys)) == len(keys)
    assert not any(math.isnan(each.value) for each in found)
    for each in found:
        if each.low is not None and each.high is not None:
            assert each.low <= each.value <= each.high


def test_the_numbers_are_those_of_the_result() -> None:
    """AUC, bound and accuracy of each model are found under their names."""
    result = three()
    found = {(each.subject, each.source, each.quantity): each.value for each in numbers(result)}
    for model in result.models:
        bound = general_bound(result, model.name)
        assert bound is not None
        assert found[model.name, "summary", "epsilon at least, any mechanism"] == bound.epsilon
        assert model.utility is not None
        assert found[model.name, "utility", "accuracy, unseen records"] == model.utility.test
    for attack in result.membership.attacks if result.membership is not None else ():
        assert found[attack.model, attack.attack, "auc"] == attack.auc


def test_a_result_without_measurements_is_a_table_without_rows() -> None:
    """The head is there all the same."""
    assert as_csv(around([])) == ",".join(HEAD) + "\n"


def test_metrics_have_names_that_dashboards_take() -> None:
    """Whatever a model is called, names are plain, differ, and are short; infinite numbers are left out."""
    for result in (hostile(), sections.everything()):
        named = list(metric_names(result))
        assert len({name for name, _ in named}) == len(named)
        assert all(math.isfinite(value) and len(name) <= 250 for name, value in named)
        assert all(set(name) <= set(map(chr, range(32, 127))) for name, _ in named)
        assert len(named) == sum(math.isfinite(each.value) for each in numbers(result))
        assert len(dict(tags_of(result))) == len(list(tags_of(result)))
