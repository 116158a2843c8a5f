"""Plans are typed to the last key; what is wrong is said in one line with the nearest right word."""

from pathlib import Path
from typing import Any

import pytest

from dpaudit.audits.plan import Plan, load_plan
from dpaudit.data.queries import Noise
from dpaudit.runtime.errors import InputError

EXAMPLE = Path(__file__).parents[2] / "examples" / "digits.toml"
TEXT = EXAMPLE.read_text()


def plan_with(tmp_path: Path, old: str, new: str) -> Plan:
    """The example with one piece of text replaced."""
    assert old in TEXT
    (tmp_path / "plan.toml").write_text(TEXT.replace(old, new, 1))
    return load_plan(tmp_path / "plan.toml")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "population = 0.2",
            "populaton = 0.2",
            r"data\.populaton: this key is not known; .* Did you mean 'population'\?",
        ),
        ("epochs = 60", "epohcs = 300", r"model 'no-dp': 'epohcs' is not known; .* Did you mean 'epochs'\?"),
        ("epochs = 60", 'epochs = "60"', r"model 'no-dp': epochs: .*valid integer, got '60'"),
        ("epochs = 60", "epochs = 0", r"model 'no-dp': epochs must be at least 1, got 0"),
        ('trainer = "sgd"', 'trainer = "sdg"', r"Did you mean 'sgd'\?"),
        ("[architecture]\nkind", "[architecture]\nkindd", r"architecture\.kind: this key is missing"),
        ("delta = 1e-5", "delta = 1.0", r"audit\.delta: .*less than 1, got 1\.0"),
        ("delta = 1e-5", "delta = -0.1", r"audit\.delta: .*got -0\.1"),
        ("delta = 1e-5", 'delta = "1e-5"', r"audit\.delta: .*valid number, got '1e-5'"),
        (
            "noise_multiplier = 0.6",
            "noise_multiplier = 0.6\nnum_microbatches = 7",
            r"num_microbatches must divide batch_size 50, got 7",
        ),
        ('"rmia"', '"rmai"', r"Did you mean 'rmia'\?"),
        ('attacks = ["loss"', 'attacks = [{name = "loss", gamma = 2}', r"attack 'loss': 'gamma' is not known"),
        ('name = "dp-low-noise"', 'name = "no-dp"', r"two models are called 'no-dp'"),
        ('name = "digits"', 'name = "../digits"', r"name: must be 1 to 64 letters"),
        ("seed = 20261123", "", r"seed: this key is missing"),
        ("schema = 1", "schema = 2", r"schema: .*got 2"),
        ("[membership]", "[membershipp]", r"membershipp: this key is not known; .* Did you mean 'membership'\?"),
        ("[membership]", "[membership]\ncheckpoints = [5, 5]", r"membership\.checkpoints: must rise"),
        ("[membership]", "[membership]\nqueries = [{kind = 'flop'}]", r"membership\.queries\.0: .*'flip'"),
        ("[membership]", "[membership]\nqueries = [{kind = 'noise', scale = 0.0}]", r"membership\.queries\.0.*scale"),
        ("schema = 1", "schema = ", r"is not valid TOML"),
        ("epochs = 60", "epochs = 60\nuntil_accuracy = nan", r"until_accuracy"),
        (
            "[membership]",
            "[federated]\ncanaries = {clients = 10}\n[membership]",
            r"trainer 'federated', and .* has none",
        ),
        (
            "rungs = [0, 2]",
            "rungs = [4]\nruns = 30\nstop_early = true",
            r"ladder: stop_early needs more runs than the 32 of its pilot, got 30",
        ),
        (
            "[membership]",
            "[prior]\nnoise_multipliers = [1.0]\nclaimed_noise = [1.0, 2.0]\n[membership]",
            r"prior: claimed_noise must have one value for each of the 1 noise_multipliers, got 2",
        ),
        ("[membership]", "[adapter]\nrank = 4\n[membership]", r"model 'no-dp': \[adapter\] .* give 'start'"),
        ("[membership]", "[adapter]\nrank = 0\n[membership]", r"adapter\.rank: .*greater than or equal to 1, got 0"),
        ("[membership]", "[adapter]\nrnk = 4\n[membership]", r"adapter\.rnk: .* Did you mean 'rank'"),
        (
            'kind = "mlp"',
            'kind = "mlp"\nfrozen = ["dense_0"]',
            r"model 'no-dp': frozen layers would keep random weights; give 'start'",
        ),
        (
            'name = "no-dp"\ntrainer = "sgd"',
            'name = "no-dp"\ntrainer = "function"\nadapter = { rank = 4 }',
            r"\[adapter\] is trained on the stacked engine, by dp-sgd, sgd, federated; the trainer is 'function'",
        ),
        (
            "epochs = 60",
            'epochs = 60\nadapter = { rank = 2 }\narchitecture = { kind = "mlp", start = "a.npz", frozen = ["head"] }',
            r"\[adapter\] freezes every weight of the architecture; leave 'frozen' out",
        ),
        (
            "[membership]",
            "[model.claim]\nepsilon = -1\ndelta = 1e-5\n\n[membership]",
            r"model\.2\.claim\.epsilon: .*got -1",
        ),
    ],
)
def test_bad_plans_are_one_clear_line(tmp_path: Path, old: str, new: str, message: str) -> None:
    """Where, what, and what would be right."""
    with pytest.raises(InputError, match=message) as raised:
        plan_with(tmp_path, old, new)
    assert "\n" not in str(raised.value)


