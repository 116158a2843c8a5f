"""Many federations, crafted records, properties and sources: right mechanisms pass, broken ones are caught."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from dpaudit.accounting.claim import FULL_BATCH, Claim, GaussianSteps, Protection
from dpaudit.accounting.gaussian import gaussian_epsilon
from dpaudit.audits.audit import Audit, Subject
from dpaudit.audits.federated import FederatedSettings, audit_federations
from dpaudit.audits.federated.gradient_canaries import cosines, random_directions
from dpaudit.audits.federated.multi_canaries import Lifted
from dpaudit.audits.federated.record_canaries import Crafted, craft
from dpaudit.audits.federated.update_inference import Inference, Updates
from dpaudit.audits.federated.user_bound import user_bound
from dpaudit.audits.federated.user_membership import RIDGES, likeliest_ridge
from dpaudit.audits.score import audit_scores
from dpaudit.bounds.lower_bound import Estimate
from dpaudit.data.users import Dirichlet
from dpaudit.reports.html import page
from dpaudit.results.federated import CraftedResult, FederatedResult, LiftedResult, PropertyResult, SourceResult
from dpaudit.runtime.errors import InputError
from dpaudit.scores.roc import Roc
from dpaudit.scores.scores import Scores
from dpaudit.training.federated.aggregation import Distributed, FixedClip, LocalNoise, Tree
from dpaudit.training.federated.participation import OncePerEpoch, PoissonClients
from dpaudit.training.federated.trainer import Federated
from dpaudit.training.trainer import TrainedModel
from tests.audits.federated.federations import federation, small_audit


def audited(trainer: Federated, claim: Claim | None = None) -> Audit:
    """The small audit with one model of this trainer, untrained: these audits ask its federations, not the model."""
    audit = small_audit()
    model = TrainedModel(lambda features: np.zeros((len(features), 10)), {}, trainer.mechanism(len(audit.dataset)))
    return replace(audit, subjects=(Subject("model", trainer, model, claim),))


@pytest.mark.parametrize("epsilon", [1.0, 4.0, 10.0])
def test_bounds_from_canary_clients_are_above_the_truth_no_more_often_than_stated(epsilon: float) -> None:
    """200 Gaussian releases with 60 canaries behind coins: a 95 % bound is above the exact ε in at most 20 of them.

    Twenty is the 99.9 % point of Binomial(200, 0.05).
    """
    from dpaudit.accounting.gaussian import gaussian_mu

    rng, above = np.random.default_rng(0), 0
    canaries, dimension, mu = 60, 400, gaussian_mu(epsilon, 1e-5)
    for number in range(200):
        directions = random_directions(canaries, dimension, seed=number)
        present = rng.random(canaries) < 0.5
        release = mu * directions[present].sum(axis=0) + rng.normal(size=dimension)
        scores = Scores.join(cosines(directions, release), present)
        bound = user_bound(scores, Protection("user", "add-remove", 1e-5), 0.95, seed=number)
        above += bound.epsilon > epsilon
    assert above <= 20


@pytest.mark.parametrize(("candidates", "dimension"), [(5, 12), (10, 4)])
def test_the_ridge_is_the_one_under_which_a_release_is_likeliest(candidates: int, dimension: int) -> None:
    """The density of the release by scipy, with the covariance written out and its scale fitted, for every ratio."""
    rng = np.random.default_rng(candidates)
    x = rng.normal(size=(candidates, dimension))
    y = rng.normal(size=candidates) @ x + rng.normal(size=dimension)

    def log_density(ridge: float) -> float:
        covariance = x.T @ x + ridge * np.eye(dimension)
        scale = y @ np.linalg.solve(covariance, y) / dimension
        return float(multivariate_normal.logpdf(y, np.zeros(dimension), scale * covariance))

    ridges = RIDGES * np.trace(x @ x.T) / candidates
    best = max(ridges, key=log_density)
    assert likeliest_ridge(x @ x.T, x @ y, float(y @ y), dimension) == pytest.approx(best)


@pytest.mark.tf
@pytest.mark.parametrize(
    ("federations", "noise"),
    [(20, 8.0), pytest.param(128, 8.0, marks=pytest.mark.slow), pytest.param(128, 0.0, marks=pytest.mark.slow)],
)
def test_many_federations_with_many_canaries(federations: int, noise: float) -> None:
    """Noise 8 in four rounds is ε = 0.96 per user: the interval stays below. Without noise it goes above.

    Of the fresh directions 5 % give an alarm within 4.5 standard errors (chance 1e-5), noise or none.
    """
    settings = FederatedSettings(lifted=Lifted(federations=federations, canaries=8))
    (found,) = audit_federations(settings, audited(federation(aggregator=FixedClip(0.05, noise)))).lifted
    assert found.alarms == pytest.approx(0.05, abs=4.5 * (0.05 * 0.95 / (4 * federations)) ** 0.5)
    assert (found.bound.epsilon <= gaussian_epsilon(2 / 8.0, 1e-5)) is (noise > 0)
    assert found.bound.unit == "user"


@pytest.mark.tf
def test_a_crafted_record_is_orthogonal_to_the_others() -> None:
    """Adam lowers the mean squared cosine with the mock clients' updates below that of the record it starts from."""
    audit = small_audit()
    prepared = federation().prepare(audit.dataset, seed=1)
    weights = prepared.network.weights(prepared.start, 0)
    rows = np.array_split(np.arange(200), 20)
    mock = prepared.updates(weights, rows, round_number=0, seed=1)
    unit = mock / np.linalg.norm(mock, axis=1, keepdims=True)
    record = audit.population.take(np.array([0]))
    start = prepared.updates(weights, [np.array([0])], round_number=0, seed=1)[0]
    made = craft(prepared.network, weights, mock, record, Crafted())
    assert np.linalg.norm(made) == pytest.approx(1.0)
    assert ((unit @ made) ** 2).mean() < 0.25 * ((unit @ start / np.linalg.norm(start)) ** 2).mean()


