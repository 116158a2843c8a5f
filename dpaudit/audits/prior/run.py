"""The candidate attack on DP-SGD traces beside the reconstruction bound: how much noise is there really?"""

import math
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from dpaudit.accounting.claim import GaussianSteps, Poisson
from dpaudit.accounting.mechanism import epsilon, trade_off
from dpaudit.attacks.gradient.candidate_attack import CandidateAttack, PrivacyUnits, RecordContributions
from dpaudit.attacks.gradient.candidate_game import Game, play_games
from dpaudit.attacks.gradient.candidate_game_limits import (
    equivalent_mu,
    orthogonal_success,
    simplex_success,
    violation_power,
)
from dpaudit.attacks.gradient.dense_network import DenseNetwork
from dpaudit.audits.architecture import ArchitectureSettings
from dpaudit.audits.audit import Audit
from dpaudit.bounds.reconstruction import Successes, from_definition, judge_reconstruction, within_family
from dpaudit.data.dataset import Dataset
from dpaudit.results.prior import GameCell, PriorResult
from dpaudit.runtime.errors import InputError


class PriorSettings(BaseModel):
    """``[prior]``: DP-SGD of a small network with one hidden record among candidates, many times.

    Args:
        candidates: numbers of candidates M; guessing succeeds with 1 / M.
        noise_multipliers: of the runs.
        claimed_noise: what the accountant is told, when that is not what is added (to show that the audit sees it).
        runs: games per cell.
        records: records of a training, the hidden one included.
        hidden: width of the hidden layers of a dense network.
        architecture: another model instead, by kind, with its parameters beside it; any the stacked engine reads.
        clip: of every record's gradient.
        steps: releases.
        rate: Poisson sampling rate; 1 for full batches.
        learning_rate: of the server.
        score: of the attack.
        suspected: share of the claimed noise for which the audit's power is reported.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    candidates: list[int] = Field(default=[10, 100], min_length=1)
    noise_multipliers: list[float] = Field(min_length=1)
    claimed_noise: list[float] | None = None
    runs: int = Field(default=500, ge=1)
    records: int = Field(default=1000, ge=2)
    hidden: list[int] = [10]
    architecture: ArchitectureSettings | None = None
    clip: float = Field(default=0.1, gt=0)
    steps: int = Field(default=100, ge=1)
    rate: float = Field(default=1.0, gt=0, le=1)
    learning_rate: float = Field(default=9.0, gt=0)
    score: Literal["likelihood-ratio", "sum"] = "likelihood-ratio"
    suspected: float = Field(default=0.5, gt=0, lt=1)

    @model_validator(mode="after")
    def _one_claim_for_each(self) -> "PriorSettings":
        if self.claimed_noise is not None and len(self.claimed_noise) != len(self.noise_multipliers):
            raise ValueError(
                f"claimed_noise must have one value for each of the {len(self.noise_multipliers)} noise_multipliers, "
                f"got {len(self.claimed_noise)}"
            )
        return self

    def require_records(self, dataset: Dataset) -> None:
        """Refuse fewer records than a game needs.

        Raises:
            InputError: so many are missing.
        """
        needed = self.records - 1 + max(self.candidates)
        if needed > len(dataset):
            raise InputError(
                f"prior: {self.records - 1} known records and {max(self.candidates)} candidates need {needed} records; "
                f"{dataset.name} has {len(dataset)} left."
            )

    def bounds(self) -> int:
        """Lower bounds and verdicts computed: three per cell."""
        return 3 * len(self.candidates) * len(self.noise_multipliers)


def audit_reconstruction(settings: PriorSettings, audit: Audit) -> PriorResult:
    """Play every cell on the audit's records; candidates are records that are in no training otherwise."""
    features = audit.dataset.features
    if settings.architecture is None:
        features = features.reshape(len(features), -1)
    settings.require_records(audit.dataset)
    claimed = settings.claimed_noise or settings.noise_multipliers
    order = np.random.default_rng(audit.seed_for("prior", "records")).permutation(len(features))
    low, high = float(features.min()), float(features.max())
    scaled = 2 * (features[order] - low) / (high - low) - 1
    labels = audit.dataset.classes[order]
    known = PrivacyUnits(scaled[: settings.records - 1], labels[: settings.records - 1])
    network = _network(settings, features.shape[1:], audit.dataset.outputs)
    contributions = RecordContributions(network, settings.clip)
    attack = CandidateAttack(contributions, settings.score)
    cells = []
    work = len(settings.noise_multipliers) * len(settings.candidates)
    with audit.progress.task("reconstruction games", work) as advance:
        for noise, told in zip(settings.noise_multipliers, claimed, strict=True):
            game = Game(contributions, known, noise, settings.steps, settings.learning_rate, settings.rate)
            steps = GaussianSteps(told, settings.steps, Poisson(settings.rate))
            for number in settings.candidates:
                rows = slice(settings.records - 1, settings.records - 1 + number)
                initial = network.initial(seed=audit.seed_for("prior", "initial"))
                seed = audit.seed_for("prior", noise, number)
                won = play_games(
                    game, attack, initial, PrivacyUnits(scaled[rows], labels[rows]), runs=settings.runs, seed=seed
                )
                cells.append(_cell(settings, audit, steps, noise, number, won.successes, won.mean_norm))
                advance(1)
    return PriorResult(steps=settings.steps, rate=settings.rate, cells=cells)


def _network(settings: PriorSettings, shape: tuple[int, ...], classes: int) -> Any:
    if settings.architecture is None:
        return DenseNetwork((shape[0], *settings.hidden, classes))
    from dpaudit.attacks.gradient.keras_network import KerasNetwork

    return KerasNetwork.of(settings.architecture.without_start("prior.architecture")(shape, classes))


def _cell(
    settings: PriorSettings, audit: Audit, claimed: GaussianSteps, noise: float, number: int, won: int, norm: float
) -> GameCell:
    curve = trade_off(claimed, adjacency="add-remove")
    gamma = curve.reconstruction(1 / number)
    result = Successes(won, settings.runs, 1 / number)
    # Power and reference curves speak of a Gaussian mechanism; for sampled steps of the one with the same γ.
    weaker = GaussianSteps(claimed.noise_multiplier * settings.suspected, claimed.steps, claimed.sampling)
    suspected = trade_off(weaker, adjacency="add-remove").reconstruction(1 / number)
    mu, suspected_mu = (_mu(value, 1 / number) for value in (gamma, suspected))
    return GameCell(
        noise_multiplier=noise,
        claimed=claimed.noise_multiplier,
        epsilon=epsilon(claimed, delta=audit.delta).epsilon,
        candidates=number,
        successes=won,
        runs=settings.runs,
        gamma=gamma,
        orthogonal=orthogonal_success(mu, number),
        simplex=simplex_success(mu, number),
        mean_norm=norm,
        power=violation_power(
            orthogonal_success(suspected_mu, number), gamma, runs=settings.runs, confidence=audit.confidence
        ),
        verdict=judge_reconstruction(result, curve, confidence=audit.confidence),
        definition=from_definition(result, delta=audit.delta, confidence=audit.confidence),
        family=within_family(result, claimed, delta=audit.delta, confidence=audit.confidence),
    )


def _mu(gamma: float, kappa: float) -> float:
    return equivalent_mu(min(max(gamma, kappa), 1 - math.ulp(1.0)), kappa)
