"""Attacks with reference models, against the published formulas as naive loops in float64."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit, log_softmax
from scipy.stats import norm
from scipy.stats import t as student

from dpaudit.attacks.membership.attack_r import AttackR
from dpaudit.attacks.membership.auto import Auto
from dpaudit.attacks.membership.base import Base, BaseOffline
from dpaudit.attacks.membership.calibrated import Calibrated, Offset
from dpaudit.attacks.membership.lira import Lira
from dpaudit.attacks.membership.lira_offline import LiraOffline, LiraOfflineDensity
from dpaudit.attacks.membership.loss import Loss
from dpaudit.attacks.membership.multi_signal import MultiSignalLira
from dpaudit.attacks.membership.pools import audited_part, leave_pair_out
from dpaudit.attacks.membership.rmia import Rmia, RmiaOffline
from dpaudit.runtime import plugins as registry
from dpaudit.runtime.check import FloatArray, IntArray
from dpaudit.runtime.errors import InputError
from dpaudit.scores.roc import Roc
from dpaudit.scores.scores import Scores
from dpaudit.scores.signals import PoolSignals, Signals, logit_scaled_confidence
from tests.attacks.membership.pool import pairs, synthetic

POOL = synthetic(queries=2)
TARGET = POOL.target(3)


def split(signals: Signals) -> list[tuple[float, np.ndarray, np.ndarray]]:  # type: ignore[type-arg]
    """(φ of the target, φ of references with the record, φ of those without it) per record."""
    return [
        (phi, reference[inside], reference[~inside])
        for phi, reference, inside in zip(signals.phi, signals.reference.T, signals.included.T, strict=True)
    ]


def test_lira_per_record_is_the_published_loop() -> None:
    """Median centre, per-record standard deviation plus 1e-30, mean over queries: the published code's formula."""
    expected = np.zeros(len(TARGET))
    for view in (TARGET, *TARGET.queries):
        for j, (phi, inside, outside) in enumerate(split(view)):
            expected[j] += norm.logpdf(phi, np.median(inside), inside.std() + 1e-30)
            expected[j] -= norm.logpdf(phi, np.median(outside), outside.std() + 1e-30)
    np.testing.assert_allclose(Lira("per-record", "median")(TARGET), expected / 3, rtol=1e-9)


@pytest.mark.parametrize("centre", ["mean", "median"])
def test_lira_residual_pools_what_is_left_around_the_centres(centre: str) -> None:
    """One standard deviation per side, of all residuals together, as TensorFlow Privacy has it."""
    middle = np.mean if centre == "mean" else np.median
    expected = np.zeros(len(TARGET))
    for view in (TARGET, *TARGET.queries):
        records = split(view)
        std_in = np.concatenate([inside - middle(inside) for _, inside, _ in records]).std()
        std_out = np.concatenate([outside - middle(outside) for _, _, outside in records]).std()
        for j, (phi, inside, outside) in enumerate(records):
            expected[j] += norm.logpdf(phi, middle(inside), std_in) - norm.logpdf(phi, middle(outside), std_out)
    np.testing.assert_allclose(Lira("residual", centre)(TARGET), expected / 3, rtol=1e-9)  # type: ignore[arg-type]


def test_lira_raw_takes_the_spread_over_all_records() -> None:
    """The published fix_variance: the standard deviation of all signals trained with their record, for both sides."""
    signals = POOL.target(0)
    expected = np.zeros(len(signals))
    for view in (signals, *signals.queries):
        std = view.reference[view.included].std()
        for j, (phi, inside, outside) in enumerate(split(view)):
            expected[j] += norm.logpdf(phi, inside.mean(), std) - norm.logpdf(phi, outside.mean(), std)
    np.testing.assert_allclose(Lira("raw")(signals), expected / 3, rtol=1e-9)


