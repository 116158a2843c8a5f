"""The pytest plugin, run in projects of its own, and the assertions it offers."""

import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from dpaudit.runtime.errors import InputError
from dpaudit.runtime.files import parse_toml
from dpaudit.testing import PrivacyViolation, assert_epsilon, assert_leakage, assert_private
from dpaudit.trace import DpClaim, Manifest, TraceWriter
from tests.small_audits import DELTA, claims, epsilon_claim, gaussian_audit

pytest_plugins = ["pytester"]

PLUGIN = ("-p", "dpaudit.testing")

CLAIMS = f"""
result = "result.json"
[[claim]]
id = "eps-2"
kind = "epsilon"
epsilon = 2.0
delta = {DELTA}
unit = "record"
adjacency = "add-remove"
[[claim]]
id = "auc-low"
kind = "ceiling"
metric = "auc"
max = 0.9
[[claim]]
id = "eps-20"
kind = "epsilon"
epsilon = 20.0
delta = {DELTA}
unit = "record"
adjacency = "add-remove"
"""


Run = Callable[..., pytest.RunResult]


@pytest.fixture(autouse=True)
def only_this_plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pytest forgets what is first imported in a project, and would import it for every project again."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    for name in ("gate.verify", "audits.run", "audits.trace.run"):
        import_module(f"dpaudit.{name}")
    for name in ("figure", "backends.backend_svg"):
        import_module(f"matplotlib.{name}")


@pytest.fixture
def project(pytester: pytest.Pytester) -> Run:
    """A project with a claims file on a quiet model; runs pytest in it."""
    (pytester.path / "result.json").write_text(gaussian_audit(0.3, seed=1, records=2000).json())
    (pytester.path / "leaky.json").write_text(gaussian_audit(3.0, seed=1, records=2000).json())
    (pytester.path / "model.claims.toml").write_text(CLAIMS)
    (pytester.path / "pytest.ini").write_text("[pytest]\naddopts = --strict-markers\n")

    def run(*arguments: str) -> pytest.RunResult:
        return pytester.runpytest_inprocess(*PLUGIN, "-p", "no:cacheprovider", "-rs", *arguments)

    return run


def test_plugin_is_registered() -> None:
    """Installing dpaudit is enough: the entry point names this module."""
    path = Path(__file__).parent.parent / "pyproject.toml"
    project = parse_toml(path.read_text(encoding="utf-8"), path)["project"]
    assert project["entry-points"]["pytest11"] == {"dpaudit": "dpaudit.testing"}


def test_each_claim_is_an_item(project: Run, pytester: pytest.Pytester) -> None:
    """Consistent claims pass, one too weak to judge is skipped and not passed; JUnit holds the evidence."""
    done = project("--junitxml=junit.xml")
    assert done.ret == 0, done.stdout.str()
    assert "2 passed, 1 skipped" in done.stdout.str()
    assert "too weak: The claim of" in done.stdout.str()
    cases = {case.get("name"): case for case in ElementTree.parse(pytester.path / "junit.xml").iter("testcase")}
    assert set(cases) == {"eps-2", "auc-low", "eps-20"}
    found = {each.get("name"): each.get("value") for each in cases["auc-low"].iter("property")}
    assert found["dpaudit.verdict"] == "consistent"


def test_power_can_be_required_and_items_chosen(project: Run) -> None:
    """--dpaudit-require-power turns the skip into a failure; -k picks claims."""
    done = project("--dpaudit-require-power")
    assert "1 failed, 2 passed" in done.stdout.str()
    assert "1 passed, 2 deselected" in project("-k", "eps-2 and not eps-20").stdout.str()


@pytest.mark.long
def test_contradicted_claim_fails_with_a_sentence(project: Run, pytester: pytest.Pytester) -> None:
    """The failure says what was claimed and what was measured, without a traceback; also under xdist."""
    (pytester.path / "model.claims.toml").write_text(CLAIMS.replace("result.json", "leaky.json"))
    done = project("-p", "xdist", "-n", "1")
    assert done.ret == 1
    assert "Claimed ε ≤ 2, measured ε ≥" in done.stdout.str()
    assert "Traceback" not in done.stdout.str()
    assert "2 failed, 1 skipped" in done.stdout.str()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (CLAIMS.replace("2.0", "-2.0"), "input should be greater than or equal to 0"),
        (CLAIMS.replace('result = "result.json"', ""), "must say which result it judges"),
    ],
)
@pytest.mark.long
def test_bad_claims_file_is_a_collection_error(
    project: Run, pytester: pytest.Pytester, text: str, message: str
) -> None:
    """A file that cannot be read never passes."""
    (pytester.path / "model.claims.toml").write_text(text)
    done = project()
    assert done.ret == 2
    assert message in done.stdout.str()


