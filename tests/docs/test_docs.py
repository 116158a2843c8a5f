"""What the documentation tells people to type works, and the guides can be followed literally."""

import contextlib
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from typer.main import get_command

import dpaudit
from dpaudit import registry
from dpaudit.cli import app
from dpaudit.plan import parse_toml
from dpaudit.scores import Scores
from dpaudit.signals import Signals
from tests.audits import gaussian_audit
from tests.fuzz import whole
from tests.plugin import LOAD

ROOT = Path(__file__).parent.parent.parent
PAGES = [*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md"]
RUN = ["index", "any_framework", "gate"]


class Block(NamedTuple):
    """A fenced block: its language, its title, its text."""

    language: str
    title: str
    text: str


def blocks(page: str) -> list[Block]:
    """Fenced blocks of a page of the documentation."""
    text = (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")
    found = re.findall(r'^```(\w+)(?: title="([^"]*)")?\n(.*?)^```', text, flags=re.S | re.M)
    return [Block(*each) for each in found]


def typed(line: str, cwd: Path) -> int:
    """Exit code of a line as it is typed."""
    command = get_command(app)
    assert line.startswith("dpaudit ")
    with inside(cwd):
        code = command.main(shlex.split(line)[1:], standalone_mode=False)
    return code if isinstance(code, int) else 0


@contextlib.contextmanager
def inside(folder: Path) -> Iterator[None]:
    """Work in a folder; `contextlib.chdir` is of Python 3.11."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


@pytest.mark.parametrize("page", RUN)
def test_every_block_of_a_page_runs(page: str, tmp_path: Path) -> None:
    """Python in one namespace, files written as they stand, commands with exit code 0; from top to bottom."""
    for name, mu, seed in (("result", 0.3, 1), ("before", 0.3, 2), ("noise-off", 4.0, 3)):
        audit = gaussian_audit(mu, seed=seed, records=3000, name=name)
        (tmp_path / f"{name}.json").write_text(audit.json())
    namespace: dict[str, Any] = {"__name__": "page"}
    ran = 0
    for block in blocks(page):
        if block.title:
            (tmp_path / block.title).write_text(block.text)
        elif block.language == "python":
            with inside(tmp_path):
                exec(compile(block.text, page, "exec"), namespace)
            ran += 1
        elif block.language == "sh":
            for line in block.text.strip().splitlines():
                assert typed(line, tmp_path) == 0, line
                ran += 1
    assert ran > 0
    if (tmp_path / "test_privacy.py").exists():
        words = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            *LOAD,
            "-p",
            "no:cacheprovider",
            "test_privacy.py",
        ]
        done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout


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


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_files_a_page_names_are_there(page: Path) -> None:
    """Every link to a file, and every example and benchmark in code, exists."""
    text = page.read_text(encoding="utf-8")
    links = re.findall(r"\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)", text)
    missing = [link for link in links if not (page.parent / link).exists()]
    named = re.findall(r"\b((?:examples|benchmarks)/[\w/-]+\.\w+)", text)
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


# They train or take minutes; tests/cli and tests/test_selftest.py run them.
ELSEWHERE = ("run", "attack --model", "selftest")
NO_DP = "def NAME():\n    return lambda gradients: [gradient.sum(axis=0) for gradient in gradients]\n"


def test_every_job_of_the_readme_is_done_as_it_is_typed(tmp_path: Path) -> None:
    """The commands of its table, on files of the names that stand there. A bare sum is not private."""
    rng = np.random.default_rng(1)
    audit = gaussian_audit(0.3, seed=1, records=3000)
    for name in ("RESULT.json", "A", "B", "FOLDER/result.json", "runs/digits/result.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(audit.json())
    (tmp_path / "CLAIMS.toml").write_text('[[claim]]\nid = "a"\nkind = "ceiling"\nmetric = "auc"\nmax = 0.9\n')
    rows = "".join(f"{x},{i % 2}\n" for i, x in enumerate(rng.normal(size=400)))
    (tmp_path / "SCORES.csv").write_text("score,member\n" + rows)
    for name in ("IN.csv", "OUT.csv"):
        shares = rng.dirichlet([1, 1], 200)
        (tmp_path / name).write_text("no,yes,label\n" + "".join(f"{p},{1 - p},0\n" for p in shares[:, 0]))
    (tmp_path / "FILE.py").write_text(NO_DP)
    (tmp_path / "TRACE").mkdir()
    for name, content in whole.trace(epsilon=50.0).items():
        (tmp_path / "TRACE" / name).write_bytes(content)
    table = (ROOT / "README.md").read_text().split("## The jobs")[1].split("##")[0]
    commands = [each for each in re.findall(r"`(dpaudit [^`]*)`", table) if not each[8:].startswith(ELSEWHERE)]
    assert len(commands) >= 12
    for line in commands:
        assert typed(line, tmp_path) == ("FILE.py" in line), line


def test_guide_to_adding_things_can_be_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The package of the guide, made from its blocks and nothing else, is found, listed, and runs a plan."""
    files: dict[str, str] = {}
    for block in blocks("adding"):
        if block.title:
            files[block.title] = files.get(block.title, "") + "\n\n" * (block.title in files) + block.text
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    project = parse_toml(files["pyproject.toml"], "pyproject.toml")["project"]
    installed = tmp_path / f"{project['name']}-{project['version']}.dist-info"  # what pip makes of the pyproject.toml
    installed.mkdir()
    (installed / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    groups = "".join(
        f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in table.items())
        for group, table in project["entry-points"].items()
    )
    (installed / "entry_points.txt").write_text(groups)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert [point.name for point in metadata.entry_points(group="dpaudit.membership") if point.value == "leaks:Margin"]

    attack = registry.build("membership", "margin", {"power": 2.0}, where="here")
    signals = Signals.from_logits([[3.0, 0.0], [0.0, 1.0], [0.5, 0.0]], [0, 0, 0])
    assert attack(signals).argsort().tolist() == [1, 2, 0]
    bound = registry.build("bounds", "hoeffding", {}, where="here")
    rng = np.random.default_rng(1)
    scores = Scores(rng.normal(1.5, 1, 4000), rng.normal(-1.5, 1, 4000))
    found = bound(scores, delta=1e-5, confidence=0.95, adjacency="add-remove", unit="record")
    assert 1 < found.epsilon < found.ceiling
    for line in next(block.text for block in blocks("adding") if block.language == "sh").strip().splitlines():
        assert typed(line, tmp_path) == 0, line
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert [each["version"] for each in result["membership"]["attacks"]] == ["loss/1", "margin/1"]
    assert result["models"][0]["trainer"] == "nearest-mean"


def script(name: str, *arguments: object) -> str:
    """What an example prints."""
    words = [sys.executable, str(ROOT / "examples" / name), *map(str, arguments)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_hello_scores(run_without_tensorflow: Any) -> None:
    """Fifteen lines without TensorFlow catch a broken promise."""
    text = (ROOT / "examples" / "hello_scores.py").read_text()
    assert len(text.splitlines()) <= 15
    assert "the promise does not hold" in run_without_tensorflow(text)


def test_estimator_and_predictions(tmp_path: Path) -> None:
    """A forest that memorises breaks a claim of 2; a file of predictions is enough for any other framework."""
    assert "the promise does not hold" in script("sklearn_estimator.py")
    rng = np.random.default_rng(1)
    labels, member = rng.integers(0, 3, 800), rng.random(800) < 0.5
    logits = rng.normal(size=(800, 3))
    logits[np.arange(800), labels] += np.where(member, 30.0, 0.0)
    np.savez(tmp_path / "p.npz", logits=logits, labels=labels, member=member)
    assert "promise" in script("pytorch_predictions.py", tmp_path / "p.npz")


@pytest.mark.tf
def test_tensorflow_privacy_with_three_lines() -> None:
    """The tutorial runs and ends with a verdict."""
    assert "promise" in script("dp_sgd_tutorial.py").lower()


def test_notebook_runs() -> None:
    """Its cells run from top to bottom; no kernel is needed for that."""
    notebook = json.loads((ROOT / "examples" / "audit.ipynb").read_text())
    namespace: dict[str, Any] = {}
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            exec(compile("".join(cell["source"]), "audit.ipynb", "exec"), namespace)
    assert namespace["result"].contradicted


@pytest.mark.parametrize("name", ["github.yml", "gitlab.yml"])
def test_workflows_name_commands_and_options_that_exist(name: str) -> None:
    """A workflow that was copied does not fail on a misspelt option."""
    known = get_command(app).commands  # type: ignore[attr-defined]
    text = (ROOT / "examples" / "ci" / name).read_text()
    lines = re.findall(r"dpaudit (run|verify)([^|#\n]*)", text)
    assert {command for command, _ in lines} == {"run", "verify"}
    for command, rest in lines:
        options = {option for parameter in known[command].params for option in parameter.opts}
        assert set(re.findall(r"--[a-z-]+", rest)) <= options
