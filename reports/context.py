"""What dpaudit cannot know of a deployment: whoever is responsible for it states that, or it stays visibly open."""

import sys
from collections.abc import Mapping
from datetime import date

from dpaudit.results.result import Result
from dpaudit.runtime import check
from dpaudit.runtime.errors import InputError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

CONTEXT = {
    "purpose": "what the model is for",
    "population": "whose data it was trained on, and who holds them",
    "deployment": "who may use the model, and how",
    "trust_model": "who sees the data, and who adds the noise",
    "curator": "name of the organisation that publishes the model",
    "curator_type": "kind of that organisation: Government, Industry or Nonprofit",
    "region": "region that the data describe, or whose law applies",
    "sector": "sector that the data are from: Technology, Healthcare, Education, Government, Energy or Finance",
    "published": "day of the first publication, YYYY-MM-DD",
    "authors": "who answers for the registry entry, names with commas between them",
}
# The words of the registry of deployments; see `dpaudit.reports.registry`.
CHOICES = {
    "curator_type": ("Government", "Industry", "Nonprofit"),
    "sector": ("Technology", "Healthcare", "Education", "Government", "Energy", "Finance"),
}


def context_of(result: Result) -> Mapping[str, str]:
    """``[report.context]`` of the plan that a result holds; empty without one."""
    if result.provenance.plan is None:
        return {}
    stated = tomllib.loads(result.provenance.plan).get("report", {}).get("context", {})
    return checked_context({key: value for key, value in stated.items() if value})


def checked_context(context: Mapping[str, object]) -> Mapping[str, str]:
    """The context with known keys and texts.

    >>> checked_context({"published": "2026-11-29"})
    {'published': '2026-11-29'}

    Raises:
        InputError: another key, a value that is no text, or one that the registry has no word for.
    """
    for key, value in context.items():
        check.one_of("a key of the context", key, tuple(CONTEXT))
        if not isinstance(value, str) or not value.strip():
            raise InputError(f"{key} of the context must be text, got {value!r}.")
        if key in CHOICES:
            check.one_of(f"{key} of the context", value, CHOICES[key])
        if key == "published" and not _is_day(value):
            raise InputError(f"published of the context must be a day like 2026-11-29, got {value!r}.")
    return {key: str(value) for key, value in context.items()}


def _is_day(text: str) -> bool:
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:  # what is no day is said by the caller
        return False