def test_lira_shrunk_is_the_posterior_predictive() -> None:
    """Inverse-gamma prior around the pooled variance, flat prior on the mean: a Student-t, record by record."""
    signals = POOL.target(5)
    expected = np.zeros(len(signals))
    for view in (signals, *signals.queries):
        records = split(view)
        for groups, sign in (([r[1] for r in records], 1.0), ([r[2] for r in records], -1.0)):
            n = groups[0].size
            variances = np.array([group.var(ddof=1) for group in groups])
            pooled = variances.mean()
            ratio = np.mean(variances**2) / (1 + 2 / (n - 1)) / pooled**2
            prior = (4 * ratio - 2) / (ratio - 1) if ratio > 1 else 1e6
            for j, group in enumerate(groups):
                degrees = prior + n - 1
                squares = ((prior - 2) * pooled + np.sum((group - group.mean()) ** 2)) / degrees * (1 + 1 / n)
                expected[j] += sign * student.logpdf(view.phi[j], degrees, group.mean(), np.sqrt(squares))
    np.testing.assert_allclose(Lira()(signals), expected / 3, rtol=1e-7, atol=1e-7)


def test_shrinkage_goes_from_pooled_to_per_record() -> None:
    """With one variance for all, the shrunk ratio is the residual-pooled one; with many different ones, per record.

    At 2,000 references both predictive laws are normal, so the two ends can be compared directly.
    """
    rng = np.random.default_rng(2)
    included = pairs(2000, 30, rng)
    for spread, variance in ((np.ones(30), "residual"), (np.geomspace(1, 4, 30), "per-record")):
        phi = spread * (rng.normal(size=included.shape) + included)
        signals = Signals(phi[0], reference=phi[2:], included=included[2:])
        np.testing.assert_allclose(Lira()(signals), Lira(variance)(signals), rtol=0.05, atol=0.02)  # type: ignore[arg-type]


def test_lira_offline_is_the_z_score_and_keeps_the_order_of_the_tail() -> None:
    """(φ - mean) / std of the models without the record; it ranks as Pr[Z ≤ φ] does, where that does not round."""
    signals = POOL.target(2)
    z = np.mean(
        [
            [(phi - outside.mean()) / (outside.std() + 1e-30) for phi, _, outside in split(view)]
            for view in (signals, *signals.queries)
        ],
        axis=0,
    )
    np.testing.assert_allclose(LiraOffline("per-record")(signals), z, rtol=1e-9)
    one = Signals(signals.phi, reference=signals.reference, included=signals.included)
    below_one = norm.cdf(LiraOffline("per-record")(one)) < 1
    scores = LiraOffline("per-record")(one)[below_one]
    np.testing.assert_array_equal(np.argsort(scores), np.argsort(norm.cdf(scores)))


def test_lira_offline_density_also_accuses_the_low_side() -> None:
    """Minus the log-density under the models without the record, from the published code."""
    one = Signals(TARGET.phi, reference=TARGET.reference, included=TARGET.included)
    expected = [-norm.logpdf(phi, np.median(outside), outside.std() + 1e-30) for phi, _, outside in split(one)]
    np.testing.assert_allclose(LiraOfflineDensity()(one), expected, rtol=1e-9)
    low = Signals(np.array([-9.0]), reference=np.array([[0.0], [1.0]]), included=np.zeros((2, 1), bool))
    high = Signals(np.array([0.6]), reference=low.reference, included=low.included)
    assert LiraOfflineDensity()(low) > LiraOfflineDensity()(high)
    assert LiraOffline("per-record")(low) < LiraOffline("per-record")(high)


