"""Writes the reference pages of the documentation from the code: docs/cli.md, docs/plan.md and docs/results.md.

    python .ci/reference.py

`make reference` runs it, and tests/docs/test_reference.py fails when a page is not what it would write.
"""

import json
import re
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from typer.main import get_command

from dpaudit.audits.plan import Plan
from dpaudit.cli import app
from dpaudit.gate.claims_file import Claims
from dpaudit.results.frames import COLUMNS
from dpaudit.results.result import Result
from dpaudit.runtime import plugins as registry

DOCS = Path(__file__).parent.parent / "docs"
MADE = "This page is made from the code by `make reference`."
TABLES = (
    "`result.frame(NAME)` gives a table of pandas, and `dpaudit export RUN --csv --latex` writes all of them, one file "
    "for each. Rates, AUCs and probabilities are between 0 and 1. A missing value is empty.",
    "",
    "The scores of single records are not in `result.json` but beside it, in `scores.npz`. Its arrays are `record` and "
    "`member` (records), `model` and `attack` (attacks), `score` and `judged` (attacks, records). An attack is not "
    "judged on records whose membership it was told.",
)
WORDS = ((Path, "FILE"), (str, "TEXT"), (int, "INTEGER"), (float, "NUMBER"))  # of the value of an option
PARTS = {
    "Trainers": ("trainers", "A trainer is named in `[[model]]`; its parameters stand beside the name."),
    "Architectures": ("architectures", "An architecture is named in `[architecture]` by its `kind`."),
    "Membership attacks": ("membership", "An attack is named in `[membership]`, alone or as a table with parameters."),
    "Servers": ("servers", "The server that clients face is named in `[gradient]`, alone or with parameters."),
    "Data sets": ("datasets", "A data set is named in `[data]` as its `source`."),
    "Texts": ("texts", 'Texts that ship are named in `[data]` with `kind = "text"` as its `source`.'),
}


def pages() -> dict[str, str]:
    """Text of each page by its file name."""
    return {"cli.md": command_line(), "plan.md": plan(), "results.md": result()}


def command_line() -> str:
    """All commands with their arguments and options."""
    group = get_command(app)
    lines = ["# Command line", "", str(group.help), "", MADE, "", f"{group.epilog}", ""]
    types = {one.name or one.callback.__name__: typing.get_type_hints(one.callback) for one in app.registered_commands}
    for name, command in group.commands.items():
        lines += [f"## {name}", "", *_paragraphs(command.help), ""]
        parameters = [each for each in command.params if each.name != "help"]
        rows = [
            (_option(each, str(types[name][each.name])), prose(each.help or ""), _required_or_default(each))
            for each in parameters
        ]
        lines += [*_table(("argument or option", "meaning", "default"), rows), ""] if rows else []
    return _joined(lines)


def plan() -> str:
    """All tables of a plan and of a claims file, and what can be named in them."""
    lines = ["# Plan and claims", "", "A plan says what an audit does, and a claims file what a result is held to.", ""]
    lines += [MADE, "", "## Plan", "", *_model(Plan, level=3), "## Claims file", "", *_model(Claims, level=3)]
    for title, (kind, intro) in PARTS.items():
        lines += [f"## {title}", "", intro, ""]
        rows = [(f"`{name}`", prose(registry.first_line(kind, name)), _fields(kind, name)) for name in _names(kind)]
        lines += [*_table(("name", "what it is", "parameters"), rows), ""]
    return _joined(lines)


def result() -> str:
    """All tables of result.json."""
    lines = ["# Result", "", "`result.json` holds everything that an audit found. `dpaudit.load_result` reads it.", ""]
    lines += [MADE, "", *_model(Result, level=2), "## Tables of pandas", "", *TABLES, ""]
    for name, columns in COLUMNS.items():
        rows = [(f"`{column}`", meaning) for column, meaning in columns.items()]
        lines += [f"### {name}", "", *_table(("column", "meaning"), rows), ""]
    return _joined(lines)


def _names(kind: str) -> list[str]:
    """Those of dpaudit itself: what another package registers is on its own pages."""
    return [name for name in registry.names(kind) if name in registry.KINDS[kind]]


def _fields(kind: str, name: str) -> str:
    if kind in ("datasets", "texts"):
        return ""
    known = registry.parameters(kind, name, where="reference")
    return ", ".join(f"`{each}`" for each in known)


def _option(parameter: Any, kind: str) -> str:
    if parameter.param_type_name == "argument":
        return f"`{parameter.name.upper()}`"
    names = " ".join(f"`{each}`" for each in [*parameter.opts, *parameter.secondary_opts])
    if parameter.is_flag:
        return names
    value = parameter.metavar or next(word for type_, word in WORDS if type_.__name__ in kind)
    return f"{names} {' '.join([prose(value)] * (1 if parameter.metavar else parameter.nargs))}"


