"""A result as a table for the terminal, and the numbers in words."""

from rich.table import Table

from dpaudit.reports.figures import strongest
from dpaudit.result import ModelResult, Result

MARKS = {"contradicted": "bold red", "consistent": "green", "too weak": "yellow", "no promise": "dim"}


def table(result: Result) -> Table:
    """One row per model: promise, measurement, verdict, utility."""
    drawn = Table(title=result.title, title_justify="left", box=None, header_style="bold")
    for heading, justify in (
        ("model", "left"), ("promised ε", "right"), ("measured ε ≥", "right"), ("ceiling", "right"),
        ("best attack", "left"), ("AUC", "right"), ("TPR at 1 % FPR", "right"), ("train", "right"), ("test", "right"),
        ("verdict", "left"),
    ):  # fmt: skip
        drawn.add_column(heading, justify=justify, overflow="fold")  # type: ignore[arg-type]  # a literal of rich
    for model in result.models:
        drawn.add_row(*_row(result, model))
    drawn.caption = (
        f"ε at δ = {result.delta:g}, {result.adjacency} of one {result.unit}; all bounds hold together with "
        f"{result.level.confidence:.0%} confidence"
    )
    drawn.caption_justify = "left"
    return drawn


def verdict(result: Result, model: str) -> str:
    """The verdict in one word, or that there is no promise to judge."""
    found = result.comparison(model)
    return found.verdict if found is not None else "no promise"


def _row(result: Result, model: ModelResult) -> list[str]:
    best = strongest(result, model.name)
    promise = (
        "none"
        if model.promise is None
        else f"{model.promise.claim.epsilon:.3g}{'*' if model.promise.optimistic else ''}"
    )
    measured = ["", "", "", "", ""]
    if best is not None:
        at_one_percent = next(point for point in best.tpr_at_fpr if point.fpr == 0.01)
        measured = [
            f"{best.bound.epsilon:.3f}",
            f"{best.bound.ceiling:.2f}",
            best.attack,
            f"{best.auc:.3f}",
            f"{at_one_percent.tpr:.1%}",
        ]
    utility = ["", ""] if model.utility is None else [f"{model.utility.train:.3f}", f"{model.utility.test:.3f}"]
    word = verdict(result, model.name)
    return [model.name, promise, *measured, *utility, f"[{MARKS[word]}]{word}[/]"]