@pytest.mark.parametrize("gamma", [1.0, 1.5, 2.0])
def test_rmia_by_sort_and_search_is_the_direct_form(gamma: float) -> None:
    """#{z : ratio(x) ≥ γ ratio(z)} counted over every pair (x, z), online and offline."""
    assert TARGET.population is not None
    z = TARGET.population
    p, p_z = expit(TARGET.phi), expit(z.phi)
    references, references_z = expit(TARGET.reference), expit(z.reference)
    online = np.array([(r[i].mean() + r[~i].mean()) / 2 for r, i in zip(references.T, TARGET.included.T, strict=True)])
    out = np.array([r[~i].mean() for r, i in zip(references.T, TARGET.included.T, strict=True)])
    for attack, mean, mean_z in (
        (Rmia(gamma), online, references_z.mean(0)),
        (RmiaOffline(0.3, gamma), (1.3 * out + 0.7) / 2, (1.3 * references_z.mean(0) + 0.7) / 2),
    ):
        ratio, ratio_z = p / mean, p_z / mean_z
        beaten = (ratio[:, None] >= gamma * ratio_z[None, :]).sum(axis=1)
        scores = attack(TARGET) * (len(z) + 1)
        np.testing.assert_array_equal(np.floor(scores), beaten)
        np.testing.assert_allclose(scores - beaten, ratio / (1 + ratio), atol=1e-9)
        np.testing.assert_array_equal(replace(attack, ties_by_ratio=False)(TARGET), beaten / len(z))


def test_rmia_ties_are_broken_by_the_ratio() -> None:
    """For one target the order is that of p(x)/Pr(x) alone, which is BASE's order with balanced references."""
    np.testing.assert_array_equal(np.argsort(Rmia()(TARGET)), np.argsort(Base()(TARGET)))


