"""Claims files: what is accepted, and the one line that says why the rest is not."""

from pathlib import Path
from typing import Any

import pytest

from dpaudit.accounting.claim import FixedSize, Poisson, Shuffled, TruncatedPoisson
from dpaudit.gate.claims_file import EpsilonClaim, MechanismClaim, claims_from, find_claims, load_claims, parse_metric
from dpaudit.runtime.errors import InputError

EPSILON = """
[[claim]]
id = "eps-3"
kind = "epsilon"
epsilon = 3.0
delta = 1e-5
unit = "record"
adjacency = "add-remove"
"""
IN_PYPROJECT = EPSILON.replace("[[claim]]", "[[tool.dpaudit.claim]]")


def test_claims_of_a_file(tmp_path: Path) -> None:
    """A file of its own, its result found relative to it."""
    path = tmp_path / "claims.toml"
    path.write_text('result = "runs/a/result.json"\n' + EPSILON)
    claims = load_claims(path)
    assert claims.result == str(tmp_path / "runs/a/result.json")
    [claim] = claims.claim
    assert isinstance(claim, EpsilonClaim)
    assert claim.claim().epsilon == 3.0


def test_claims_of_a_pyproject(tmp_path: Path) -> None:
    """The same table lives in a project's pyproject.toml, among the other tools."""
    path = tmp_path / "pyproject.toml"
    path.write_text('[tool.ruff]\nline-length = 100\n[tool.dpaudit]\nbaseline = "old.json"\n' + IN_PYPROJECT)
    assert find_claims(tmp_path) == path
    assert load_claims(path).baseline == str(tmp_path / "old.json")


def test_own_file_goes_before_pyproject(tmp_path: Path) -> None:
    """claims.toml wins; a pyproject.toml without claims does not count; with neither the message says what to do."""
    with pytest.raises(InputError, match="give --claims FILE"):
        find_claims(tmp_path)
    (tmp_path / "pyproject.toml").write_text("[project]\n")
    with pytest.raises(InputError, match="give --claims FILE"):
        find_claims(tmp_path)
    (tmp_path / "claims.toml").write_text(EPSILON)
    assert find_claims(tmp_path).name == "claims.toml"


@pytest.mark.parametrize(
    ("parameters", "sampling"),
    [
        ({"sampling": "poisson", "rate": 0.1}, Poisson(0.1)),
        (
            {"sampling": "truncated-poisson", "rate": 0.1, "largest_batch": 7, "records": 50},
            TruncatedPoisson(0.1, 7, 50),
        ),
        ({"sampling": "fixed-size", "batch_size": 5, "records": 50}, FixedSize(5, 50)),
        ({"sampling": "shuffled", "batches_per_epoch": 10}, Shuffled(10)),
    ],
)
def test_mechanisms(parameters: Any, sampling: Any) -> None:
    """Every sampling the accountant knows can be claimed, each with its own parameters."""
    table = {"id": "m", "kind": "mechanism", "noise_multiplier": 1.0, "steps": 3, "delta": 1e-5}
    [claim] = claims_from({"claim": [{**table, **parameters, "unit": "user", "adjacency": "zero-out"}]}).claim
    assert isinstance(claim, MechanismClaim)
    assert claim.mechanism().sampling == sampling


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "claim: this key is missing"),
        ("claim = []", "claim: list should have at least 1 item"),
        ("claim = 3", "claim: input should be a valid array"),
        (EPSILON.replace("epsilon = 3.0", "epsilom = 3.0"), "epsilom: this key is not known.*Did you mean 'epsilon'"),
        (EPSILON.replace("3.0", '"3"'), r"claim.0.epsilon.epsilon: input should be a valid number, got '3'"),
        (EPSILON.replace("3.0", "nan"), "epsilon: input should be"),
        (EPSILON.replace("3.0", "inf"), "epsilon: input should be"),
        (EPSILON.replace("1e-5", "1.0"), "delta: input should be less than 1"),
        (EPSILON.replace("record", "example"), "unit: input should be 'record' or 'user', got 'example'"),
        (EPSILON.replace('unit = "record"\n', ""), "unit: this key is missing"),
        (EPSILON + EPSILON, "two claims have the id 'eps-3'"),
        (EPSILON.replace('"epsilon"', '"epsilom"'), "does not match any of the expected tags"),
        ("confidence = 1.0\n" + EPSILON, "confidence: input should be less than 1"),
        ('[[claim]]\nid="a"\nkind="ceiling"\nmetric="acu"\nmax=0.6', "Did you mean 'auc'"),
        ('[[claim]]\nid="a"\nkind="ceiling"\nmetric="tpr@fpr=x"\nmax=0.6', "must be a number, got 'x'"),
        ('[[claim]]\nid="a"\nkind="ceiling"\nmetric="auc"\nmax=1.6', "max: input should be less than or equal to 1"),
        ("claim = ", "is not valid TOML"),
        ("schema = 2\n" + EPSILON, "schema: input should be 1, got 2"),
    ],
)
def test_bad_files_are_refused_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    """Where, what and what would be right, in one line."""
    path = tmp_path / "claims.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        load_claims(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_metric_names() -> None:
    """A TPR says at which FPR."""
    assert parse_metric("tpr@fpr=1e-3") == ("tpr", 1e-3)
    for bad in ("tpr", "tpr@fpr=0", "tpr@fpr=1", "auc@fpr=0.1", ""):
        with pytest.raises(InputError, match="metric"):
            parse_metric(bad)


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({"metric": "reconstruction", "model": "m"}, "metric 'reconstruction' takes no model"),
        ({"metric": "reconstruction", "attack": "dense"}, "metric 'reconstruction' takes no attack"),
        ({"metric": "auc", "release": "*"}, "metric 'auc' takes no release"),
        ({"metric": "reconstructoin"}, "Did you mean 'reconstruction'"),
    ],
)
def test_reconstruction_is_about_releases(extra: Any, message: str) -> None:
    """It names no model and no attack; every other metric names no release."""
    with pytest.raises(InputError, match=message):
        claims_from({"claim": [{"id": "a", "kind": "ceiling", "max": 0.1, **extra}]})
