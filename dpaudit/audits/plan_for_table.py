"""A plan for a table that was looked at: it runs as it is, and its comments say what was found."""

import json
from collections.abc import Sequence
from pathlib import Path

from dpaudit.data.look import TableLook


def plan_for_table(found: TableLook, source: str, label: str | Sequence[str]) -> str:
    """A plan in TOML.

    Args:
        found: by `look`.
        source: path of the table, as the plan is to name it.
        label: its column or columns of labels.
    """
    name = "".join(c if c.isalnum() and c.isascii() else "-" for c in Path(source).stem).strip("-")[:64] or "table"
    written = _text(label) if isinstance(label, str) else f"[{', '.join(map(_text, label))}]"
    attacks = ["loss", *(["modified-entropy"] if found.task == "multiclass" else []), "attack-p"]
    batch = max(8, min(256, found.records // 20))
    lines = [
        f"# Written by dpaudit init after a look at {_comment(source)}: {found.records:,} records.",
        *(f"# {_comment(note)}" for note in found.notes),
        "# Every key and its type: dpaudit schema plan",
        "schema = 1",
        f"name = {_text(name)}",
        "seed = 1",
        "",
        "[data]",
        f"source = {_text(source)}",
        f"label = {written} # {_comment(found.target)}",
    ]
    if found.task == "multilabel":
        lines.append('task = "multilabel" # the loss of a record is that of all its labels')
    numbers = found.task == "regression"
    if numbers:
        lines.append('task = "regression" # the label is scaled by encode = "auto" as well')
    if found.user is not None:
        lines.append(
            f"user = {_text(found.user)} # no feature; leave the key out if it does not say whose record it is"
        )
    if found.drop:
        lines.append(f"drop = [{', '.join(map(_text, found.drop))}]")
        lines += [f"#   {_comment(column)}: {_comment(reason)}" for column, reason in found.drop.items()]
    lines += [
        f'encode = "{"auto" if found.encode else "none"}" # auto: words one-hot, dates in days, gaps filled and '
        "marked, numbers scaled",
        "population = 0.2 # share set aside: never trained on and not audited; Attack-P calibrates on it",
        f"# The {len(found.columns)} features:",
        *(f"#   {_comment(column)}: {_comment(what)}" for column, what in found.columns.items()),
        "",
        "[architecture]",
        'kind = "mlp"',
        "hidden = [64]",
        "",
        "# A model without DP shows what privacy costs and what it prevents.",
        "[[model]]",
        'name = "no-dp"',
        'trainer = "sgd"',
        "epochs = 20",
        f"batch_size = {batch}",
        f"learning_rate = {0.01 if numbers else 0.1}",
        "",
        "[[model]]",
        'name = "dp"',
        'trainer = "dp-sgd"',
        "l2_norm_clip = 1.0",
        "noise_multiplier = 1.0",
        "epochs = 5",
        f"batch_size = {batch}",
        f"learning_rate = {0.1 if numbers else 0.5}",
        "",
        "[membership]",
        f"attacks = [{', '.join(map(_text, attacks))}] # dpaudit list membership",
    ]
    slices = [*(["class"] if found.task == "multiclass" else []), *found.slices]
    if slices:
        lines.append(f"slices = [{', '.join(map(_text, slices))}] # reported separately: is one group more exposed?")
    return "\n".join(lines) + "\n"


def _text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _comment(text: str) -> str:
    return "".join(c if c.isprintable() else "�" for c in text)
