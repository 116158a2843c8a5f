"""Somebody else's federation in a plan: its claim, its canaries, its users; and the same trace for gradient attacks."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dpaudit.accounting.gaussian import gaussian_epsilon
from dpaudit.attacks.gradient.candidate_attack import CandidateAttack, PrivacyUnits, UserContributions
from dpaudit.attacks.gradient.dense_network import DenseNetwork
from dpaudit.attacks.gradient.linear_layer import DenseInversion
from dpaudit.attacks.gradient.views_of_trace import client_update, releases_view
from dpaudit.audits.plan import load_plan, plan_from
from dpaudit.audits.run import run
from dpaudit.audits.trace import cost as trace_cost
from dpaudit.data.bundled import digits
from dpaudit.data.users import Iid, rows_of
from dpaudit.integrations.canaries import canary_direction
from dpaudit.reports.html import page
from dpaudit.runtime import plugins as registry
from dpaudit.runtime.errors import InputError
from dpaudit.runtime.took import Took
from dpaudit.trace import DpClaim, Manifest, ServerStep, TraceWriter, read_trace

ROUNDS, CLIENTS, CLIP, SIZE = 8, 20, 0.5, 3000
CANARIES = 100
PRESENT = np.random.default_rng(11).random(CANARIES) < 0.5


def claim(noise: float, **more: Any) -> DpClaim:
    """Full participation: so many Gaussian releases, whose ε has a closed form."""
    total = CLIENTS + CANARIES
    stated = DpClaim(
        epsilon=gaussian_epsilon(ROUNDS**0.5 / noise, 1e-5),
        delta=1e-5,
        clip=CLIP,
        noise_multiplier=noise,
        sampler="all",
        clients=total,
        of=total,
        rounds=ROUNDS,
    )
    return replace(stated, **more)


def federation(folder: Path, stated: DpClaim, *, noise: float, skip: tuple[int, ...] = ()) -> Path:
    """A trace of twenty random clients and the canaries that are there, with this noise multiplier."""
    rng = np.random.default_rng(7)
    canaries = CLIP * sum(canary_direction(SIZE, seed=5, canary=int(one)) for one in np.flatnonzero(PRESENT))
    model = [np.zeros((SIZE - 10, 1)), np.zeros(10)]
    with TraceWriter(
        folder,
        Manifest(
            weight_names=["w", "b"],
            shapes=[(SIZE - 10, 1), (10,)],
            framework="test",
            dp_claim=stated,
            server=ServerStep(),
        ),
    ) as writer:
        for _ in range(ROUNDS):
            clients = rng.normal(size=(CLIENTS, SIZE))
            total = CLIP * (clients / np.linalg.norm(clients, axis=1, keepdims=True)).sum(axis=0) + canaries
            step = (total + rng.normal(0, noise * CLIP, SIZE)) / (CLIENTS + CANARIES)
            after = [model[0] + step[:-10, None], model[1] + step[-10:]]
            writer.round(before=model, after=after, clip=CLIP)
            model = after
    for number in skip:
        (folder / f"r{number:04d}.npz").unlink()
    return folder


def plan(folder: Path, **more: Any) -> Any:
    """A plan of nothing but the trace."""
    return plan_from({"schema": 1, "name": "p", "seed": 1, "trace": {"path": str(folder), **more}})


def listed(**more: Any) -> dict[str, Any]:
    """The auditor's list of canaries."""
    present, absent = np.flatnonzero(PRESENT).tolist(), np.flatnonzero(~PRESENT).tolist()
    return {"seed": 5, "present": present, "absent": absent, **more}


@pytest.mark.parametrize("noise", [8.0, 2.0])
@pytest.mark.long
def test_canaries_of_a_right_federation_are_within_its_claim(tmp_path: Path, noise: float) -> None:
    """At ε = 1.3 and 6.1 neither view's bound is above the truth (at most 5 % of such runs), the report is drawn."""
    stated = claim(noise)
    result = run(
        plan(federation(tmp_path / "their-run", stated, noise=noise), canaries=listed()), folder=tmp_path / "r"
    )
    assert result.trace is not None
    assert result.trace.checks == []
    (found,) = result.comparisons
    assert found.subject == "their-run"
    assert found.verdict != "contradicted"
    assert found.strongest is not None
    assert found.strongest.unit == "user"
    assert "A federation from its trace" in page(result)


def test_canaries_and_the_manifest_contradict_missing_noise(tmp_path: Path) -> None:
    """Noise twenty times too small shows twice: in the length of the releases, and in a bound above the claim."""
    folder = federation(tmp_path / "t", claim(8.0), noise=0.4)
    result = run(plan(folder, canaries=listed()), folder=tmp_path / "r")
    assert result.trace is not None
    assert "realised noise" in [finding.check for finding in result.trace.checks]
    assert max(found.bound.epsilon for found in result.trace.canaries) > result.comparisons[0].claim.epsilon
    assert result.contradicted


