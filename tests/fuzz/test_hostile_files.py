"""Files that are wrong in every way: exit 2 with one line, or a valid result; never a traceback, never a silent pass.

The suite takes a short walk; ``make fuzz`` takes ten thousand cases of each kind (DPAUDIT_FUZZ sets the number).
"""

import contextlib
import copy
import io
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import tomli_w
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.main import get_command

from dpaudit.audits.plan import load_plan
from dpaudit.cli import app, main
from dpaudit.reports.markdown import result_as_markdown
from dpaudit.results.result import load_result
from dpaudit.runtime.errors import InputError
from dpaudit.trace import inspect_trace
from tests.fuzz import whole

CASES = int(os.environ.get("DPAUDIT_FUZZ", "15"))
# Of a whole result, which a failing case would print; the code to replay it is printed beside.
pytestmark = pytest.mark.filterwarnings("ignore:Generating overly large repr")
walk = settings(
    max_examples=CASES,
    deadline=None,
    derandomize="DPAUDIT_FUZZ" not in os.environ,
    database=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
)
drawn = settings(walk, max_examples=max(CASES // 10, 5))
FOLDER = Path(tempfile.mkdtemp(prefix="fuzz-"))
COMMANDS = get_command(app)
RESULT, CLAIMS, PLANS, TRACE = whole.result(), whole.claims(), whole.plans(), whole.trace()
DEMO = next(plan for plan in PLANS if plan["name"] == "digits")

TEXTS = st.one_of(
    st.text(max_size=30),
    st.sampled_from(
        ["<script>alert(1)</script>", "../../etc/passwd", "\x1b[31m", "a\nb", "\u202e", "x" * 10_000, "=1+1"]
    ),
)
NUMBERS = st.one_of(
    st.integers(),
    st.floats(),
    st.sampled_from([0, -1, 1, 10**400, 2**63, -(2**63), 1e308, 5e-324, float("nan"), float("inf")]),
)
SCALARS = st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=3)),
    max_leaves=6,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a tree."""
    inside = value.items() if isinstance(value, dict) else enumerate(value[:3]) if isinstance(value, list) else ()
    return [path, *(place for key, child in inside for place in places(child, (*path, key)))]


@st.composite
def mutated(draw: st.DrawFn, tree: Any) -> Any:
    """The tree with a few of its places replaced, removed or added to."""
    damaged = copy.deepcopy(tree)
    for _ in range(draw(st.integers(1, 3))):
        where = draw(st.sampled_from(places(damaged)))
        if not where:
            continue
        parent = damaged
        for step in where[:-1]:
            parent = parent[step]
        match draw(st.sampled_from(["replace", "remove", "add"])):
            case "replace":
                parent[where[-1]] = draw(VALUES)
            case "remove":
                del parent[where[-1]]
            case _ if isinstance(parent, dict):
                parent[draw(TEXTS)] = draw(VALUES)
            case _:
                parent.insert(0, draw(VALUES))
    return damaged


def toml(tree: Any) -> str:
    """TOML of a tree; what TOML cannot say (nothing, whole numbers of 400 digits) is left out."""

    def clean(value: Any) -> Any:
        if isinstance(value, dict):
            return {str(key): clean(child) for key, child in value.items() if child is not None}
        if isinstance(value, list):
            return [clean(child) for child in value if child is not None]
        return value

    return tomli_w.dumps(clean(tree))


def write(name: str, content: str | bytes) -> Path:
    """A file in the folder of this walk."""
    path = FOLDER / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
    return path


def command(*arguments: object) -> int:
    """The exit code of a command; anything but 0 to 3 with at most one line of complaint fails the test."""
    out, complaint = io.StringIO(), io.StringIO()
    before, sys.argv = sys.argv, ["dpaudit", *map(str, arguments)]
    try:
        with (
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(complaint),
            mock.patch("dpaudit.cli.app", COMMANDS),  # parsed once: it takes longer than most commands here
            pytest.raises(SystemExit) as caught,
        ):
            main()
    finally:
        sys.argv = before
    code = caught.value.code
    said = complaint.getvalue()
    assert code in (0, 1, 2, 3), said
    assert len(said.strip().splitlines()) == (1 if code == 2 else 0), said
    assert "\x1b" not in said
    assert isinstance(code, int)
    return code


@walk
@given(st.one_of(*(mutated(plan).map(toml) for plan in PLANS), st.text(), st.binary()))
@pytest.mark.long
def test_plans(content: str | bytes) -> None:
    """A plan is understood whole, or refused in one line."""
    with contextlib.suppress(InputError):
        load_plan(write("plan.toml", content))


@walk
@given(st.one_of(mutated(CLAIMS).map(toml), st.text(), st.binary()))
def test_claims(content: str | bytes) -> None:
    """Claims are judged, or refused in one line: an empty or unreadable file never passes."""
    result = write("result.json", json.dumps(RESULT))
    claims = write("claims.toml", content)
    command("verify", result, "--claims", claims, "--baseline", result, "--junit", FOLDER / "j.xml")


RESULTS = st.one_of(mutated(RESULT).map(json.dumps), st.text(), st.binary())


@walk
@given(RESULTS)
def test_results(content: str | bytes) -> None:
    """A result from anywhere is judged, or refused in one line."""
    result = write("result.json", content)
    before = write("before.json", json.dumps(RESULT))
    claims = write("claims.toml", toml(CLAIMS))
    summary = FOLDER / "summary.md"
    summary.unlink(missing_ok=True)
    command(
        "verify", result, "--claims", claims, "--baseline", before, "--junit", FOLDER / "j.xml", "--markdown", summary
    )


@drawn
@given(RESULTS)
@pytest.mark.long
def test_reports(content: str | bytes) -> None:
    """A result from anywhere is drawn, or refused in one line. Figures take a second: a tenth of the cases."""
    result = write("result.json", content)
    command("report", result, "--out", FOLDER / "drawn", "--baseline", write("before.json", json.dumps(RESULT)))
    with contextlib.suppress(InputError):
        loaded = load_result(result)
        assert "| --- |" in result_as_markdown(loaded)
        assert "<table>" in loaded._repr_html_()


def test_a_gradient_experiment_without_attacks_is_refused() -> None:
    """What the walk found: nothing can be drawn of it, and no audit writes it."""
    empty = copy.deepcopy(RESULT)
    empty["gradient"]["cells"] = []
    with pytest.raises(InputError, match="gradient"):
        load_result(write("result.json", json.dumps(empty)))


@walk
@given(
    st.one_of(
        st.lists(st.tuples(SCALARS, SCALARS), max_size=6).map(
            lambda rows: "score,member\n" + "\n".join(f"{a},{b}" for a, b in rows)
        ),
        st.text(),
        st.binary(),
    )
)
def test_score_tables(content: str | bytes) -> None:
    """A table of scores is audited, or refused in one line."""
    command("score", write("scores.csv", content), "--epsilon", "1.0")


GOOD_NPZ = whole.archive(score=np.arange(40.0), member=np.arange(40) % 2)


@st.composite
def broken(draw: st.DrawFn, content: bytes) -> bytes:
    """A file cut short or with some bytes changed."""
    damaged = bytearray(content[: draw(st.one_of(st.just(len(content)), st.integers(0, len(content))))])
    for _ in range(draw(st.integers(0, 8))):
        if damaged:
            damaged[draw(st.integers(0, len(damaged) - 1))] = draw(st.integers(0, 255))
    return bytes(damaged)


@walk
@given(st.one_of(broken(GOOD_NPZ), st.binary()))
def test_score_archives(content: bytes) -> None:
    """An NPZ file is audited, or refused in one line."""
    command("score", write("scores.npz", content), "--epsilon", "1.0")


ARRAYS = ("before_0", "after_1", "update0_0", "weights", "clip", "replies", "clients", "canaries")
MANIFEST = json.loads(TRACE["manifest.json"])


@st.composite
def strange_round(draw: st.DrawFn) -> bytes:
    """A round whose arrays are whole, with one of them replaced by what does not belong there."""
    with np.load(io.BytesIO(TRACE["r0001.npz"]), allow_pickle=False) as stored:
        arrays = dict(stored)
    shape = draw(st.sampled_from([(), (0,), (2,), (3, 2), (1, 1, 1)]))
    kind = draw(st.sampled_from(["f8", "i8", "c16", "?", "U4", "M8[s]"]))
    with contextlib.suppress(TypeError, ValueError, OverflowError), np.errstate(all="ignore"):
        arrays[draw(st.sampled_from(ARRAYS))] = np.full(shape, draw(NUMBERS)).astype(kind)
    return whole.archive(**arrays)


@walk
@given(
    st.one_of(mutated(MANIFEST).map(json.dumps), st.just(TRACE["manifest.json"]), st.text(), st.binary()),
    st.one_of(st.just(TRACE["r0001.npz"]), broken(TRACE["r0001.npz"]), strange_round(), st.binary()),
)
def test_traces(manifest: str | bytes, last_round: bytes) -> None:
    """A trace of somebody else's federation is inspected, or refused in one line."""
    (FOLDER / "trace").mkdir(exist_ok=True)
    write("trace/manifest.json", manifest)
    write("trace/r0000.npz", TRACE["r0000.npz"])
    write("trace/r0001.npz", last_round)
    with contextlib.suppress(InputError):
        for finding in inspect_trace(FOLDER / "trace"):
            assert finding.severity in ("violation", "warning")


