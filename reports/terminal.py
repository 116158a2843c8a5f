"""A result as a table for the terminal, and the numbers in words."""

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from dpaudit.gate.compare import Change
from dpaudit.reports.figures import best_attack, ceiling, largest_allowed, strongest_bound
from dpaudit.reports.verdict_words import other_differences, verdict
from dpaudit.reports.words import figure, percent
from dpaudit.results.extraction import ExtractionResult
from dpaudit.results.result import ModelResult, Result
from dpaudit.runtime.terminal import plain_text

MARKS = {
    "contradicted": "bold red",
    "consistent": "green",
    "too weak": "yellow",
    "no verdict": "yellow",
    "no claim": "dim",
}


def tabulate_models(result: Result) -> Table:
    """One row per model: claim, measurement, verdict, utility. It fits 80 columns when the names are short."""
    drawn = Table(
        title=plain_text(result.title, "table.title"),
        title_justify="left",
        box=None,
        header_style="bold",
        padding=(0, 1, 0, 0),
    )
    drawn.add_column("model", overflow="fold", min_width=8)
    for heading in ("claimed\nε ≤", "measured\nε ≥", "ceiling", "AUC", "train", "test"):
        drawn.add_column(heading, justify="right", no_wrap=True)
    drawn.add_column("verdict", no_wrap=True)
    for model in result.models:
        drawn.add_row(*_row(result, model))
    shuffled = any(model.accounted is not None and model.accounted.optimistic for model in result.models)
    subjects = [model.name for model in result.models]
    if result.unlearning is not None:
        subjects += [each.subject for each in result.unlearning.found]
    bounds = [bound for subject in subjects for bound in result.bounds(subject)]
    measured = {(bound.delta, bound.adjacency, bound.unit) for bound in bounds}
    # Of bounds that differ each says its own in the result; the caption then says the audit's.
    delta, adjacency, unit = measured.pop() if len(measured) == 1 else (result.delta, result.adjacency, result.unit)
    caption = (
        f"ε at δ = {delta:.3g}, {adjacency} of one {unit}; "
        + (f"all bounds hold together with {result.level.confidence:.0%} confidence." if bounds else "no bound holds.")
        + (" * as if the batches were Poisson-sampled; they were shuffled, so this is optimistic." if shuffled else "")
    )
    converted = [
        figure(largest_allowed(model, bound))
        for model in result.models
        if (bound := strongest_bound(result, model.name)) is not None
        and model.accounted is not None
        and largest_allowed(model, bound) != model.accounted.claim.epsilon
    ]
    caption += f" ‡ where one {unit} is replaced the claim allows ε ≤ {', '.join(converted)}." if converted else ""
    families = {bound.family for model in result.models if (bound := strongest_bound(result, model.name)) is not None}
    caption += "".join(f" † within: {family}." for family in sorted(families - {""}))
    drawn.caption = plain_text(caption, "table.caption")
    drawn.caption_justify = "left"
    return drawn


def tabulate_extraction(found: ExtractionResult) -> Table:
    """One row for each number of samples, one column of shares for each probability; 80 columns hold three of them."""
    levels = list(dict.fromkeys(point.p for point in found.records.points))
    drawn = Table(box=None, header_style="bold", padding=(0, 1, 0, 0))
    drawn.add_column("n", justify="right")
    for p in levels:
        drawn.add_column(f"p = {p:g}", justify="right", no_wrap=True)
        if found.others is not None:
            drawn.add_column("others", justify="right", no_wrap=True)
    for n in sorted({point.n for point in found.records.points}):
        row = [f"{n:,}"]
        for p in levels:
            for side in (found.records, *([] if found.others is None else [found.others])):
                point = next(point for point in side.points if (point.n, point.p) == (n, p))
                interval = f" {100 * point.low:.0f}-{100 * point.high:.0f}" if side is found.records else ""
                row.append(percent(point.share) + interval)
        drawn.add_row(*row)
    return drawn


def choices(result: Result) -> list[str]:
    """What a budget chose for each rung of the ladder, and why, one line each; none without a budget."""
    lines = []
    for rung in result.ladder.rungs if result.ladder is not None else []:
        choice = rung.choice
        if choice is None:
            continue
        seen = "" if choice.visible is None else f", would show ε from {figure(choice.visible)}"
        what = f"{choice.amount}, about {choice.seconds:.0f} s{seen}" if choice.chosen else "left out"
        lines.append(f"{rung.model}: rung {rung.rung}, {rung.name}: {what}: {choice.reason}")
    return lines


def _row(result: Result, model: ModelResult) -> list[str | Text]:
    bound, best = strongest_bound(result, model.name), best_attack(result, model.name)
    claim = "none" if model.accounted is None else figure(model.accounted.claim.epsilon)
    if (
        model.accounted is not None
        and bound is not None
        and largest_allowed(model, bound) != model.accounted.claim.epsilon
    ):
        claim += "‡"
    mark = "*" if model.accounted is not None and model.accounted.optimistic else ""
    within = "†" if bound is not None and bound.family else ""
    measured = ["", ""] if bound is None else [f"{figure(bound.epsilon)}{within}", figure(ceiling(result, model.name))]
    measured += ["" if best is None else f"{best.auc:.3f}"]
    utility = ["", ""] if model.utility is None else [f"{model.utility.train:.3f}", f"{model.utility.test:.3f}"]
    word = verdict(result, model.name)
    return [plain_text(model.name), claim + mark, *measured, *utility, plain_text(word, MARKS[word])]


def changes_table(found: Sequence[Change]) -> Table:
    """One row for each metric of each attack that two results have in common."""
    drawn = Table(box=None, header_style="bold", caption_justify="left")
    caption = ["All differences hold together with 95 % confidence.", *other_differences(found)]
    drawn.caption = plain_text("\n".join(caption), "table.caption")
    for heading in ("model", "attack", "metric", "before", "after", "difference", ""):
        drawn.add_column(heading, overflow="fold")
    for each in found:
        change = each.difference
        low_to_high = "–" if change is None else f"{change.value:+.3f} ({change.low:+.3f} to {change.high:+.3f})"
        drawn.add_row(
            plain_text(each.model),
            plain_text(each.attack),
            plain_text(each.metric),
            f"{each.before.value:.3f}",
            f"{each.after.value:.3f}",
            low_to_high,
            plain_text(each.word.split(":")[0], {"grew": "bold red", "shrank": "green"}.get(each.word, "")),
        )
    return drawn