def test_base_calibrated_offset_and_attack_r_equal_their_definitions() -> None:
    """Each formula in plain arithmetic, record by record."""
    records = split(TARGET)
    together = np.array([np.concatenate([inside, outside]) for _, inside, outside in records])
    p = expit(TARGET.phi)
    out = np.array([expit(outside).mean() for _, _, outside in records])
    np.testing.assert_allclose(Base()(TARGET), np.log(p / expit(together).mean(axis=1)), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(BaseOffline()(TARGET), np.log(p) - 0.33 * np.log(out), rtol=1e-9)
    loss = [np.log1p(np.exp(-outside)).mean() - np.log1p(np.exp(-phi)) for phi, _, outside in records]
    np.testing.assert_allclose(Calibrated()(TARGET), loss, rtol=1e-9, atol=1e-12)
    middle = [phi - (inside.mean() + outside.mean()) / 2 for phi, inside, outside in records]
    np.testing.assert_allclose(Offset()(TARGET), middle, rtol=1e-9, atol=1e-12)
    share = [(np.sum(outside <= phi) + 0.5) / (outside.size + 1) for phi, _, outside in records]
    np.testing.assert_allclose(AttackR("empirical")(TARGET), share, rtol=1e-12)


def test_multi_signal_does_not_count_a_copy_twice() -> None:
    """With independent signals the joint ratio is the sum of single ones; a near-copy adds next to nothing."""
    rng = np.random.default_rng(0)
    pool = synthetic(60, 200, seed=1)
    included = pool.included
    independent = pool.phi + 0.0
    other = rng.normal(size=pool.phi.shape) * 1.1 + included
    copy = independent + 0.001 * rng.normal(size=pool.phi.shape)

    def scores(second: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
        return MultiSignalLira()(PoolSignals(independent, included, queries=(second,)).target(0))

    single = [Lira("residual")(PoolSignals(phi, included).target(0)) for phi in (independent, other)]
    useless = rng.normal(size=other.shape)  # as much an extra dimension as the near-copy, and nothing in it
    assert np.std(scores(copy) - single[0]) < 1.5 * np.std(scores(useless) - single[0])
    assert np.corrcoef(scores(other), single[0] + single[1])[0, 1] > 0.98


@pytest.mark.parametrize(
    "attack",
    [
        Lira("shrunk"), Lira("per-record"), Lira("residual"), Lira("raw"), Lira("residual", "median"),
        LiraOffline(), LiraOffline("per-record"), LiraOffline("raw"), LiraOfflineDensity("shrunk", "mean"),
        Rmia(), Rmia(2.0), RmiaOffline(), Base(),
        BaseOffline(), Calibrated(), Auto(), Loss(),
    ],
    ids=repr,
)  # fmt: skip
def test_all_targets_at_once_equal_one_at_a_time(attack: object) -> None:
    """The running-sum form over a pool gives each target what it gets when looked at alone without its pair."""
    expected = np.stack([attack(POOL.target(model)) for model in range(len(POOL))])  # type: ignore[operator]
    np.testing.assert_allclose(leave_pair_out(attack, POOL), expected, rtol=1e-8, atol=1e-10)  # type: ignore[arg-type]


def test_confidences_that_differ_by_hundreds_of_orders_do_not_break_the_sums() -> None:
    """A pair with p = 1 among references at 1e-200: left out, the mean is that of the others, to 1e-9 relative."""
    phi = np.full((6, 1), -460.0)
    phi[2:4] = 40.0
    included = np.array([[True], [False]] * 3)
    scores = leave_pair_out(Base(), PoolSignals(phi, included))
    assert scores[2, 0] == pytest.approx(460.0, rel=1e-9)


ONLINE = ["attack-r", "auto", "base", "base-offline", "calibrated", "lira", "lira-offline", "lira-offline-density",
          "loss", "offset", "rmia", "rmia-offline", "attack-p", "risk-score", "classifier"]  # fmt: skip
TRAINED = {"risk-score", "classifier"}  # slow, and the number of references plays no part in them
# Need classes, queries, checkpoints, records or spent truth: φ alone is not enough for them.
FULL = ["classifier-on-target", "confidence", "entropy", "gap", "hinge", "modified-entropy", "multi-signal-lira",
        "robustness", "trajectory", "quantile"]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "models"),
    [
        (name, models)
        for name in ONLINE
        for models in (4, 6, 8, 10, 16)
        if models == 6 or name not in TRAINED
        if models > 4 or name != "lira-offline-density"  # fits a variance to two models on a side
    ],
)
def test_null_signals_give_an_auc_of_one_half(name: str, models: int) -> None:
    """φ without any leak: the mean AUC over all targets is 0.5, judged by its spread over 12 independent pools.

    The targets of one pool share references, so a pool is one observation. |t| > 5 with 11 degrees of freedom has a
    probability of 4 in 10,000 for a fresh seed; the seeds are fixed. A count of members that shows through the design
    (leaving out one model instead of its pair) moves the AUC to 0.43 at 8 models and fails this.
    """
    attack = registry.resolve("membership", name)()
    means = []
    for seed in range(12):
        pool = synthetic(models, 90, 60, seed=1000 + seed, shift=0.0)
        scores = leave_pair_out(attack, pool)
        means.append(np.mean([Roc.of(Scores.join(scores[t], pool.included[t])).auc for t in range(models)]))
    assert abs(np.mean(means) - 0.5) < 5 * np.std(means, ddof=1) / np.sqrt(12)


def exchangeable(models: int, *, seed: int) -> PoolSignals:
    """Logits, queries, checkpoints and records that have nothing to do with membership."""
    rng = np.random.default_rng(seed)
    records, population = 90, 210
    y, yz = rng.integers(0, 3, records), rng.integers(0, 3, population)

    def seen(labels: IntArray) -> tuple[FloatArray, FloatArray]:
        logits = rng.normal(0, 1, (models, labels.size, 3)) + 2 * np.eye(3)[labels]
        return logit_scaled_confidence(logits, labels), log_softmax(logits, axis=-1)

    (phi, log_p), (again, log_again), (early, _), (z, log_z) = seen(y), seen(y), seen(y), seen(yz)
    return PoolSignals(
        phi, pairs(models, records, rng), y, log_p, z, yz, (again,), rng.normal(size=(records, 2)),
        rng.normal(size=(population, 2)), log_z, (log_again,), (early,),
    )  # fmt: skip


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name == "quantile" else name for name in FULL]
)
def test_exchangeable_outputs_give_every_other_attack_an_auc_of_one_half(name: str) -> None:
    """As above, for the attacks that look at more than φ, on two targets; all of them take 4 references."""
    attack = registry.resolve("membership", name)()
    means = []
    for seed in range(12):
        pool, aucs = exchangeable(6, seed=2000 + seed), []
        for t in range(2):
            signals, kept = audited_part(attack, pool.target(t), pool.included[t])
            aucs.append(Roc.of(Scores.join(attack(signals), pool.included[t][kept])).auc)
        means.append(np.mean(aucs))
    assert abs(np.mean(means) - 0.5) < 5 * np.std(means, ddof=1) / np.sqrt(12)


