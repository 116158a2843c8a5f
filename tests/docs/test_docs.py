"""The documentation is whole: commands, options, links, files, pages and public names exist and are named."""

import re
from importlib import import_module
from pathlib import Path

import pytest
from typer.main import get_command

import dpaudit
from dpaudit.cli import app
from tests.docs.pages import PAGES, ROOT


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_and_options_exist(page: Path) -> None:
    """Every ``dpaudit COMMAND --option`` in the code of a page is one."""
    known = get_command(app).commands  # type: ignore[attr-defined]
    text = page.read_text(encoding="utf-8")
    fences = re.findall(r"^```.*?^```", text, flags=re.S | re.M)
    lines = [line for fence in fences for line in re.findall(r"^dpaudit ([a-z].*)$", fence, flags=re.M)]
    lines += re.findall(r"`dpaudit ([a-z][^`\n]*)`", text)
    for name, *words in (line.split("#")[0].split() for line in lines):
        assert name in known, f"{page.name}: dpaudit {name}"
        options = [option for each in known[name].params for option in (*each.opts, *each.secondary_opts)]
        unknown = [word for word in words if word.startswith("--") and word.partition("=")[0] not in options]
        assert unknown == [], f"{page.name}: dpaudit {name}"


def test_every_public_name_is_in_the_api_page() -> None:
    """The page lists what `import dpaudit` gives, and nothing twice."""
    listed = re.findall(r"^::: dpaudit\.(\w+)$", (ROOT / "docs" / "api.md").read_text(encoding="utf-8"), flags=re.M)
    assert sorted(listed) == sorted(set(vars(dpaudit)["__all__"]) - {"__version__"})


def test_the_gradient_attacks_of_the_page_are_where_it_says() -> None:
    """Every ``module.Class`` of its table."""
    page = (ROOT / "docs" / "gradient_leakage.md").read_text(encoding="utf-8")
    named = re.findall(r"`(\w+)\.([A-Z]\w+)`", page)
    assert len(named) >= 10
    for module, name in named:
        code = (ROOT / "attacks" / "gradient" / f"{module}.py").read_text(encoding="utf-8")
        assert f"\nclass {name}:" in code, f"{module}.{name}"


MADE = {"cli", "plan", "results"}  # from the code
IMPORTED = re.compile(r"^from (dpaudit[\w.]*) import (.+)$", flags=re.M)


@pytest.mark.tf  # what the pages name includes trainers
@pytest.mark.parametrize("page", [page for page in PAGES if page.stem not in MADE], ids=lambda page: page.stem)
def test_what_a_page_advises_is_documented(page: Path) -> None:
    """Every class and function that a page imports or names with its path is on the API page, or public itself."""
    api = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    listed = re.findall(r"^::: ([\w.]+)$", api, flags=re.M)
    public = {id(getattr(dpaudit, name)) for name in vars(dpaudit)["__all__"]}
    text = page.read_text(encoding="utf-8")
    named = set(re.findall(r"\bdpaudit(?:\.\w+)+", text))
    named |= {f"{module}.{name.strip()}" for module, names in IMPORTED.findall(text) for name in names.split(",")}
    advised = {name: found for name in named if callable(found := _found(name))}
    assert [name for name, found in advised.items() if name not in listed and id(found) not in public] == []


def test_an_undocumented_name_would_be_seen() -> None:
    """A class with its path is found as one; a module, and a group of entry points, is none."""
    assert callable(_found("dpaudit.bounds.one_run.OneRun"))
    assert not callable(_found("dpaudit.bounds.one_run"))
    assert not callable(_found("dpaudit.membership"))


def _found(name: str) -> object:
    """What a dotted name stands for; None where it is nothing, or needs a package that is not installed."""
    module, _, last = name.rpartition(".")
    try:
        return getattr(import_module(module), last, None)
    except ImportError:
        return None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_files_a_page_names_are_there(page: Path) -> None:
    """Every link to a file, and every example and benchmark in code, exists."""
    text = page.read_text(encoding="utf-8")
    links = re.findall(r"\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)", text)
    missing = [link for link in links if not (page.parent / link).exists()]
    named = re.findall(r"\b((?:examples|benchmarks)/[\w/-]+(?:\.\w+)+)", text)
    assert missing + [name for name in named if not (ROOT / name).exists()] == []


def test_every_page_and_every_example_is_named() -> None:
    """A page that no navigation leads to, or an example that the README leaves out, is never read."""
    navigation = re.findall(r"\b([\w-]+\.md)", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    assert sorted(navigation) == sorted(page.name for page in (ROOT / "docs").glob("*.md"))
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    examples = [path.relative_to(ROOT / "examples") for path in (ROOT / "examples").rglob("*.*")]
    runs = [str(path) for path in examples if path.suffix in (".py", ".ipynb", ".yml", ".toml")]
    assert [name for name in runs if f"examples/{name}" not in readme and not name.startswith("attack_table")] == []
    assert "examples/attack_table.py" in readme
