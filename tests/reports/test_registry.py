"""Registry entries have the fields of the registry's schema, say what was measured, and show what nobody stated."""

import json
import re
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from dpaudit import Result
from dpaudit.reports.context import checked_context
from dpaudit.reports.registry import registry_entries
from dpaudit.runtime.errors import InputError
from tests.reports import sections
from tests.reports.results import HOSTILE, hostile, small, three

HERE = Path(__file__).parent
STATED = {
    "purpose": "sorts letters",
    "deployment": "staff only",
    "trust_model": "a trusted curator adds the noise",
    "curator": 'Post, Inc.: the "letters" people',
    "curator_type": "Industry",
    "region": "EU",
    "sector": "Technology",
    "published": "2026-11-29",
    "authors": "A. Author, B. Author",
}
TYPES = {"string": str, "integer": int, "number": (int, float), "object": dict, "array": list}


def errors(value: Any, schema: dict[str, Any], place: str = "") -> list[str]:
    """What a value breaks of the keywords of JSON Schema that the registry's schema has."""
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if kinds and not any(isinstance(value, TYPES[kind]) for kind in kinds):  # type: ignore[arg-type]
        return [f"{place} is no {kinds}"]
    found = [f"{place} is not one of the words"] if value not in schema.get("enum", [value]) else []
    if schema.get("format") == "date":
        date.fromisoformat(value)
    if isinstance(value, dict):
        known = schema.get("properties", {})
        found += [f"{place}.{key} is missing" for key in schema.get("required", []) if key not in value]
        if schema.get("additionalProperties") is False:
            found += [f"{place}.{key} is unknown" for key in value if key not in known]
        for key, part in value.items():
            found += errors(part, known.get(key, {}), f"{place}.{key}")
    if isinstance(value, list):
        found += [f"{place} is empty"] if len(value) < schema.get("minItems", 0) else []
        for part in value:
            found += errors(part, schema.get("items", {}), f"{place}[]")
    return found


def eight_digits(text: str) -> str:
    """A text whose long numbers have eight digits: what differs behind them is the machine's."""
    return re.sub(r"\d+\.\d{9,}", lambda found: f"{float(found.group()):.8g}", text)


def schema() -> dict[str, Any]:
    """The registry's schema."""
    found: dict[str, Any] = json.loads((HERE / "registry-schema.json").read_text(encoding="utf-8"))
    return found


@pytest.mark.parametrize("made", [three, sections.everything])
def test_an_entry_with_everything_stated_is_valid(made: Callable[[], Result]) -> None:
    """Each model with a claim has an entry of the schema's fields and no other, with the claimed ε and δ."""
    result = made()
    entries = registry_entries(result, checked_context(STATED))
    private = [model for model in result.models if model.accounted is not None]
    assert len(entries) == len(private)
    for entry, model in zip(entries, private, strict=True):
        found = yaml.safe_load(entry.text)
        assert errors(found, schema()) == []
        assert entry.missing == ()
        assert model.accounted is not None
        parameters = found["deployment"]["privacy_loss"]["privacy_parameters"]
        assert parameters == {"epsilon": model.accounted.claim.epsilon, "delta": model.accounted.claim.delta}
        assert found["deployment"]["basic"]["data_curators"][0]["data_curator_name"] == STATED["curator"]
        assert found["deployment"]["administrative"]["registry_authors"] == ["A. Author", "B. Author"]


def test_what_nobody_stated_is_open_and_the_entry_not_valid() -> None:
    """Nothing is invented: required fields are comments that name the key, and the schema refuses the entry."""
    entry = registry_entries(three(), {})[0]
    assert entry.missing == ("curator", "curator_type", "purpose", "region", "published", "authors")
    for key in entry.missing:
        assert f"([report.context] {key})" in entry.text
    assert "# Not valid yet: curator" in entry.text
    missing = errors(yaml.safe_load(entry.text), schema())
    assert any("publication_date is missing" in each for each in missing)
    assert any("intended_use is missing" in each for each in missing)


def test_the_entry_of_an_audit_is_the_one_on_file() -> None:
    """The entry of a result with every experiment, as it was read; the version is left out."""
    result = sections.everything()
    held = result.provenance.model_copy(update={"versions": {"dpaudit": "VERSION"}})
    entry = registry_entries(result.model_copy(update={"provenance": held}), {"purpose": "sorts letters"})[0]
    assert eight_digits(entry.text) == eight_digits((HERE / "registry-entry.yaml").read_text(encoding="utf-8"))


def test_names_are_text_and_no_key() -> None:
    """Names with quotes, colons, braces and line breaks come back as values; files have the registry's form."""
    for entry in registry_entries(hostile(), checked_context(STATED)):
        assert errors(yaml.safe_load(entry.text), schema()) == []
        assert set(entry.name) <= set("abcdefghijklmnopqrstuvwxyz0123456789_.")
    assert len(HOSTILE) > 2


def test_without_a_claim_there_is_no_entry() -> None:
    """The registry is of differential privacy; the message says how to state a claim."""
    with pytest.raises(InputError, match="state epsilon and delta"):
        registry_entries(small(), {})


def test_words_of_the_registry_are_checked_when_they_are_stated() -> None:
    """Another kind of curator and another form of a date are refused with what would be right."""
    with pytest.raises(InputError, match="curator_type of the context must be one of 'Government', 'Industry'"):
        checked_context({"curator_type": "industry"})
    with pytest.raises(InputError, match=r"published of the context must be a day like 2026-11-29, got '29\.11\.2026'"):
        checked_context({"published": "29.11.2026"})