@pytest.mark.tf
def test_crafted_records_measure_the_noise_of_each_round() -> None:
    """With everybody in every round the scores are normal, a canary shifts them by 1, and their deviation is z = 0.5.

    The estimate of z has relative standard error √(1/(2n) + 4 z²/n) for n draws, half of them with the canary: within
    4.5 of them (two rounds, chance 1e-5). Half of the noise would be 3.5 standard errors outside of that. The bound is
    one on a single round, ε = 9.997 at z = 0.5 (closed form).
    """
    claim = Claim(
        gaussian_epsilon(4.0, 1e-5), 1e-5, "user", "add-remove", "test", GaussianSteps(0.5, 4, FULL_BATCH, unit="user")
    )
    settings = FederatedSettings(crafted=Crafted(rounds=2, draws=200))
    found = audit_federations(settings, audited(federation(aggregator=FixedClip(0.5, 0.5)), claim)).crafted
    assert [one.round for one in found] == [0, 3]
    error = (1 / 400 + 4 * 0.25 / 200) ** 0.5
    for one in found:
        assert one.noise_multiplier == pytest.approx(0.5, rel=4.5 * error)
        assert one.training_epsilon == pytest.approx(gaussian_epsilon(2 / one.noise_multiplier, 1e-5))
        assert one.bound.epsilon <= gaussian_epsilon(2.0, 1e-5)


@pytest.mark.tf
def test_crafted_records_see_that_there_is_no_noise() -> None:
    """Every release with the canary scores higher than every one without: no noise, ε infinite, a bound above 2."""
    settings = FederatedSettings(crafted=Crafted(rounds=1, draws=100))
    (found,) = audit_federations(settings, audited(federation())).crafted
    assert found.noise_multiplier == 0
    assert found.estimate.epsilon == np.inf
    assert found.bound.epsilon > 2


