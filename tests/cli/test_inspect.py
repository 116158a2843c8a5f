"""``dpaudit inspect``: exit codes and what it prints."""

import json
import re
from html import unescape

import numpy as np
import pytest
from typer.testing import CliRunner

from dpaudit.accounting.claim import GaussianSteps, Poisson
from dpaudit.accounting.gaussian import gaussian_epsilon
from dpaudit.cli import app
from dpaudit.inspection.recorded import RecordedBatches
from dpaudit.inspection.step_trace import write_steps
from dpaudit.runtime.errors import InputError
from dpaudit.trace import DpClaim, Manifest, TraceWriter

RIGHT = """
import numpy as np
from dpaudit.self_test.faults.dp_sgd import BreakableDpSgd, no_clip

def right():
    return BreakableDpSgd(clip_norm=2.0, seed=np.random.SeedSequence().entropy % 2**32).mechanism()

def broken():
    return BreakableDpSgd(clip_norm=2.0, clip=no_clip).mechanism()

def server():
    from dpaudit.self_test.faults import federated
    return federated.server(2)

def drop_outs():
    from dpaudit.self_test.faults import federated
    return federated.server(2, divide_by_present=True)

def number():
    return 3

def wrong():
    raise RuntimeError("Model needs to be in training mode\\nand more")

value = 3
"""


@pytest.fixture
def factory(tmp_path):
    path = tmp_path / "factory.py"
    path.write_text(RIGHT)
    return path


def inspect(factory, name, *more):
    arguments = ["inspect", f"{factory}:{name}", "--clip", "2", "--noise-multiplier", "1", "--denominator", "32"]
    return CliRunner().invoke(app, [*arguments, *more])


@pytest.mark.long
def test_a_right_mechanism_exits_0(factory):
    """Level 1e-6."""
    assert inspect(factory, "right").exit_code == 0


@pytest.mark.long
def test_its_json_is_read_by_everybody(factory):
    """RFC 8259 has no infinity: with no clip the true ε is the string that result.json has for it."""
    found = inspect(factory, "broken", "--json")
    document = json.loads(found.stdout, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert document["findings"][0]["true_epsilon"] == "Infinity"


@pytest.mark.long
def test_a_broken_one_exits_1_and_says_why(factory):
    """The finding names the check, the true ε and the remedy."""
    found = inspect(factory, "broken", "--json")
    assert found.exit_code == 1
    document = json.loads(found.stdout)
    assert document["findings"][0]["check"] == "sensitivity"
    assert document["claimed_epsilon"] == pytest.approx(4.377, abs=1e-3)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("rigth", "Did you mean 'right'"),
        ("number", "got int"),
        ("value", "must be a function without arguments"),
        ("wrong", "wrong raised RuntimeError: Model needs to be in training mode"),
    ],
)
def test_what_is_no_factory_is_refused(factory, name, message):
    """One line that says what is wrong; the exit code 2 is the entry point's."""
    found = inspect(factory, name)
    assert isinstance(found.exception, InputError)
    assert message in str(found.exception)
    assert "\n" not in str(found.exception)


@pytest.mark.tf
def test_a_keras_model_is_told_how_it_is_inspected(tmp_path):
    """It is callable, and no function of gradients."""
    path = tmp_path / "model.py"
    path.write_text(
        "from dpaudit.runtime.tensorflow import keras\n\n"
        "def net():\n    return keras.Sequential([keras.layers.Dense(1)])\n"
    )
    found = inspect(path, "net")
    assert isinstance(found.exception, InputError)
    assert "returns a Keras model" in str(found.exception)
    assert "dpaudit.inspection.keras_optimizer.model" in str(found.exception)