def test_no_attack_escapes_the_null() -> None:
    """A new name in the registry is in one of the two lists."""
    assert sorted(ONLINE + FULL) == sorted(registry.KINDS["membership"])


def test_a_leak_is_seen_by_every_attack_with_references() -> None:
    """Broken on purpose: members one unit higher. Every attack's mean AUC is clearly above one half."""
    pool = synthetic(16, 300, 100, seed=5, shift=1.5)
    for name in set(ONLINE) - {"lira-offline-density"}:
        scores = leave_pair_out(registry.resolve("membership", name)(), pool)
        aucs = [Roc.of(Scores.join(scores[t], pool.included[t])).auc for t in range(len(pool))]
        assert np.mean(aucs) > 0.6, name


def test_leaving_out_the_target_alone_would_show_its_membership() -> None:
    """The trap the pairs close: with the partner kept, the number of references with a record betrays the target.

    Each record is in exactly half of the models, so the counts alone classify perfectly.
    """
    included = pairs(8, 100, np.random.default_rng(0))
    for t in range(8):
        others = np.delete(included, t, axis=0)
        assert Roc.of(Scores.join(-others.sum(axis=0).astype(float), included[t])).auc == 1.0
        paired = POOL.target(t).included
        assert len(set(paired.sum(axis=0))) == 1


def test_auto_goes_by_the_number_of_references() -> None:
    """0: loss, 2 to 28: base, 30 and more: lira; offline when a record is in no reference."""
    assert Auto().chosen(Signals(np.zeros(3))).version == "loss/1"
    assert Auto().chosen(synthetic(4).target(0)).version == "base/1"
    assert Auto().chosen(synthetic(32).target(0)).version == "lira/1"
    offline = Signals(np.zeros(1), reference=np.zeros((5, 1)), included=np.zeros((5, 1), bool))
    assert Auto().chosen(offline).version == "base-offline/1"


@pytest.mark.parametrize(
    ("attack", "signals", "message"),
    [
        (Lira(), Signals(np.zeros(2)), "needs at least 1 reference"),
        (Lira("per-record"), synthetic(4).target(0), "needs at least 2 reference"),
        (LiraOffline(), Signals(np.zeros(1), None, None, np.zeros((3, 1)), np.ones((3, 1), bool)), "trained with and"),
        (Lira(), Signals(np.zeros(2), None, None, np.zeros((4, 2)), pairs(4, 2, np.random.default_rng(0))), "vary"),
        (Rmia(), Signals(np.zeros(2), None, None, np.zeros((2, 2)), np.eye(2, dtype=bool)), "needs a population"),
        (Base(), Signals(np.zeros(2)), "no reference model"),
        (MultiSignalLira(), Signals(np.zeros(2)), "needs queries"),
    ],
)
def test_missing_references_are_named(attack: object, signals: Signals, message: str) -> None:
    """An attack never weakens silently: what it lacks is an InputError."""
    with pytest.raises(InputError, match=message):
        attack(signals)  # type: ignore[operator]


def test_a_pool_must_come_in_pairs() -> None:
    """Independent halves are refused: their counts would show who was the target."""
    with pytest.raises(InputError, match="complementary pairs"):
        PoolSignals(np.zeros((4, 2)), np.ones((4, 2), bool))