def test_rounds_that_are_missing_are_done_without_where_that_is_sound(tmp_path: Path) -> None:
    """A missing round in the middle leaves both views; without the last one there is no final model to compare with."""
    whole = federation(tmp_path / "t", claim(2.0), noise=2.0, skip=(3,))
    result = run(plan(whole, canaries=listed()), folder=tmp_path / "r")
    assert result.trace is not None
    assert result.trace.missing == [3]
    assert len(result.trace.canaries) == 2
    (whole / "r0007.npz").unlink()
    with pytest.raises(InputError, match="lacks rounds 3, 7"):
        run(plan(whole, canaries=listed()), folder=tmp_path / "r2")


def test_a_trace_is_predicted_from_its_first_rounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading takes a second, three of eight rounds are checked in one, and nine cosines of a second each are taken."""
    second = Took(1.0, 1.0)
    monkeypatch.setattr(trace_cost, "result_of", lambda work: (work(), second))
    monkeypatch.setattr(trace_cost, "timed", lambda work: second)
    given = plan(federation(tmp_path / "t", claim(8.0), noise=8.0), canaries=listed()).trace
    took = trace_cost.cost(given, None).took
    assert took is not None
    assert took.cpu == pytest.approx(1 + 8 / 3 + 1 + 9)


@pytest.mark.long
def test_a_trace_alone_is_judged_by_its_arithmetic(tmp_path: Path) -> None:
    """Nothing attacked is never a pass; an ε that does not follow contradicts; no claim gives no verdict."""
    right = run(plan(federation(tmp_path / "right", claim(2.0), noise=2.0)), folder=tmp_path / "r1")
    assert [found.verdict for found in right.comparisons] == ["too weak"]
    wrong = run(plan(federation(tmp_path / "wrong", claim(2.0, epsilon=1.0), noise=2.0)), folder=tmp_path / "r2")
    assert wrong.contradicted
    silent = run(plan(federation(tmp_path / "silent", claim(2.0, delta=None), noise=2.0)), folder=tmp_path / "r3")
    assert silent.comparisons == []


def test_a_trace_that_claims_no_epsilon_is_held_to_what_it_states(tmp_path: Path) -> None:
    """Without a δ no ε is claimed, but the stated noise is missing; noise of 0 claims nothing, and nothing is wrong."""
    folder = federation(tmp_path / "quiet", claim(8.0, delta=None, epsilon=None), noise=0.4)
    result = run(plan(folder), folder=tmp_path / "r1")
    assert result.contradicted
    assert "realised noise" in result.comparisons[0].sentence
    assert "leaks more than claimed" in page(result)
    none = federation(tmp_path / "none", claim(8.0, epsilon=None, noise_multiplier=0.0), noise=0.0)
    result = run(plan(none), folder=tmp_path / "r2")
    assert (result.comparisons, result.models[0].accounted) == ([], None)


@pytest.mark.long
def test_a_plan_that_contradicts_the_trace_is_refused(tmp_path: Path) -> None:
    """Unit and δ are the manifest's: a plan may repeat them, not change them; its resolved form runs again."""
    folder = federation(tmp_path / "t", claim(2.0), noise=2.0)

    def audit(name: str, table: dict[str, Any]) -> Any:
        text = {"schema": 1, "name": "p", "seed": 1, "trace": {"path": str(folder)}, "audit": table}
        return run(plan_from(text), folder=tmp_path / name)

    with pytest.raises(InputError, match=r"audit.unit = 'record', the trace 'user': leave it out of \[audit\]"):
        audit("unit", {"unit": "record"})
    with pytest.raises(InputError, match=r"audit.delta = 1e-06, the trace 1e-05"):
        audit("delta", {"delta": 1e-6})
    assert audit("same", {"unit": "user", "delta": 1e-5}).unit == "user"
    first = audit("silent", {"confidence": 0.9})
    resolved = load_plan(tmp_path / "silent" / "plan.toml")
    assert run(resolved, folder=tmp_path / "silent").comparisons == first.comparisons  # the same folder takes it
    assert run(resolved, folder=tmp_path / "again").comparisons == first.comparisons
    federation(folder := tmp_path / "open", claim(2.0, delta=None, epsilon=None), noise=2.0)
    assert audit("own-delta", {"delta": 1e-6}).delta == 1e-6  # the trace states none