@pytest.mark.tf
def test_canary_clients_of_a_server(factory):
    """``--canary-steps``: rounds of a server with canaries behind coins; 300 rounds at level 1e-6, fixed seed."""
    words = ["--clip", "1", "--noise-multiplier", "1", "--denominator", "32", "--rate", "0.05", "--steps", "100"]
    words += ["--canary-steps", "300"]
    right = CliRunner().invoke(app, ["inspect", f"{factory}:server", *words])
    assert right.exit_code == 0
    assert "coins guessed in 300 steps" in right.stdout
    wrong = CliRunner().invoke(app, ["inspect", f"{factory}:drop_outs", *words, "--json"])
    assert wrong.exit_code == 1
    document = json.loads(wrong.stdout)
    assert {finding["rung"] for finding in document["findings"]} == {1, 2}
    assert document["step_canaries"]["bound"]["unit"] == "user"
    assert document["step_canaries"]["bound"]["epsilon"] > document["claimed_epsilon"]


@pytest.mark.tf
def test_canary_gradients_of_a_mechanism(factory):
    """The same for any mechanism: 100 steps of 32 canaries; the truth is ε = 4.377, level 5 %."""
    found = inspect(factory, "broken", "--canary-steps", "100", "--json")
    document = json.loads(found.stdout)
    assert "step canaries" in {finding["check"] for finding in document["findings"]}
    assert inspect(factory, "right", "--canary-steps", "100").exit_code == 0


def trace(folder, claimed):
    """Twelve Gaussian releases of twenty clients with full participation, noise multiplier 1, and the ε it claims."""
    rng = np.random.default_rng(7)
    claim = DpClaim(
        epsilon=claimed, delta=1e-5, clip=0.5, noise_multiplier=1.0, sampler="all", clients=20, of=20, rounds=12
    )
    model = [np.zeros(200)]
    with TraceWriter(folder, Manifest(weight_names=["w"], shapes=[(200,)], framework="test", dp_claim=claim)) as writer:
        for _ in range(12):
            after = [model[0] + rng.normal(0, 0.5, 200) / 20]
            writer.round(before=model, after=after, clip=0.5, replies=20)
            model = after
    return str(folder)


def test_a_trace_is_held_against_its_own_claim(tmp_path):
    """Twelve releases at noise multiplier 1 are 20.3-DP (closed form): that is consistent, 3 is not."""
    truth = gaussian_epsilon(12**0.5, 1e-5)
    right = CliRunner().invoke(app, ["inspect", trace(tmp_path / "right", truth)])
    assert right.exit_code == 0
    assert "12 rounds of test" in right.stdout
    assert "not checked: realised noise: the manifest does not state the server's step" in right.stdout
    # The headline says so too: this is not all clear.
    assert "(not checked: realised noise)" in " ".join(right.stdout.split())
    assert "the other checks" in right.stdout
    wrong = CliRunner().invoke(app, ["inspect", trace(tmp_path / "wrong", 3.0), "--json"])
    assert wrong.exit_code == 1
    assert [each["check"] for each in json.loads(wrong.stdout)["not_checked"]] == ["realised noise"]
    (finding,) = json.loads(wrong.stdout)["findings"]
    assert finding["check"] == "claimed ε"
    assert finding["true_epsilon"] == pytest.approx(truth, rel=1e-6)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["{trace}", "--clip", "1"], "--clip is for a mechanism"),
        (["{empty}"], "cannot read .*manifest.json"),
        (["{trace}/manifest.json", "--steps", "3"], "--steps is for a mechanism"),
        (["{trace}", "--largest-batch", "3"], "--largest-batch is for a trace of steps"),
        (["{factory}:right", "--largest-batch", "3"], "--largest-batch is for a trace of steps"),
        (["{factory}:right"], "--clip is needed for a mechanism"),
        (["{factory}:right", "--clip", "1"], "--noise-multiplier is needed for a mechanism"),
    ],
)
def test_what_is_for_the_other_kind_of_subject_is_refused(tmp_path, factory, words, message):
    """One line says which option belongs to what."""
    (tmp_path / "empty").mkdir()
    places = {"trace": trace(tmp_path / "t", 3.0), "empty": str(tmp_path / "empty"), "factory": str(factory)}
    found = CliRunner().invoke(app, ["inspect", *(word.format(**places) for word in words)])
    assert isinstance(found.exception, InputError)
    assert re.search(message, str(found.exception))


