"""A result as Markdown, for a wiki, a pull request or a model card."""

from dpaudit.reports import figures, words
from dpaudit.reports.gate import cell
from dpaudit.result import Result


def markdown(result: Result) -> str:
    """Headline, one row for each model, what an attacker can do, and what was not tested."""
    lines = [
        f"## {cell(result.title)}",
        "",
        cell(words.headline(result)),
        "",
        "| model | verdict | promised ε | measured ε ≥ | ceiling | best AUC |",
        "|---|---|---:|---:|---:|---:|",
    ]
    ordered = words.by_severity(result)
    for model in ordered:
        bound = figures.strongest_bound(result, model.name)
        best = max(figures.attacks_on(result, model.name), key=lambda attack: attack.auc, default=None)
        promised = model.promise.claim.epsilon if model.promise is not None else None
        numbers = (
            promised,
            bound.epsilon if bound else None,
            bound.ceiling if bound else None,
            best.auc if best else None,
        )
        row = " | ".join(words.figure(number) for number in numbers)
        lines.append(f"| {cell(model.name)} | **{words.verdict(result, model.name)}** | {row} |")
    lines.append("")
    for model in ordered:
        best = figures.strongest(result, model.name)
        said = f" {words.in_words(best)}" if best is not None else ""
        lines.append(f"- **{cell(model.name)}**: {cell(words.judged(result, model) + said)}")
    lines += ["", "Not tested:", *(f"- {cell(text)}" for text in words.not_tested(result))]
    lines += [
        "",
        f"ε at δ = {words.figure(result.delta)}, {result.adjacency} of one {result.unit}; all {result.level.bounds} "
        f"lower bounds hold together with {words.percent(result.level.confidence)} confidence.",
        "",
    ]
    return "\n".join(lines)