def test_negative_control(project: Run, pytester: pytest.Pytester) -> None:
    """The marked test passes when the leak is caught, fails when it is not, and hides no other error."""
    (pytester.path / "test_controls.py").write_text("""
import pytest
from pathlib import Path
from dpaudit import load_result
from dpaudit.testing import assert_epsilon

@pytest.mark.negative_control
def test_caught():
    assert_epsilon(load_result(Path("leaky.json")), at_most=2.0)

@pytest.mark.negative_control
def test_not_caught():
    assert_epsilon(load_result(Path("result.json")), at_most=2.0)

@pytest.mark.negative_control
def test_other_error():
    raise RuntimeError("broken")
""")
    done = project("test_controls.py")
    assert "2 failed, 1 passed" in done.stdout.str()
    assert "cannot see such a mechanism" in done.stdout.str()
    assert "RuntimeError: broken" in done.stdout.str()


def test_plugin_costs_nothing_where_it_is_not_used(pytester: pytest.Pytester) -> None:
    """Loading it imports no numpy, no pydantic, no TensorFlow: a project without claims notices nothing."""
    code = (
        "import sys, dpaudit.testing\n"
        "heavy = {'numpy', 'scipy', 'pandas', 'pydantic', 'tensorflow', 'matplotlib', 'sklearn', 'typer'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=pytester.path)
    assert done.stdout.strip() == "[]"


def test_assertions() -> None:
    """Each assertion passes on a quiet model and fails on a leaking one with the numbers in the message."""
    quiet, leaky = (gaussian_audit(mu, seed=1, records=2000) for mu in (0.3, 3.0))
    assert_epsilon(quiet, at_most=2.0)
    assert_leakage(quiet, "tpr@fpr=0.01", at_most=0.2)
    assert_private(quiet, claims(epsilon_claim(2.0)))
    with pytest.raises(PrivacyViolation, match="Claimed ε ≤ 2, measured ε ≥"):
        assert_epsilon(leaky, at_most=2.0)
    with pytest.raises(PrivacyViolation, match=r"all of it above the allowed 0\.2"):
        assert_leakage(leaky, "tpr@fpr=0.01", at_most=0.2)
    with pytest.raises(PrivacyViolation):
        assert_private(leaky, claims(epsilon_claim(2.0)))


def test_weak_audit_does_not_pass_unless_told_to() -> None:
    """Nothing found by an audit that could not have found it is no pass."""
    quiet = gaussian_audit(0.3, seed=1, records=200)
    with pytest.raises(AssertionError, match="too weak") as caught:
        assert_epsilon(quiet, at_most=20.0)
    assert not isinstance(caught.value, PrivacyViolation)
    assert_epsilon(quiet, at_most=20.0, when_weak="pass")
    with pytest.raises(InputError, match="when_weak must be one of"):
        assert_epsilon(quiet, at_most=20.0, when_weak="skip")  # type: ignore[arg-type]  # the point


@pytest.mark.long
def test_claims_a_result_records_can_be_asserted() -> None:
    """Without a claims file the claims of the result are judged anew; a result without any is refused."""
    from dpaudit.audits.score import audit_scores

    scores, member = list(range(400)), [0] * 200 + [1] * 200
    claimed = audit_scores(scores, member, epsilon=0.5, delta=DELTA)
    with pytest.raises(PrivacyViolation):
        assert_private(claimed)
    with pytest.raises(InputError, match="at least 1 item"):
        assert_private(audit_scores(scores, member, delta=DELTA))


@pytest.mark.long
def test_a_kept_result_is_of_the_files_as_they_are(pytester: pytest.Pytester) -> None:
    """An unchanged plan is not run again; when a file that it names has changed it is, and the new content decides."""
    claim = DpClaim(epsilon=30.0, delta=DELTA, clip=1.0, noise_multiplier=1.0, sampler="all", clients=4, of=4, rounds=2)
    rng, model = np.random.default_rng(0), np.zeros(50)
    with TraceWriter(
        pytester.path / "run", Manifest(weight_names=["w"], shapes=[(50,)], framework="test", dp_claim=claim)
    ) as writer:
        for _ in range(2):
            after = model + rng.normal(0, 1 / 4, 50)
            writer.round(before=[model], after=[after], clip=1.0, replies=4)
            model = after
    (pytester.path / "plan.toml").write_text('schema = 1\nname = "p"\nseed = 1\n[trace]\npath = "run"\n')
    (pytester.path / "pytest.ini").write_text("[pytest]\naddopts = --strict-markers\n")
    (pytester.path / "test_it.py").write_text("""
from pathlib import Path

def test_it(privacy_audit):
    result = privacy_audit("plan.toml")
    with Path("seen.txt").open("a") as stream:
        stream.write(f"{result.provenance.created} {result.contradicted}\\n")
""")
    manifest = pytester.path / "run" / "manifest.json"
    for text in (manifest.read_text(), manifest.read_text(), manifest.read_text().replace("30.0", "3.0")):
        manifest.write_text(text)
        assert pytester.runpytest_inprocess(*PLUGIN).ret == 0
    first, again, changed = (pytester.path / "seen.txt").read_text().splitlines()
    assert first == again
    assert first.endswith("False")
    assert changed.endswith("True")
