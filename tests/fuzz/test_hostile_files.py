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

import numpy as np
import pytest
import tomli_w
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dpaudit.cli import main
from dpaudit.errors import InputError
from dpaudit.plan import load_plan
from dpaudit.result import result_from_json
from tests.audits import DELTA, gaussian_audit

CASES = int(os.environ.get("DPAUDIT_FUZZ", "15"))
walk = settings(
    max_examples=CASES,
    deadline=None,
    derandomize="DPAUDIT_FUZZ" not in os.environ,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
)
FOLDER = Path(tempfile.mkdtemp(prefix="fuzz-"))
RESULT = json.loads(gaussian_audit(1.0, seed=1, records=300, attacks=2).json())
CLAIMS: dict[str, Any] = {
    "schema": 1,
    "confidence": 0.8,
    "claim": [
        {"id": "a", "kind": "epsilon", "model": "model", "epsilon": 2.0, "delta": DELTA, "unit": "record",
         "adjacency": "add-remove", "sampling": "poisson"},
        {"id": "b", "kind": "ceiling", "metric": "tpr@fpr=0.01", "attack": "attack-0", "max": 0.5},
        {"id": "c", "kind": "no-growth", "metric": "auc", "tolerance": 0.1},
        {"id": "d", "kind": "ceiling", "metric": "advantage", "max": 0.5},
    ],
}  # fmt: skip
PLAN: dict[str, Any] = {
    "schema": 1,
    "name": "p",
    "seed": 1,
    "data": {"source": "digits", "population": 0.2},
    "architecture": {"kind": "mlp", "hidden": [4]},
    "audit": {"delta": 1e-5, "confidence": 0.95, "design": "one-run"},
    "model": [{"name": "m", "trainer": "sgd", "epochs": 1, "batch_size": 8, "learning_rate": 0.1}],
    "membership": {"attacks": ["loss", {"name": "attack-p"}]},
}

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
@given(st.one_of(mutated(PLAN).map(toml), st.text().map(lambda text: text), st.binary()))
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


@walk
@given(st.one_of(mutated(RESULT).map(json.dumps), st.text(), st.binary()))
def test_results(content: str | bytes) -> None:
    """A result from anywhere is judged and drawn, or refused in one line."""
    result = write("result.json", content)
    before = write("before.json", json.dumps(RESULT))
    claims = write("claims.toml", toml(CLAIMS))
    markdown = FOLDER / "summary.md"
    markdown.unlink(missing_ok=True)
    command(
        "verify", result, "--claims", claims, "--baseline", before, "--junit", FOLDER / "j.xml", "--markdown", markdown
    )
    command("report", result, "--out", FOLDER / "drawn")


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


def npz(scores: Any, member: Any) -> bytes:
    """An NPZ file of two arrays."""
    stream = io.BytesIO()
    np.savez(stream, score=np.asarray(scores), member=np.asarray(member))
    return stream.getvalue()


GOOD_NPZ = npz(np.arange(40.0), np.arange(40) % 2)


@st.composite
def broken_npz(draw: st.DrawFn) -> bytes:
    """An NPZ file cut short or with some bytes changed."""
    content = bytearray(GOOD_NPZ[: draw(st.integers(0, len(GOOD_NPZ)))])
    for _ in range(draw(st.integers(0, 8))):
        if content:
            content[draw(st.integers(0, len(content) - 1))] = draw(st.integers(0, 255))
    return bytes(content)


@walk
@given(st.one_of(broken_npz(), st.binary()))
def test_score_archives(content: bytes) -> None:
    """An NPZ file is audited, or refused in one line."""
    command("score", write("scores.npz", content), "--epsilon", "1.0")


@walk
@given(st.lists(NUMBERS, max_size=5), st.lists(SCALARS, max_size=5))
def test_overrides(numbers: list[Any], words: list[Any]) -> None:
    """What follows --set is understood or refused in one line."""
    path = write("plan.toml", toml(PLAN))
    for value in [*numbers, *words]:
        for key in ("audit.delta", "model.m.epochs", "seed", "data", "model.m", str(value)):
            with contextlib.suppress(InputError):
                load_plan(path, [f"{key}={value}"])


def test_walk_starts_from_what_works() -> None:
    """Unharmed, every file here is accepted: the walk leads away from something valid."""
    result = write("result.json", json.dumps(RESULT))
    assert result_from_json(json.dumps(RESULT), where="here").name == "model"
    assert load_plan(write("plan.toml", toml(PLAN))).name == "p"
    assert command("verify", result, "--claims", write("claims.toml", toml(CLAIMS)), "--baseline", result) in (0, 1)
    assert command("score", write("scores.npz", GOOD_NPZ), "--epsilon", "0.1") in (0, 1)