def _required_or_default(parameter: Any) -> str:
    if parameter.required:
        return "required"
    return "" if parameter.default is None or isinstance(parameter.default, bool) else f"`{parameter.default}`"


def _model(model: Any, *, level: int) -> list[str]:
    """A section for the model itself, then one for each that it refers to, in the order of the references."""
    schema = model.model_json_schema(by_alias=True)
    sections = {schema["title"]: schema}
    definitions = schema.get("$defs", {})
    for table in (found := [schema]):
        for name in re.findall(r"#/\$defs/(\w+)", json.dumps(table.get("properties", {}))):
            if name not in sections:
                sections[name] = definitions[name]
                found.append(definitions[name])
    titles = {name: _title(name, table) for name, table in sections.items()}
    lines: list[str] = []
    for name, table in sections.items():
        properties = table.get("properties", {})
        text = re.sub(r"^``\[+[\w.]+\]+``: (\w)", lambda found: found[1].upper(), table.get("description", ""))
        lines += [f"{'#' * level} {titles[name]}", "", *_paragraphs(text), ""]
        required, meanings = table.get("required", []), _arguments(text)
        rows = [
            (
                f"`{key}`",
                _type(value, titles),
                "required" if key in required else _shown(value.get("default")),
                *([prose(meanings.get(key, ""))] if meanings else []),
            )
            for key, value in properties.items()
        ]
        heads = ("key", "value", "default", *(["meaning"] if meanings else []))
        lines += [*_table(heads, rows), ""] if rows else []
    return lines


def _arguments(text: str) -> dict[str, str]:
    """What a docstring says of each argument."""
    found = re.search(r"^Args:\n(.*?)(?=^\S|\Z)", text, flags=re.S | re.M)
    parts = re.findall(r"^    (\w+): (.*(?:\n     +\S.*)*)", found[1], flags=re.M) if found else []
    return {name: " ".join(meaning.split()) for name, meaning in parts}


def _title(name: str, table: Mapping[str, Any]) -> str:
    """The table of the file, where the description begins with it; the class otherwise."""
    named = re.match(r"``(\[+[\w.]+\]+)``", table.get("description", ""))
    return f"`{named[1]}`" if named else name.rpartition("__")[2]


def _shown(default: object) -> str:
    return "" if default in (None, "") or isinstance(default, dict) else f"`{default}`"


def _type(value: Mapping[str, Any], titles: Mapping[str, str]) -> str:
    if "$ref" in value:
        title = titles[str(value["$ref"]).rpartition("/")[2]]
        return f"[{title}](#{re.sub(r'[^a-z0-9_-]', '', title.lower())})"
    if "enum" in value:
        return " or ".join(f"`{each}`" for each in value["enum"])
    if "const" in value:
        return f"`{value['const']}`"
    if "anyOf" in value or "oneOf" in value:
        kinds = [_type(each, titles) for each in value.get("anyOf", value.get("oneOf", ()))]
        return " or ".join(kind for kind in dict.fromkeys(kinds) if kind != "null")
    kind = str(value.get("type", "any value"))
    if kind == "array":
        inside = [*([value["items"]] if value.get("items") else []), *value.get("prefixItems", [])]
        return f"list of {' or '.join(dict.fromkeys(_type(each, titles) for each in inside))}" if inside else "list"
    return f"{kind}{_limits(value)}"


def _limits(value: Mapping[str, Any]) -> str:
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    limits = [f"{sign} {value[key]:g}" for key, sign in signs.items() if key in value]
    return f" ({', '.join(limits)})" if limits else ""


def prose(text: str) -> str:
    """A docstring's reStructuredText as Markdown.

    >>> prose("``[data]``: see `Hu (2021) <https://arxiv.org/abs/1>`_.")
    '`[data]`: see [Hu (2021)](https://arxiv.org/abs/1).'
    """
    text = re.sub(r"`([^`<]+?)\s*<(https?://[^>]+)>`_", r"[\1](\2)", text)
    return text.replace("``", "`").replace("|", "\\|")


def _paragraphs(text: str | None) -> list[str]:
    """The text without the arguments, errors and examples that a docstring ends with."""
    kept = re.split(r"\n\s*(?:Args|Raises|Returns|Attributes):\s*\n|\n\s*>>> ", (text or "").strip())[0]
    paragraphs = [" ".join(part.split()) for part in kept.split("\n\n")]
    return [line for part in paragraphs if part for line in (prose(part), "")][:-1]


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    for cells in (heads, ["---"] * len(heads), *rows):
        yield f"| {' | '.join(cells)} |"


def _joined(lines: Sequence[str]) -> str:
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).rstrip() + "\n"


if __name__ == "__main__":
    for name, text in pages().items():
        (DOCS / name).write_text(text, encoding="utf-8")
