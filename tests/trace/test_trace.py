"""Traces on disk: written, read, cut short, and held against their own claims."""

import math
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dp_accounting.pld.privacy_loss_distribution import from_gaussian_mechanism

from dpaudit.accounting.claim import FixedSize, GaussianSteps, Poisson
from dpaudit.accounting.gaussian import gaussian_epsilon
from dpaudit.accounting.mechanism import epsilon
from dpaudit.runtime.errors import InputError
from dpaudit.self_test.faults import recorded_federations as recorded
from dpaudit.trace import (
    DpClaim,
    Manifest,
    ServerStep,
    TraceWriter,
    inspect_all,
    inspect_rounds,
    inspect_trace,
    read_trace,
)
from dpaudit.trace.check_sensitivity import times

SHAPES = [(20, 10), (10,)]
ROUNDS = 12
# Everybody takes part in every round: twelve Gaussian releases, whose ε has a closed form.
CLAIM = DpClaim(
    epsilon=gaussian_epsilon(ROUNDS**0.5, 1e-5),
    delta=1e-5,
    clip=0.5,
    noise_multiplier=1.0,
    sampler="all",
    clients=20,
    of=20,
    rounds=ROUNDS,
    weighting="uniform",
    accountant="pld",
)
SAMPLED = replace(CLAIM, epsilon=5.0, noise_multiplier=1.0, sampler="poisson", clients=20, of=40)


def _write(
    folder: Path,
    claim: DpClaim | None = CLAIM,
    *,
    noise: float = 1.0,
    weights: Any = None,
    show: bool = False,
    sampled: bool = False,
    clips: Any = None,
    rounds: int = ROUNDS,
    replies: int | None = None,
    names: tuple[str, ...] = ("kernel", "bias"),
    **more: Any,
) -> Path:
    """A federation of clients with random updates, served as DP-FedAvg with the noise given."""
    rng = np.random.default_rng(7)
    model = [np.zeros(shape) for shape in SHAPES]
    more = {"server": ServerStep(), **more}
    with TraceWriter(
        folder, Manifest(weight_names=names, shapes=SHAPES, framework="test", dp_claim=claim, **more)
    ) as writer:
        for number in range(rounds):
            clip = 0.5 if clips is None else clips[number]
            answered = replies if replies is not None else int((rng.random(40) < 0.5).sum()) if sampled else 20
            sent = {f"c{i}": [rng.normal(size=shape) for shape in SHAPES] for i in range(answered)}
            total = [np.zeros(shape) for shape in SHAPES]
            for own in sent.values():
                norm = np.sqrt(sum((part**2).sum() for part in own))
                total = [t + part * min(1, clip / norm) for t, part in zip(total, own, strict=True)]
            after = [m + (t + rng.normal(0, noise * clip, t.shape)) / 20 for m, t in zip(model, total, strict=True)]
            writer.round(
                before=model,
                after=after,
                clip=clip,
                replies=answered,
                weights=[1.0] * answered if weights is None else weights[:answered],
                updates=sent if show else None,
            )
            model = after
    return folder


def _checks(folder: Path) -> list[str]:
    return [finding.check for finding in inspect_trace(folder) if finding.severity == "violation"]


def test_what_is_written_is_read(tmp_path: Path) -> None:
    """Arrays, clip, replies and updates come back as they were, the manifest too."""
    trace = read_trace(_write(tmp_path / "t", show=True))
    assert len(trace.rounds) == ROUNDS
    assert trace.manifest.dp_claim == CLAIM
    assert trace.manifest.shapes == ((20, 10), (10,))
    assert trace.rounds[3].updates is not None
    assert len(trace.rounds[3].updates) == trace.rounds[3].replies
    np.testing.assert_array_equal(trace.rounds[4].before[0], trace.rounds[3].after[0])
    assert trace.releases.shape == (ROUNDS, 210)
    np.testing.assert_allclose(trace.weights[1] - trace.weights[0], trace.releases[0])


@pytest.mark.parametrize("show", [True, False])
def test_a_right_run_has_no_violation(tmp_path: Path, show: bool) -> None:
    """A correct DP-FedAvg passes every check (chance of a false violation 1e-6, the seed is fixed)."""
    assert inspect_trace(_write(tmp_path / "t", show=show)) == []