def test_checkpoints_need_a_training_of_a_fixed_length() -> None:
    """One that stops where it has memorised its records is no longer the same when it is stopped earlier."""
    with pytest.raises(InputError, match="model 'no-dp': checkpoints need a fixed number of epochs"):
        load_plan(EXAMPLE, ["model.no-dp.until_accuracy=1.0", "membership.checkpoints=[5]"])


def test_queries_and_checkpoints_survive_the_resolved_plan(tmp_path: Path) -> None:
    """What is written into the run folder reads back as the same plan."""
    asked = 'queries = [{kind = "noise", scale = 0.1, copies = 2}, {kind = "shift", right = 1}]'
    plan = plan_with(tmp_path, "[membership]", f"[membership]\ncheckpoints = [2, 5]\n{asked}")
    assert plan.membership is not None
    assert plan.membership.queries[0] == Noise(0.1, copies=2)
    (tmp_path / "again.toml").write_text(plan.toml())
    assert load_plan(tmp_path / "again.toml") == plan


def test_noise_zero_with_a_finite_claim_is_refused(tmp_path: Path) -> None:
    """It is known before anything is trained."""
    old = "noise_multiplier = 0.6\n"
    with pytest.raises(InputError, match="noise_multiplier 0"):
        plan_with(tmp_path, old, "noise_multiplier = 0\nclaim = {epsilon = 3.0, delta = 1e-5}\n")


def test_the_resolved_plan_is_the_same_plan(tmp_path: Path) -> None:
    """What a run folder keeps runs to the same result, defaults written out."""
    plan = load_plan(EXAMPLE)
    (tmp_path / "plan.toml").write_text(plan.toml())
    again = load_plan(tmp_path / "plan.toml")
    assert again == plan
    assert again.fingerprint == plan.fingerprint


@pytest.mark.parametrize(
    ("override", "read", "value"),
    [
        ("audit.delta=1e-6", lambda plan: plan.audit.delta, 1e-6),
        ("model.no-dp.epochs=5", lambda plan: plan.trainers()["no-dp"].epochs, 5),
        ("name=other", lambda plan: plan.name, "other"),
        ("architecture.hidden=[3, 4]", lambda plan: plan.trainers()["no-dp"].architecture.hidden, (3, 4)),
    ],
)
def test_overrides_reach_every_table(override: str, read: Any, value: object) -> None:
    """Numbers and lists are TOML, bare words are strings."""
    plan = load_plan(EXAMPLE, [override])
    assert read(plan) == value
    assert plan.fingerprint != load_plan(EXAMPLE).fingerprint


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("audit.delta", "an override must be key=value"),
        ("model.nodp.epochs=5", "nothing is called 'nodp'. Did you mean 'no-dp'?"),
        ("model.epochs=5", "name one of the entries"),
        ("seed.x=5", "lies below a value that is no table"),
        ("audit.dleta=1e-6", "Did you mean 'delta'?"),
    ],
)
def test_bad_overrides_are_one_clear_line(override: str, message: str) -> None:
    """They are as strict as the file."""
    with pytest.raises(InputError) as raised:
        load_plan(EXAMPLE, [override])
    assert message in str(raised.value)


@pytest.mark.long
def test_a_plan_is_read_without_tensorflow(run_without_tensorflow: Any) -> None:
    """Reading, checking and pricing a plan trains nothing."""
    run_without_tensorflow(
        "from pathlib import Path; from dpaudit.audits.plan import load_plan; "
        f"print(load_plan(Path({str(EXAMPLE)!r})).trainers()['dp-low-noise'].mechanism(700))"
    )