@pytest.mark.long
def test_what_does_not_fit_a_trace_is_refused(tmp_path: Path) -> None:
    """Other tables beside it, claims of another unit or adjacency, canaries twice or too many, no folder."""
    with pytest.raises(InputError, match=r"\[data\] belongs in a plan of its own"):
        plan_from({"schema": 1, "name": "p", "seed": 1, "trace": {"path": "t"}, "data": {"source": "digits"}})
    with pytest.raises(InputError, match="data: this key is missing"):
        plan_from({"schema": 1, "name": "p", "seed": 1, "membership": {"attacks": ["loss"]}})
    with pytest.raises(InputError, match="a trace is a folder"):
        run(plan(tmp_path / "nothing"), folder=tmp_path / "r0")
    folder = federation(tmp_path / "record", claim(2.0, unit="record"), noise=2.0)
    with pytest.raises(InputError, match="claims ε for one record"):
        run(plan(folder, canaries=listed()), folder=tmp_path / "r1")
    folder = federation(tmp_path / "replace", claim(2.0, adjacency="replace-one", epsilon=None), noise=2.0)
    with pytest.raises(InputError, match="replace-one adjacency"):
        run(plan(folder, canaries=listed()), folder=tmp_path / "r2")
    folder = federation(tmp_path / "t", claim(2.0), noise=2.0)
    with pytest.raises(InputError, match="canary 1 of the trace is listed twice"):
        run(plan(folder, canaries={"seed": 5, "present": [1, 2], "absent": [1, 3]}), folder=tmp_path / "r3")
    many = {"seed": 5, "present": list(range(1000)), "absent": list(range(1000, 2000))}
    with pytest.raises(InputError, match="2000 canaries would not be told apart; at most 1500"):
        run(plan(folder, canaries=many), folder=tmp_path / "r4")


@pytest.mark.tf
def test_users_are_found_in_a_trace_without_noise(tmp_path: Path) -> None:
    """Twenty users, each there by a coin: their updates explain the releases (AUC above 0.9 has chance 2e-3)."""
    from dpaudit.integrations.simulated import record_rounds, trace_writer
    from dpaudit.training.federated.trainer import ClientTraining, Federated

    data = digits().take(np.arange(400))
    data = replace(data, users=Iid(20)(data, seed=1))
    owner = np.asarray(data.users)
    member = (np.random.default_rng(5).random(20) < 0.5)[owner]
    architecture = registry.build("architectures", "mlp", {"hidden": [16]}, where="test")
    trainer = Federated(architecture, rounds=4, local=ClientTraining(batch_size=10, learning_rate=0.3))
    prepared = trainer.prepare(data, seed=1)
    with trace_writer(prepared.network, tmp_path / "theirs") as writer:
        prepared([rows_of(owner, included=member)], seed=2, observe=record_rounds(writer, prepared.network))
    for name, mask in (("in", member), ("out", ~member)):
        np.savez(tmp_path / f"{name}.npz", features=data.features[mask], labels=data.labels[mask], users=owner[mask])
    users = {"present": str(tmp_path / "in.npz"), "absent": str(tmp_path / "out.npz"), "batch_size": 10}
    table: dict[str, Any] = {
        "schema": 1,
        "name": "p",
        "seed": 1,
        "architecture": {"kind": "mlp", "hidden": [16]},
        "trace": {"path": str(tmp_path / "theirs"), "users": {**users, "learning_rate": 0.3}},
    }
    settings = plan_from(table).trace
    assert settings is not None
    predicted = trace_cost.cost(settings, architecture).took
    assert predicted is not None
    assert predicted.cpu > 0
    result = run(plan_from(table), folder=tmp_path / "r")
    assert result.trace is not None
    assert result.trace.users[0].auc > 0.9
    assert result.trace.users[0].members == np.unique(owner[member]).size
    table["architecture"] = {"kind": "mlp", "hidden": [8]}
    with pytest.raises(InputError, match=r"the \[architecture\] has arrays of shapes"):
        run(plan_from(table), folder=tmp_path / "r2")
    del table["architecture"]
    with pytest.raises(InputError, match=r"the plan needs an \[architecture\]"):
        run(plan_from(table), folder=tmp_path / "r3")
    table["trace"]["users"]["absent"] = users["present"]
    table["architecture"] = {"kind": "mlp", "hidden": [16]}
    with pytest.raises(InputError, match="is both in"):
        run(plan_from(table), folder=tmp_path / "r4")