def test_writing_needs_numpy_only(tmp_path: Path) -> None:
    """Importing the writer loads neither scipy nor dp-accounting nor TensorFlow nor pandas."""
    code = (
        "import sys; from dpaudit.trace import TraceWriter, read_trace; "
        "print([m for m in ('scipy', 'dp_accounting', 'tensorflow', 'pandas', 'pydantic') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_noise_that_is_missing_or_small_is_found(tmp_path: Path) -> None:
    """No noise, or a tenth of it, shows in the length of the releases alone; half of it where updates are shown."""
    assert _checks(_write(tmp_path / "none", noise=0.0)) == ["realised noise"]
    assert _checks(_write(tmp_path / "tenth", noise=0.1)) == ["realised noise"]
    assert _checks(_write(tmp_path / "half", noise=0.5, show=True)) == ["realised noise"]


def test_rounds_that_nobody_answered_have_no_weights(tmp_path: Path) -> None:
    """Under Poisson sampling a round may be empty: its weights are none, and its noise is there all the same."""
    claim = replace(SAMPLED, of=10**6, clients=20)
    folder = _write(tmp_path / "t", claim, replies=0)
    assert [one.weights.tolist() for one in read_trace(folder).rounds if one.weights is not None] == [[]] * ROUNDS
    assert "client weights" not in _checks(folder)


def test_weights_by_examples_are_found(tmp_path: Path) -> None:
    """Weights (10 x 9, 1000 x 1 of ten clients) move the model 9.17 times as far as an equal share."""
    claim = replace(CLAIM, clients=10, of=10, denominator="replies")
    weights = [10.0] * 9 + [1000.0]
    folder = _write(tmp_path / "t", claim, weights=weights, replies=10, show=False)
    found = [finding for finding in inspect_trace(folder) if finding.check == "client weights"]
    assert found[0].severity == "violation"
    assert "9.17 times" in found[0].observed
    # Noise multiplier 0.109, everybody in every round: twelve Gaussian releases have a closed form.
    truth = gaussian_epsilon(12**0.5 * 1000 / 1090 * 10, 1e-5)
    assert found[0].true_epsilon == pytest.approx(truth, rel=1e-6)


@pytest.mark.parametrize(
    ("change", "check"),
    [
        ({"sensitivity": 1e-4}, "sensitivity below the clip"),
        ({"epsilon": 3.0}, "claimed ε"),
        ({"sampler": "shuffled", "epsilon": 3.0}, "claimed ε"),
        ({"rounds": 6}, "more rounds than accounted"),
        ({"accountant": "classical-gaussian"}, "classical Gaussian formula"),
        ({"denominator": "replies", "clients": 30, "of": 30}, "drop-outs"),
    ],
)
def test_claims_that_do_not_follow_are_found(tmp_path: Path, change: dict[str, Any], check: str) -> None:
    """Each way to claim too much is named; the same trace under its true claim has no violation (tested above)."""
    assert check in _checks(_write(tmp_path / "t", replace(CLAIM, **change)))


@pytest.mark.long
def test_sampling_is_held_against_the_accountant(tmp_path: Path) -> None:
    """A Poisson ε is right for Poisson sampling, too small for fixed size, and a rate of a quarter is not a half."""
    truth = epsilon(GaussianSteps(1.0, ROUNDS, Poisson(0.5)), delta=1e-5).epsilon
    poisson = replace(SAMPLED, epsilon=truth)
    assert _checks(_write(tmp_path / "right", poisson, sampled=True)) == []
    folder = _write(tmp_path / "fixed", replace(poisson, sampler="fixed-size"), sampled=True)
    found = next(finding for finding in inspect_trace(folder) if finding.check == "claimed ε")
    assert "fits Poisson" in found.observed
    own = epsilon(GaussianSteps(1.0, ROUNDS, FixedSize(20, 40)), delta=1e-5, adjacency="replace-one")
    assert found.true_epsilon == pytest.approx(own.at_least)
    slow = replace(poisson, clients=10, delta=None, epsilon=None)
    assert "sampling rate" in _checks(_write(tmp_path / "rate", slow, sampled=True))


def test_sampling_counts_with_little_noise_too(tmp_path: Path) -> None:
    """Noise multiplier 0.25, where sampling still hides much: dp-accounting's own ε is right, a tenth less is not."""
    sampled = from_gaussian_mechanism(0.25, value_discretization_interval=1e-2, sampling_prob=0.5)
    truth = sampled.self_compose(ROUNDS).get_epsilon_for_delta(1e-5)
    assert truth < 0.95 * gaussian_epsilon(ROUNDS**0.5 / 0.25, 1e-5)
    claim = replace(SAMPLED, noise_multiplier=0.25, epsilon=truth)
    assert _checks(_write(tmp_path / "right", claim, noise=0.25, sampled=True)) == []
    claim = replace(claim, epsilon=0.9 * truth)
    assert _checks(_write(tmp_path / "wrong", claim, noise=0.25, sampled=True)) == ["claimed ε"]


@pytest.mark.parametrize(("noise", "rounds"), [(0.5, 10**6), (0.03, 1000), (1e-9, 10**6)])
@pytest.mark.long
def test_any_manifest_is_accounted_in_bounded_time_and_memory(tmp_path: Path, noise: float, rounds: int) -> None:
    """Much or hardly any noise over many rounds: ε is large and finite, and the loss distribution stays small."""
    claim = replace(SAMPLED, noise_multiplier=noise, rounds=rounds)
    found = next(each for each in inspect_trace(_write(tmp_path / "t", claim)) if each.check == "claimed ε")
    assert found.true_epsilon is not None
    assert 700 < found.true_epsilon < math.inf


def test_a_clip_that_runs_away_is_found_and_one_that_settles_is_not(tmp_path: Path) -> None:
    """The wrong sign drives the clip by e^0.1 or more a round without end; the right one levels off at the quantile."""
    claim = replace(CLAIM, adaptive_clip=True, rounds=40, epsilon=None)
    away = 0.1 * np.exp(-0.1 * np.arange(40))
    settles = 10 ** (1 - 2 * 0.8 ** np.arange(40))
    for clips, expected in ((away, True), (settles, False)):
        folder = _write(tmp_path / str(expected), claim, clips=clips, rounds=40)
        found = [finding.check for finding in inspect_trace(folder)]
        assert ("clip runs away" in found) is expected


def test_buffers_and_metrics_outside_the_clip_are_found(tmp_path: Path) -> None:
    """Moving averages that follow the data are a violation, un-noised metrics a warning."""
    folder = _write(tmp_path / "t", names=("kernel", "bn/moving_mean"), metrics=["accuracy"])
    assert [finding.check for finding in inspect_trace(folder)] == ["buffers outside the clip", "metrics without noise"]


def test_a_manifest_that_claims_nothing_is_said_to(tmp_path: Path) -> None:
    """Without a claim there is nothing to contradict, and the finding says so."""
    assert [finding.check for finding in inspect_trace(_write(tmp_path / "t", None))] == ["no claim"]


def test_traces_cut_short_are_used_as_far_as_that_is_sound(tmp_path: Path) -> None:
    """A missing and a truncated round are named; the checks use the rest; what needs all rounds refuses."""
    folder = _write(tmp_path / "t")
    (folder / "r0003.npz").unlink()
    whole = (folder / "r0005.npz").read_bytes()
    (folder / "r0005.npz").write_bytes(whole[: len(whole) // 2])
    found = inspect_trace(folder)
    assert [finding.check for finding in found] == ["rounds missing"]
    assert "r0003.npz, r0005.npz" in found[0].observed
    with pytest.raises(InputError, match="the trace lacks rounds 3, 5; this needs all of them"):
        read_trace(folder).whole()
    for path in folder.glob("r*.npz"):
        path.write_bytes(b"PK")
    with pytest.raises(InputError, match="holds no readable round"):
        read_trace(folder)


def test_a_run_that_was_killed_says_so(tmp_path: Path) -> None:
    """A trace whose writer never closed it is readable and marked."""
    writer = TraceWriter(tmp_path / "t", Manifest(weight_names=["w"], shapes=[(3,)], framework="test", dp_claim=CLAIM))
    writer.round(before=[np.zeros(3)], after=[np.ones(3)])
    assert "trace not closed" in [finding.check for finding in inspect_trace(tmp_path / "t")]


def test_bad_traces_are_refused_in_one_line(tmp_path: Path) -> None:
    """No folder, no manifest, misspelt and impossible keys, other shapes, a folder in use."""
    with pytest.raises(InputError, match=r"a trace is a folder with manifest\.json"):
        read_trace(tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="cannot read"):
        read_trace(tmp_path / "empty")
    folder = _write(tmp_path / "t")
    with pytest.raises(InputError, match="is not empty"):
        TraceWriter(folder, Manifest(weight_names=["w"], shapes=[(3,)], framework="test"))
    text = (folder / "manifest.json").read_text()
    for old, new, message in (
        ('"noise_multiplier"', '"noise_multiplyer"', "Did you mean 'noise_multiplier'"),
        ('"clients": 20', '"clients": 50', "50 in a round are more than the 20"),
        ('"pld"', '"pdl"', "Did you mean 'pld'"),
        ('"schema": 1', '"schema": 9', "schema must be 1, got 9"),
        ("{", "[", "not JSON"),
    ):
        (folder / "manifest.json").write_text(text.replace(old, new, 1))
        with pytest.raises(InputError, match=message):
            read_trace(folder)
    (folder / "manifest.json").write_text(text)
    np.savez(folder / "r0000.npz", before_0=np.zeros((2, 2)))
    with pytest.raises(InputError, match=r"before_0 must have shape \(20, 10\), got shape \(2, 2\): another model\?"):
        read_trace(folder)
    writer = TraceWriter(tmp_path / "w", Manifest(weight_names=["w"], shapes=[(3,)], framework="test"))
    with pytest.raises(InputError, match="before of round 0 has shapes"):
        writer.round(before=[np.zeros(4)], after=[np.zeros(3)])


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    "parts",
    [
        {"step": recorded.sgd(0.5), "server": ServerStep("sgd", 0.5)},
        {"step": recorded.sgd(4.0), "server": ServerStep("sgd", 4.0), "updates": True},
        {"step": recorded.sgd(0.5), "updates": True},
        {"step": recorded.momentum, "server": ServerStep("momentum", 0.1, 0.9)},
        {"step": recorded.momentum, "server": ServerStep("momentum", 0.1, 0.9), "updates": True},
        {"step": recorded.momentum, "updates": True},
        {"step": recorded.momentum},
        {"step": recorded.adam, "server": ServerStep("adam", 0.01)},
        {"step": recorded.adam, "server": ServerStep("adam", 0.01), "averages": True},
        {"step": recorded.adam, "updates": True},
        {"claim": recorded.OF_FIXED_SIZE, "pick": recorded.so_many, "server": ServerStep(), "updates": True},
        {"claim": recorded.OF_FIXED_SIZE, "pick": partial(recorded.so_many, number=15), "server": ServerStep()},
    ],
)
@pytest.mark.long
def test_right_servers_are_quiet_whatever_their_step(parts: dict[str, Any], seed: int) -> None:
    """Rates, momentum and Adam after right noise, stated or not; level 1e-6 in each, fixed seeds."""
    trace = recorded.federation(np.random.default_rng(seed), **parts)
    assert [finding.check for finding in inspect_rounds(trace)] == []


@pytest.mark.parametrize(
    "parts",
    [
        {"noise": 0.25, "step": recorded.sgd(4.0), "server": ServerStep("sgd", 4.0)},
        {"noise": 0.5, "step": recorded.sgd(0.1), "server": ServerStep("sgd", 0.1), "updates": True},
        {"noise": 0.5, "step": recorded.sgd(4.0), "updates": True},
        {"noise": 0.0, "step": recorded.momentum, "server": ServerStep("momentum", 0.1, 0.9)},
        {"noise": 0.7, "step": recorded.momentum, "server": ServerStep("momentum", 0.1, 0.9), "updates": True},
        {"noise": 0.3, "step": recorded.adam, "server": ServerStep("adam", 0.01), "averages": True},
    ],
)
@pytest.mark.long
def test_too_little_noise_is_found_behind_the_servers_step(parts: dict[str, Any]) -> None:
    """A quarter to 0.7 of the noise; its ε is that of the noise there is, to what 8,000 values of it leave open."""
    found = inspect_rounds(recorded.federation(np.random.default_rng(0), **parts))
    assert [finding.check for finding in found] == ["realised noise"]
    if not parts["noise"]:
        return
    truth = epsilon(GaussianSteps(parts["noise"], recorded.ROUNDS, Poisson(0.05)), delta=1e-5).epsilon
    assert found[0].true_epsilon is not None
    # Clients that are not shown count as noise, so that the figure is too small there. Where they are shown, the round
    # with the least noise is named, or the rate that leaves the most: within a tenth of the noise.
    assert found[0].true_epsilon > (0.7 if parts.get("updates") else 0.5) * truth


def test_a_step_that_is_not_known_is_not_judged_and_said_so() -> None:
    """No statement and no updates, Adam without the averages, a schedule: the reason is listed."""
    rng = np.random.default_rng(0)
    for parts, reason in (
        ({"noise": 0.1}, "does not state the server's step, and no round shows the clients' updates"),
        ({"step": recorded.adam, "server": ServerStep("adam", 0.01)}, "cannot be undone"),
        ({"step": recorded.momentum, "updates": True}, "does not state the server's step"),
    ):
        reasons = [each.reason for each in inspect_all(recorded.federation(rng, **parts)).not_checked]
        assert any(reason in each for each in reasons)
    taken = inspect_all(recorded.federation(rng, step=recorded.sgd(0.5), updates=True)).not_checked
    assert any("a constant rate of 0." in each.reason for each in taken)


def test_a_round_without_noise_is_seen_though_the_rate_is_not_known() -> None:
    """One round of forty is a multiple of its clients' sum and nothing else."""
    trace = recorded.federation(np.random.default_rng(0), step=recorded.sgd(0.5), updates=True)
    bare, claim = trace.rounds[7], trace.manifest.dp_claim
    assert bare.updates is not None
    assert claim is not None
    total = np.sum([own[0] for own in bare.updates.values()], axis=0)
    without = replace(bare, after=(bare.before[0] + 0.5 * total / 20,))
    rounds = (*trace.rounds[:7], without, *trace.rounds[8:])
    found = inspect_rounds(replace(trace, rounds=rounds))
    assert [(each.check, "round 7" in each.fed) for each in found] == [("realised noise", True)]


@pytest.mark.parametrize(
    ("parts", "check"),
    [
        ({"claim": recorded.OF_FIXED_SIZE, "pick": partial(recorded.so_many, number=60)}, "sampling rate"),
        ({"claim": recorded.OF_FIXED_SIZE, "pick": partial(recorded.so_many, number=21)}, "sampling rate"),
        ({"pick": recorded.so_many}, "sampler"),
        ({"pick": recorded.with_a_favourite, "updates": True}, "clients drawn often"),
        ({"claim": replace(recorded.BY_COINS, sampler="all", clients=19, of=19)}, "sampling rate"),
    ],
)
@pytest.mark.long
def test_other_numbers_of_clients_are_found(parts: dict[str, Any], check: str) -> None:
    """More than a fixed number, the same number where coins are claimed, one client always; fixed seed."""
    found = inspect_rounds(recorded.federation(np.random.default_rng(1), server=ServerStep(), **parts))
    assert check in [finding.check for finding in found if finding.severity == "violation"]


def test_weights_that_hardly_differ_are_no_violation(tmp_path: Path) -> None:
    """89 and 90 examples: a warning that says 1.0017 times; 10 and 1,000 are a violation (tested above)."""
    claim = replace(CLAIM, clients=2, of=2, epsilon=None, weighting="num-examples", denominator="replies")
    (found,) = (
        each
        for each in inspect_trace(_write(tmp_path / "t", claim, weights=[89.0, 90.0] + [89.6] * 18))
        if each.check == "client weights"
    )
    assert found.severity == "warning"
    assert "1 times" not in found.observed.replace("1.00", "")
    assert times(90 / 89.85) == "1.0017 times"


def test_a_claim_between_the_bounds_is_a_warning_with_both(tmp_path: Path) -> None:
    """Fixed-size clients have an upper and a lower bound; only a claim below the lower one is contradicted."""
    fixed = replace(SAMPLED, sampler="fixed-size", adjacency="replace-one")
    own = epsilon(GaussianSteps(1.0, ROUNDS, FixedSize(20, 40)), delta=1e-5, adjacency="replace-one")
    assert own.at_least < 0.99 * own.epsilon
    for number, (figure, severity) in enumerate(
        ((own.epsilon, None), ((own.epsilon + own.at_least) / 2, "warning"), (0.9 * own.at_least, "violation"))
    ):
        folder = _write(tmp_path / str(number), replace(fixed, epsilon=figure), replies=20)
        found = [each for each in inspect_trace(folder) if each.check == "claimed ε"]
        assert [each.severity for each in found] == ([] if severity is None else [severity])
        if severity == "warning":
            assert f"{own.epsilon:.4g}" in found[0].observed
            assert f"{own.at_least:.4g}" in found[0].observed


def test_the_servers_step_and_the_average_come_back(tmp_path: Path) -> None:
    """What is stated of the server and written of a round is read as it was; impossible values are refused."""
    step = ServerStep("momentum", 0.1, 0.9)
    with TraceWriter(
        tmp_path / "t", Manifest(weight_names=["w"], shapes=[(3,)], framework="test", server=step)
    ) as writer:
        writer.round(before=[np.zeros(3)], after=[np.ones(3)], average=[np.full(3, 10.0)])
    trace = read_trace(tmp_path / "t")
    assert trace.manifest.server == step
    average = trace.rounds[0].average
    assert average is not None
    np.testing.assert_array_equal(average[0], 10.0)
    for wrong, message in (
        ({"optimizer": "sdg"}, "Did you mean 'sgd'"),
        ({"learning_rate": 0.0}, "learning_rate must be"),
        ({"optimizer": "momentum", "momentum": 1.0}, r"momentum must be in \[0, 1\)"),
        ({"momentum": 0.9}, "needs server.optimizer 'momentum'"),
    ):
        with pytest.raises(InputError, match=message):
            ServerStep(**wrong)
