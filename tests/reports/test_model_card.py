"""The block for a model card is YAML with the report's numbers, whatever the names."""

import math
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from dpaudit import Result
from dpaudit.reports.model_card import model_card
from dpaudit.reports.summary import summary_row
from tests.reports import sections
from tests.reports.results import HOSTILE, hostile, three
from tests.small_audits import around


def front_matter(result: Result) -> list[dict[str, Any]]:
    """The ``model-index`` of a card."""
    empty, block, _ = model_card(result).split("---\n", 2)
    assert empty == ""
    found = yaml.safe_load(block)
    assert list(found) == ["model-index"]
    index: list[dict[str, Any]] = found["model-index"]
    return index


def test_the_front_matter_holds_the_numbers_of_the_report() -> None:
    """One entry for each model, with task, data set and metrics, as the hub's parser wants them."""
    result = three()
    index = front_matter(result)
    assert [entry["name"] for entry in index] == [model.name for model in result.models]
    for entry in index:
        (found,) = entry["results"]
        assert found["task"]["type"] == "privacy-audit"
        assert found["dataset"] == {"type": result.data.name, "name": result.data.name}
        values = {metric["type"]: metric["value"] for metric in found["metrics"]}
        general = summary_row(result, entry["name"]).general
        assert general is not None
        assert values["epsilon_lower_bound"] == pytest.approx(general.epsilon)
        assert all(isinstance(value, float) and math.isfinite(value) for value in values.values())


def test_names_cannot_add_keys_or_markup() -> None:
    """Names with quotes, colons, braces and scripts come back letter by letter from the parser, and as text below."""
    index = front_matter(hostile())
    assert {entry["name"] for entry in index} == set(HOSTILE.values())
    assert HOSTILE["script"] not in model_card(hostile()).split("---\n", 2)[2]


@pytest.mark.parametrize("result", [around([]), sections.gradient()])
def test_a_result_without_figures_of_models_has_an_empty_index(result: Result) -> None:
    """What was not measured is no metric; what was not tested is said all the same."""
    assert front_matter(result) == []
    assert "Not tested:" in model_card(result)