def small_run(folder: Path, noise: float, **more: Any) -> tuple[UserContributions, PrivacyUnits]:
    """A DP-FedAvg of a dense network in numpy: candidate 2 of five and three known users, ten rounds."""
    rng = np.random.default_rng(3)
    network = DenseNetwork((6, 4, 3))
    contributions = UserContributions(network, clip=0.5, learning_rate=0.5, local_steps=2)
    users = PrivacyUnits(rng.normal(size=(8, 5, 6)), rng.integers(3, size=(8, 5)))
    shapes = [(6, 4), (4,), (4, 3), (3,)]
    ends = np.cumsum([int(np.prod(shape)) for shape in shapes])[:-1]

    def arrays(flat: Any) -> list[Any]:
        return [part.reshape(shape) for part, shape in zip(np.split(flat, ends), shapes, strict=True)]

    stated = DpClaim(delta=1e-5, clip=0.5, noise_multiplier=noise, sampler="all", clients=4, of=4, rounds=10, **more)
    there = [2, 5, 6, 7]
    taken = PrivacyUnits(users.features[there], users.labels[there])
    weights = network.initial(seed=1).astype(np.float64)
    with TraceWriter(
        folder, Manifest(weight_names=list("abcd"), shapes=shapes, framework="test", dp_claim=stated)
    ) as writer:
        for _ in range(10):
            each = [
                contributions.total(
                    weights[None], PrivacyUnits(users.features[[one]], users.labels[[one]]), np.ones((1, 1), bool)
                )[0]
                for one in there
            ]
            total = contributions.total(weights[None], taken, np.ones((1, 4), bool))[0]
            after = weights + (total + rng.normal(0, noise * 0.5, total.size)) / 4
            writer.round(
                before=arrays(weights),
                after=arrays(after),
                clip=0.5,
                replies=4,
                updates={f"u{one}": arrays(own) for one, own in zip(there, each, strict=True)},
            )
            weights = after
    return contributions, users


def test_the_candidate_attack_reads_a_trace(tmp_path: Path) -> None:
    """The candidate that was there has the largest likelihood ratio, once the known users' updates are taken out.

    Noise of a fifth of the clip, ten times, leaves no doubt between contributions of about the clip's length.
    """
    contributions, users = small_run(tmp_path / "t", 0.2)
    view = releases_view(read_trace(tmp_path / "t"), known=["u5", "u6", "u7"])
    nobody = PrivacyUnits(np.zeros((0, 5, 6)), np.zeros((0, 5), np.int64))
    candidates = PrivacyUnits(users.features[:5], users.labels[:5])
    assert CandidateAttack(contributions)(view, known=nobody, candidates=candidates).argmax() == 2
    trained = PrivacyUnits(users.features[5:], users.labels[5:])
    same = CandidateAttack(contributions)(
        releases_view(read_trace(tmp_path / "t")), known=trained, candidates=candidates
    )
    assert same.argmax() == 2


def test_inversion_reads_a_client_of_a_trace(tmp_path: Path) -> None:
    """A client with one record and one step is inverted exactly from its line in the trace (closed form)."""
    rng = np.random.default_rng(1)
    record, label = rng.random(6), 1
    kernel, bias = rng.normal(size=(6, 3)), np.zeros(3)
    shown = np.exp(record @ kernel)
    slope = shown / shown.sum() - np.eye(3)[label]
    moved = [-0.1 * np.outer(record, slope), -0.1 * slope]
    with TraceWriter(
        tmp_path / "t", Manifest(weight_names=["k", "b"], shapes=[(6, 3), (3,)], framework="test")
    ) as writer:
        after = [kernel + moved[0], bias + moved[1]]
        writer.round(before=[kernel, bias], after=after, replies=1, updates={"7": moved})
    update = client_update(read_trace(tmp_path / "t"), 0, "7", learning_rate=0.1, epochs=1, local_batch=1, records=1)
    np.testing.assert_allclose(DenseInversion()(update).records[0], record, atol=1e-9)
    with pytest.raises(InputError, match="shows no update of client '8'; it shows 7"):
        client_update(read_trace(tmp_path / "t"), 0, "8")
    with pytest.raises(InputError, match="has no round 3"):
        client_update(read_trace(tmp_path / "t"), 3, "7")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"noise": "local"}, "the server's noise; the trace has local noise"),
        ({"weighting": "num-examples"}, "equally weighted"),
        ({"sampler": "shuffled"}, "the trace says shuffled"),
        ({"clip": 0.4}, "needs one clip; the trace has 0.4 and 0.5"),
        ({"clip": None}, "the trace claims none"),
    ],
)
def test_traces_the_candidate_attack_cannot_read_say_why(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    """Each in one line."""
    small_run(tmp_path / "t", 0.2)
    trace = read_trace(tmp_path / "t")
    assert trace.manifest.dp_claim is not None
    stated = replace(trace.manifest.dp_claim, **change)
    with pytest.raises(InputError, match=message):
        releases_view(replace(trace, manifest=replace(trace.manifest, dp_claim=stated)))
