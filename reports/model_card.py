"""The block on privacy for a Hugging Face model card: metadata that its parser reads, and a table for people."""

import json

from dpaudit.reports import scope_words, words
from dpaudit.reports.gate import escape_text
from dpaudit.reports.summary import plain_verdict, risk, summary_row
from dpaudit.results.result import Result


def model_card(result: Result) -> str:
    """A model card's front matter (``model-index``) and its section on privacy, as Markdown.

    The values are those of the report: the largest lower bound on ε for any mechanism, the claimed ε, the largest
    certifiable ε, and the advantage of the membership attack that is right most often. Strings are JSON, which is
    YAML too, so that no name can add a key.

    Args:
        result: of an audit.
    """
    models = [model.name for model in result.models]
    lines = ["---", "model-index:"]
    for name in models:
        metrics = _metrics(result, name)
        if not metrics:
            continue
        lines += [
            f"- name: {_text(name)}",
            "  results:",
            "  - task:",
            "      type: privacy-audit",
            '      name: "Privacy audit (dpaudit)"',
            "    dataset:",
            f"      type: {_text(result.data.name)}",
            f"      name: {_text(result.data.name)}",
            "    metrics:",
        ]
        for kind, (value, label) in metrics.items():
            lines += [f"    - type: {kind}", f"      value: {value}", f"      name: {_text(label)}"]
    lines = ["---", "model-index: []"] if len(lines) == 2 else lines
    lines += ["---", "", "## Privacy", ""]
    lines += [f"- **{escape_text(words.short(name))}**: {escape_text(plain_verdict(result, name))}" for name in models]
    lines += ["", "Not tested:", "", *(f"- {escape_text(text)}" for text in scope_words.not_tested(result))]
    version = result.provenance.versions.get("dpaudit", "")
    made = f"Measured with dpaudit {version} on {result.provenance.created[:10]}; all bounds hold together with "
    return "\n".join([*lines, "", escape_text(f"{made}{words.percent(result.level.confidence)} confidence.")]) + "\n"


def _text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)  # YAML knows no pairs of surrogates


def _metrics(result: Result, name: str) -> dict[str, tuple[float, str]]:
    """Metrics by type, with a value and a name; what was not measured and what is infinite is left out."""
    row, model = summary_row(result, name), next(model for model in result.models if model.name == name)
    found: dict[str, tuple[float, str]] = {}
    at = f"at δ = {result.delta:g}"
    if row.claimed is not None:
        found["epsilon_claimed"] = (row.claimed, f"claimed ε {at}")
    if row.general is not None:
        found["epsilon_lower_bound"] = (row.general.epsilon, f"measured ε, lower bound for any mechanism, {at}")
    if row.family is not None:
        found["epsilon_lower_bound_within_family"] = (row.family.epsilon, f"the same within {row.family.family}")
    if row.ceiling is not None:
        found["epsilon_largest_certifiable"] = (row.ceiling, "largest ε that this audit could have certified")
    told = risk(result, model)
    if told is not None and told.advantage is not None:
        found["membership_advantage"] = (told.advantage, f"TPR - FPR of {told.attack}")
    return {kind: (value, label) for kind, (value, label) in found.items() if value < float("inf")}