KEYS = st.sampled_from(["audit.delta", "model.no-dp.epochs", "seed", "data", "model.no-dp", "membership.attacks", ""])


@walk
@given(st.one_of(KEYS, TEXTS), st.one_of(SCALARS, VALUES.map(str)))
def test_overrides(key: str, value: Any) -> None:
    """What follows --set is understood or refused in one line."""
    path = write("plan.toml", toml(DEMO))
    with contextlib.suppress(InputError):
        load_plan(path, [f"{key}={value}"])


@pytest.mark.long
def test_walk_starts_from_what_works() -> None:
    """Unharmed, every file here is accepted: the walk leads away from something valid."""
    result = write("result.json", json.dumps(RESULT))
    assert load_result(result).outcomes.__len__() == 5
    assert [load_plan(write("plan.toml", toml(plan))).name for plan in PLANS] == [plan["name"] for plan in PLANS]
    assert command("verify", result, "--claims", write("claims.toml", toml(CLAIMS)), "--baseline", result) in (0, 1)
    assert command("score", write("scores.npz", GOOD_NPZ), "--epsilon", "0.1") in (0, 1)
    (FOLDER / "good").mkdir()
    for name, content in TRACE.items():
        write(f"good/{name}", content)
    inspect_trace(FOLDER / "good")