@pytest.mark.tf
@pytest.mark.parametrize(
    ("parameters", "settings", "message"),
    [
        (
            {"aggregator": Tree(0.5, 1.0), "participation": OncePerEpoch(2)},
            {"crafted": Crafted()},
            "noise of many rounds",
        ),
        ({"participation": PoissonClients(0.2)}, {"crafted": Crafted(draws=20)}, "raise federated.crafted.draws"),
        (
            {"aggregator": Distributed(0.5, 1.0, threshold=0.1)},
            {"inference": Inference()},
            "its server sees no client's own update",
        ),
        ({}, {"inference": Inference(classes=[11], records=0)}, "class 11 makes 0% of the population"),
        ({}, {"lifted": Lifted(canaries=700, federations=20)}, "at most 605 would"),
    ],
)
def test_what_cannot_be_audited_says_why(parameters: dict[str, Any], settings: dict[str, Any], message: str) -> None:
    """One line each."""
    with pytest.raises(InputError, match=message):
        audit_federations(FederatedSettings(**settings), audited(federation(**parameters)))


def test_an_odd_number_of_federations_is_refused() -> None:
    """One half holds all canaries, the other half all but one."""
    with pytest.raises(ValueError, match="must be even, got 21"):
        Lifted(federations=21)


def test_rounds_in_which_nobody_answered_are_refused() -> None:
    """There is nothing to read; the message names the model."""
    with pytest.raises(InputError, match="no client of 'model' answered"):
        Updates(FixedClip(1.0, 0.0), 5, 2, seed=0).clients("model")


@pytest.mark.tf
def test_skewed_clients_are_read_from_their_updates_and_noise_hides_them() -> None:
    """Clients of few classes: records are traced beyond 4.5 standard errors of guessing (chance 1e-5), and clients rich
    in a class are told as well as one random order of the clients in a hundred would (counted over 2,000 orders).
    Local noise of 100 times the clip leaves fewer than half of the records traced.
    """
    settings = FederatedSettings(inference=Inference(records=200, classes=[3]))
    skewed = Dirichlet(20, alpha=0.1)
    outcome = audit_federations(settings, audited(federation(clients=skewed)))
    (source,), (rich,) = outcome.sources, outcome.properties
    guessing = (source.chance * (1 - source.chance) / source.records) ** 0.5
    assert source.accuracy > source.chance + 4.5 * guessing
    rng, truth = np.random.default_rng(0), np.arange(rich.clients) < rich.holders
    by_chance = [Roc.of(Scores.join(rng.permutation(rich.clients) * 1.0, truth)).auc for _ in range(2000)]
    assert np.mean(np.array(by_chance) >= rich.auc) < 0.01
    hidden = audit_federations(settings, audited(federation(clients=skewed, aggregator=LocalNoise(0.1, 100.0))))
    assert hidden.sources[0].accuracy < 0.5


def test_the_report_shows_what_was_found() -> None:
    """Each audit has a section of its own; an infinite estimate and a missing one are words."""
    result = audit_scores(range(40), [0, 1] * 20, delta=1e-5, name="model")
    (bound,) = result.bounds("model")[:1]
    outcome = FederatedResult(
        lifted=[LiftedResult(model="model", federations=64, canaries=8, hits=0.5, alarms=0.05, bound=bound)],
        crafted=[
            CraftedResult(
                model="model",
                round=3,
                draws=200,
                took_part=90,
                overlap=0.01,
                noise_multiplier=0.0,
                estimate=Estimate(np.inf, 1e-5, "crafted canary, one round", "not a bound"),
                training_epsilon=None,
                bound=bound,
            )
        ],
        sources=[SourceResult(model="model", clients=10, records=50, accuracy=0.5, standard_error=0.07, chance=0.1)],
        properties=[
            PropertyResult(model="model", property_class=3, clients=9, holders=4, auc=0.75, auc_standard_error=0.1)
        ],
    )
    text = page(result.model_copy(update={"federated": outcome}))
    for heading in ("in many federations", "round by round", "Whose record is it?", "Who is rich in a class?"):
        assert heading in text
    assert "0.500 ± 0.070" in text