def test_a_page_and_json_of_an_inspection(factory, tmp_path):
    """``--out`` writes both; the page shows each finding and what would have been found, and loads nothing."""
    found = inspect(factory, "broken", "--out", str(tmp_path / "out"), "--effort", "0.1")
    assert found.exit_code == 1
    document = json.loads((tmp_path / "out" / "inspection.json").read_text())
    page = unescape((tmp_path / "out" / "inspection.html").read_text())
    for finding in document["findings"]:
        assert finding["remedy"] in page
    assert all(sight["kind"] in page for sight in document["sights"])
    assert "default-src 'none'" in page
    assert document["interval"][0] <= document["noise_multiplier"] <= document["interval"][1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--budget", "soon"], "--budget must be a time such as 90s"),
        (["--law", "gauss"], "a law of noise is gaussian"),
        (["--law", "laplace", "--canary-steps", "5"], "--canary-steps measures Gaussian noise only"),
        (["--effort", "0"], "effort must be above 0"),
        (["--fixed-batches"], "state replace-one or zero-out adjacency"),
    ],
)
def test_what_cannot_be_asked_is_refused(factory, words, message):
    """One line that names the option."""
    found = inspect(factory, "right", *words)
    assert isinstance(found.exception, InputError)
    assert message in str(found.exception)


def test_a_trace_of_steps_is_held_against_what_was_accounted(tmp_path):
    """Poisson batches as accounted exit 0 (level 1e-6), shuffled ones 1; the claim is in the file or is typed."""
    rng = np.random.default_rng(0)
    poisson = [np.flatnonzero(rng.random(400) < 0.1) for _ in range(200)]
    shuffled = [part for _ in range(20) for part in np.array_split(rng.permutation(400), 10)]
    told = GaussianSteps(1.0, 200, Poisson(0.1))
    write_steps(tmp_path / "right.npz", RecordedBatches(400, poisson), told)
    write_steps(tmp_path / "wrong.npz", RecordedBatches(400, shuffled))

    def run(*words):
        return CliRunner().invoke(app, ["inspect", *words])

    assert run(f"{tmp_path}/right.npz").exit_code == 0
    cut = run(f"{tmp_path}/right.npz", "--largest-batch", "40", "--json")
    assert cut.exit_code == 1
    assert json.loads(cut.stdout)["findings"][0]["expected"] == "at most 40"
    typed = [f"{tmp_path}/wrong.npz", "--noise-multiplier", "1", "--rate", "0.1"]
    found = run(*typed, "--json")
    assert found.exit_code == 1
    document = json.loads(found.stdout)
    assert [each["check"] for each in document["findings"]] == ["sampler"]
    assert (document["steps"], document["records"], document["level"]) == (200, 400, 1e-6)
    assert "200 steps on 400 records, accounted as noise multiplier 1" in run(*typed).stdout
    assert "200 updates" in run(f"{tmp_path}/right.npz", "--steps", "150").stdout
    for words, message in (
        (typed[:1], "--noise-multiplier is needed"),
        (typed[:3], "--rate is needed"),
        ([*typed, "--clip", "1"], "--clip is for a mechanism only"),
        ([f"{tmp_path}/none.npz"], "no such file"),
    ):
        with pytest.raises(InputError, match=message):
            raise run(*words).exception


@pytest.mark.long
def test_starts_compare_new_processes(tmp_path):
    """A seed of 4 bits repeats among 17 starts; without --starts the page says that this was not asked."""
    path = tmp_path / "program.py"
    path.write_text(
        "import secrets\nfrom dpaudit.inspection.mechanism import Mechanism\n"
        "from dpaudit.self_test.faults.dp_sgd import BreakableDpSgd\n"
        "def build():\n    return Mechanism(BreakableDpSgd(seed=secrets.randbits(4)))\n"
    )
    command = ["inspect", f"{path}:build", "--clip", "2", "--noise-multiplier", "1", "--denominator", "32", "--json"]
    quiet = CliRunner().invoke(app, command)
    assert quiet.exit_code == 0
    assert "--starts 1000" in quiet.stdout
    started = CliRunner().invoke(app, [*command, "--starts", "17"])
    assert started.exit_code == 1
    assert [finding["check"] for finding in json.loads(started.stdout)["findings"]] == ["frozen seed"]
