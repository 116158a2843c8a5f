"""An entry for the registry of deployments of differential privacy, for each model that claims an ε.

The fields are those of the registry's own schema (github.com/opendp/deployments-registry-data,
schemas/deployments-schema.yaml at commit 057e5d8, read in November 2026), which NIST proposed to host in 2025 and which
follows Nanayakkara, Ghazi and Vadhan, arXiv 2509.13509. A field that dpaudit cannot know and nobody stated is a comment
that says so, and an entry with one that is required is not valid by the schema until it is filled in.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from dpaudit.reports import words
from dpaudit.reports.context import CONTEXT
from dpaudit.reports.summary import plain_verdict, summary_row
from dpaudit.results.result import ModelResult, Result
from dpaudit.runtime.check import printable
from dpaudit.runtime.errors import InputError

SCHEMA = "github.com/opendp/deployments-registry-data, schemas/deployments-schema.yaml, commit 057e5d8"
TIER = 2  # of 3: variant, unit, parameters and deployment model; the third wants what only its authors know
ADJACENT = {
    "add-remove": "Two data sets are adjacent when one has one {unit} more than the other.",
    "replace-one": "Two data sets are adjacent when one {unit} of one is replaced by another.",
    "zero-out": "Two data sets are adjacent when one {unit} of one is replaced by one that counts as nothing.",
}


@dataclass(frozen=True)
class Open:
    """A field that is to be filled in.

    Args:
        key: of ``[report.context]``; empty where the entry itself is to be edited.
        about: what belongs there.
        required: whether the schema asks for it.
    """

    key: str
    about: str
    required: bool = False


Value = str | float | int | Open | list[str] | list[dict[str, "str | Open"]] | dict[str, "Value"]


@dataclass(frozen=True)
class RegistryEntry:
    """One entry.

    Args:
        name: of its file, as the registry wants it.
        text: YAML.
        missing: keys of ``[report.context]`` that the schema asks for and nobody stated.
    """

    name: str
    text: str
    missing: tuple[str, ...]


def registry_entries(result: Result, context: Mapping[str, str]) -> list[RegistryEntry]:
    """An entry for each model that claims an ε.

    Args:
        result: of an audit.
        context: what was stated, as `dpaudit.reports.context.checked_context` gives it.

    Raises:
        InputError: no model claims an ε below infinity, or two of them would have one file.
    """
    private = [model for model in result.models if model.accounted is not None and _finite(model)]
    if not private:
        raise InputError(
            "no model of this result claims an ε, and the registry is of deployments of differential privacy: state "
            "epsilon and delta in the plan, or with --epsilon and --delta."
        )
    entries = [_entry(result, model, context) for model in private]
    names = [entry.name for entry in entries]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise InputError(f"two models of this result would both have the registry entry {twice}; rename one.")
    return entries


def _finite(model: ModelResult) -> bool:
    return model.accounted is not None and model.accounted.claim.epsilon < float("inf")


def _entry(result: Result, model: ModelResult, context: Mapping[str, str]) -> RegistryEntry:
    slug = re.sub(r"[^a-z0-9]+", "-", f"{result.name} {model.name}".lower()).strip("-") or "entry"
    fields: dict[str, Value] = {
        "url_slug": slug,
        "deployment": {
            "basic": _basic(result, model, context),
            "dp_variant": _variant(model),
            "privacy_loss": _privacy_loss(result, model),
            "deployment_model": _deployment_model(result, model, context),
            "implementation": _implementation(result, model),
            "administrative": {
                "status": "Draft",
                "registry_authors": (
                    [name.strip() for name in context["authors"].split(",") if name.strip()]
                    if "authors" in context
                    else Open("authors", CONTEXT["authors"], required=True)
                ),
                "tier": TIER,
            },
        },
    }
    missing = tuple(dict.fromkeys(each.key for each in _open(fields) if each.required))
    head = [
        f"# Entry for the registry of deployments of differential privacy ({SCHEMA}).",
        "# Written by dpaudit from a result; it is registered nowhere and says nothing about compliance.",
    ]
    if missing:
        head.append(f"# Not valid yet: {', '.join(missing)} to be stated in [report.context] of the plan or --context.")
    return RegistryEntry(f"{slug.replace('-', '_')}.yaml", "\n".join([*head, *_yaml(fields)]) + "\n", missing)


def _stated(context: Mapping[str, str], key: str, *, required: bool = False) -> str | Open:
    return context[key] if key in context else Open(key, CONTEXT[key], required)


def _basic(result: Result, model: ModelResult, context: Mapping[str, str]) -> dict[str, Value]:
    whose = f" {context['population']}" if "population" in context else ""
    return {
        "name": f"{result.title}: {model.name}",
        "data_curators": [
            {
                "data_curator_name": _stated(context, "curator", required=True),
                "data_curator_type": _stated(context, "curator_type", required=True),
            }
        ],
        "description": f"The model {model.name}, trained by {model.trainer} on {result.data.name}.{whose}",
        "intended_use": _stated(context, "purpose", required=True),
        "data_product_type": "Machine learning model",
        "data_product_region": _stated(context, "region", required=True),
        "data_product_sector": _stated(context, "sector"),
        "publication_date": _stated(context, "published", required=True),
    }


def _variant(model: ModelResult) -> dict[str, Value]:
    assert model.accounted is not None
    return {"variant_name": "Pure DP" if model.accounted.claim.delta == 0 else "Approximate DP"}


def _privacy_loss(result: Result, model: ModelResult) -> dict[str, Value]:
    assert model.accounted is not None
    claim = model.accounted.claim
    details = f"By {model.accounted.accountant}; the claim is from {claim.source}."
    if model.accounted.optimistic:
        details += " The accountant assumed more than what was run: the true ε may be larger."
    if model.accounted.note:
        details += f" {model.accounted.note[0].upper()}{model.accounted.note[1:]}."
    return {
        "privacy_unit": f"{claim.unit}-level",
        "privacy_unit_details": ADJACENT[claim.adjacency].format(unit=claim.unit),
        "privacy_parameters": {"epsilon": claim.epsilon, "delta": claim.delta},
        "privacy_parameters_details": details,
    }


def _deployment_model(result: Result, model: ModelResult, context: Mapping[str, str]) -> dict[str, Value]:
    name: str | Open = Open("", "where the noise is added: Local, Central, Shuffle or Federated")
    if result.federated is not None or result.trace is not None:
        name = "Federated"
    elif model.mechanism is not None and result.provenance.plan is not None:
        name = "Central"  # trained by the plan, from records in one place
    return {
        "model_name": name,
        "trust_assumptions": _stated(context, "trust_model"),
        "actors": _stated(context, "deployment"),
        "release_type": Open("", "One release or Many releases"),
        "data_source_type": Open("", "Static or Dynamic"),
        "access_type": Open("", "Interactive or Non-interactive"),
    }


def _implementation(result: Result, model: ModelResult) -> dict[str, Value]:
    assert model.accounted is not None
    mechanism: str | Open = Open("", "the mechanism, its library and its parameters")
    if model.mechanism is not None:
        clip = model.parameters.get("l2_norm_clip")
        mechanism = (
            f"Gaussian noise on clipped gradients, noise multiplier {model.mechanism.noise_multiplier:.4g}"
            f"{'' if clip is None else f', clip norm {clip}'}, {model.mechanism.steps} steps, "
            f"{words.sampling(model.mechanism.sampling)}; trainer {model.trainer}."
        )
    row = summary_row(result, model.name)
    measured = [f"Audited with dpaudit {result.provenance.versions.get('dpaudit', '')}."]
    measured.append(plain_verdict(result, model.name))
    if row.general is not None:
        measured.append(f"Measured lower bound for any mechanism: ε ≥ {row.general.epsilon:.3g}.")
    if row.family is not None:
        measured.append(f"Within {row.family.family}: ε ≥ {row.family.epsilon:.3g}.")
    if row.reach is not None:
        measured.append(f"Minimum detectable ε: {row.reach:.3g}.")
    measured.append(f"All bounds hold together with {words.percent(result.level.confidence)} confidence.")
    measured.append("An audit finds leaks; it cannot show that there are none.")
    utility: str | Open = Open("", "how useful the model is, if that was measured")
    if model.utility is not None:
        utility = f"{model.utility.metric} on unseen records: {model.utility.test:.3f}"
    return {
        "preprocessing_and_hyperparameter_tuning": Open("", "what was done with the data before, and its privacy loss"),
        "mechanisms": mechanism,
        "composition": f"By {model.accounted.accountant}.",
        "utility": utility,
        "additional_information": " ".join(measured),
    }


def _open(value: Value) -> Iterator[Open]:
    if isinstance(value, Open):
        yield value
    elif isinstance(value, dict):
        for part in value.values():
            yield from _open(part)
    elif isinstance(value, list):
        for each in value:
            if isinstance(each, dict):
                yield from (part for part in each.values() if isinstance(part, Open))


def _yaml(fields: Mapping[str, Value], indent: str = "") -> Iterator[str]:
    """Lines of YAML; what is open is a comment. Texts are JSON, which is YAML too, so that none can add a key."""
    for key, value in fields.items():
        if isinstance(value, Open):
            by = f" ([report.context] {value.key})" if value.key else ""
            yield f"{indent}# {key}: open: {value.about}{by}"
        elif isinstance(value, dict):
            yield f"{indent}{key}:"
            yield from _yaml(value, indent + "  ")
        elif isinstance(value, list):
            yield f"{indent}{key}:"
            for each in value:
                if isinstance(each, str):
                    yield f"{indent}  - {_text(each)}"
                else:
                    yield f"{indent}  -"
                    yield from _yaml({**each}, indent + "    ")
        else:
            yield f"{indent}{key}: {_text(value) if isinstance(value, str) else _number(value)}"


def _text(value: str) -> str:
    return json.dumps(printable(value), ensure_ascii=False)


def _number(value: float) -> str:
    """A number that YAML 1.1 reads as one: 1e-05 without a point is a text there.

    >>> _number(1e-05), _number(3), _number(2.5)
    ('1.0e-05', '3', '2.5')
    """
    text = repr(value)
    return text.replace("e", ".0e", 1) if "e" in text and "." not in text else text
