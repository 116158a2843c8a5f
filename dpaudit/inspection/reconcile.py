"""Rung 0 of the audit ladder: a claim against the recipe it was computed from.

Nothing is trained and nothing is random; every finding is arithmetic, so there are no false alarms.
"""

import math
from dataclasses import dataclass, replace
from typing import Literal

from dpaudit.accounting.claim import TOLERANCE, Claim, FixedSize, GaussianSteps, Poisson, Sampling, Shuffled, too_small
from dpaudit.accounting.composed import epsilon_of_steps
from dpaudit.accounting.mechanism import Accounted
from dpaudit.bounds.lower_bound import Finding
from dpaudit.runtime import check
from dpaudit.runtime.errors import InputError


@dataclass(frozen=True)
class Recipe:
    """How a training was really run.

    Args:
        records: records in the training data.
        batch_size: expected records per step.
        steps: updates of the model.
        clip: clip norm C.
        noise: standard deviation of the noise on the sum of clipped gradients, at each step.
        batches: how batches were drawn; ``fixed-order`` is one partition used in every epoch.
        examples_per_clip: examples whose mean gradient is clipped as one; 1 is per example.
        accumulation: batches summed, each with noise of its own, before one update.
        records_per_user: most records of one user, where the claim protects users; None where it is not bounded.
        dropped: records that are never used (a remainder that does not fill a batch).
        trainings: how many there were, of which only the best was published; ε of what was run is that of publishing
            all of them, for no smaller figure holds for every way to choose.
    """

    records: int
    batch_size: int
    steps: int
    clip: float
    noise: float
    batches: Literal["poisson", "fixed-size", "shuffled", "fixed-order"] = "poisson"
    examples_per_clip: int = 1
    accumulation: int = 1
    records_per_user: int | None = 1
    dropped: int = 0
    trainings: int = 1

    def __post_init__(self) -> None:
        for name in ("records", "batch_size", "steps", "examples_per_clip", "accumulation", "trainings"):
            check.integer(name, getattr(self, name), at_least=1)
        check.integer("batch_size", self.batch_size, at_most=self.records)
        check.positive("clip", self.clip)
        check.nonnegative("noise", self.noise)
        check.one_of("batches", self.batches, ("poisson", "fixed-size", "shuffled", "fixed-order"))
        check.integer("dropped", self.dropped, at_least=0, at_most=self.records - 1)

    @property
    def used(self) -> int:
        """Records that can be drawn."""
        return self.records - self.dropped

    @property
    def noise_multiplier(self) -> float:
        """σ as it counts: a clipped mean of several examples can turn around, so its noise counts half."""
        return self.noise / self.clip / (1 if self.examples_per_clip == 1 else 2)

    @property
    def sampling(self) -> Sampling:
        """The sampler as the accountant knows it; one fixed partition has no amplification but one step an epoch."""
        match self.batches:
            case "poisson":
                return Poisson(self.batch_size / self.used)
            case "fixed-size":
                return FixedSize(self.batch_size, self.used)
            case "shuffled":
                return Shuffled(max(1, self.used // self.batch_size))
            case _:
                return Poisson(1.0)

    @property
    def mechanism(self) -> GaussianSteps:
        """What was run."""
        noisy_steps = self.steps * self.accumulation
        if self.batches == "fixed-order":
            noisy_steps = math.ceil(noisy_steps * self.batch_size / self.used)
        return GaussianSteps(self.noise_multiplier, noisy_steps * self.trainings, self.sampling)


def reconcile(claim: Claim, recipe: Recipe) -> tuple[Finding, ...]:
    """Every difference between what a claim assumes and what a recipe did.

    Args:
        claim: with the mechanism it was computed from.
        recipe: what was run.

    Raises:
        InputError: the claim does not say which mechanism it was computed from.

    >>> steps = GaussianSteps(noise_multiplier=1.0, steps=100, sampling=Poisson(0.01))
    >>> claim = Claim(0.5, 1e-5, "record", "add-remove", "the training log", steps)
    >>> recipe = Recipe(records=10_000, batch_size=100, steps=1_000, clip=2.0, noise=2.0)
    >>> [finding.check for finding in reconcile(claim, recipe)]
    ['claimed figure', 'steps']
    """
    if claim.mechanism is None:
        raise InputError("a claim can be reconciled only with the mechanism it was computed from.")
    differences = [
        *_figure(claim, claim.mechanism),
        *_parameters(claim.mechanism, recipe),
        *_procedure(claim, claim.mechanism, recipe),
    ]
    truth = _truth(claim, recipe) if any(f.severity == "violation" for f in differences) else None
    return tuple(
        replace(finding, true_epsilon=truth) if finding.true_epsilon is None else finding for finding in differences
    )


def reconcile_training(claim: Claim, ran: GaussianSteps) -> tuple[Finding, ...]:
    """A claim's ε against the mechanism a trainer says it ran, when there is no more to go by.

    >>> claim = Claim(1.0, 1e-5, "record", "add-remove", "a slide")
    >>> [finding.check for finding in reconcile_training(claim, GaussianSteps(1.0, 1000, Poisson(0.01)))]
    ['claimed figure']
    """
    findings = _figure(claim, ran)
    if isinstance(ran.sampling, Shuffled):
        findings.append(
            replace(
                _finding(
                    "sampler",
                    f"batches shuffled once an epoch, {ran.sampling.batches_per_epoch} of them",
                    "accounted as if each were drawn by Poisson coins: the true ε may be larger",
                    "the sampler that was run",
                    "draw batches by Poisson coins; for shuffled ones see dpaudit.accounting.shuffle_lower_bound",
                ),
                severity="warning",
            )
        )
    return tuple(findings)


def _figure(claim: Claim, assumed: GaussianSteps) -> list[Finding]:
    """Whether ε follows from the claim's own mechanism."""
    if isinstance(assumed.sampling, FixedSize) and claim.adjacency == "add-remove":
        return [
            _finding(
                "adjacency",
                "batches of fixed size under add-remove adjacency",
                "no such accounting exists: the number of records is part of the mechanism",
                "replace-one or zero-out adjacency",
                "claim replace-one adjacency, or sample by Poisson coins",
            )
        ]
    accounted = epsilon_of_steps(assumed, delta=claim.delta, adjacency=claim.adjacency)
    follows = accounted.certain
    if not too_small(claim.epsilon, follows):
        return _undecided(claim, accounted)
    observed, remedy = (
        f"its own mechanism gives ε = {follows:.4g} at δ = {claim.delta:g}",
        "state the accountant's figure",
    )
    if claim.adjacency == "replace-one":
        easier = epsilon_of_steps(_as_poisson(assumed), delta=claim.delta, adjacency="add-remove").epsilon
        if math.isclose(claim.epsilon, easier, rel_tol=10 * TOLERANCE):
            return [
                _finding(
                    "adjacency",
                    f"ε = {claim.epsilon:g} for replaced records",
                    f"that is the figure for added or removed ones; {observed}",
                    "one adjacency in claim and accounting",
                    "account with sensitivity 2C, or claim add-remove adjacency",
                    follows,
                )
            ]
    if assumed.sampling.rate == 1 and assumed.steps == 1 and claim.delta > 0:
        classical = math.sqrt(2 * math.log(1.25 / claim.delta)) / assumed.noise_multiplier
        if classical > 1 and math.isclose(claim.epsilon, classical, rel_tol=10 * TOLERANCE):
            observed += "; the classical formula σ = √(2 ln(1.25/δ))/ε holds only below ε = 1"
    fed = f"claimed ε = {claim.epsilon:g}"
    return [_finding("claimed figure", fed, observed, f"ε of at least {follows:.4g}", remedy, follows)]


def _undecided(claim: Claim, accounted: Accounted) -> list[Finding]:
    """A claim below what theory can show, and not below what is certain: nothing is proven either way."""
    if not too_small(claim.epsilon, accounted.epsilon):
        return []
    kind = "figure for Poisson batches" if accounted.optimistic else "smallest upper bound known"
    found = _finding(
        "claimed figure",
        f"claimed ε = {claim.epsilon:g}",
        f"the {kind} for its own mechanism is ε = {accounted.epsilon:.4g} ({accounted.method}), the "
        f"largest lower bound {accounted.at_least:.4g}: the claim lies between them",
        f"a claim of at least {accounted.epsilon:.4g}, or an accountant that shows less",
        "say which accountant the figure is from",
    )
    return [replace(found, severity="warning")]


def _parameters(assumed: GaussianSteps, recipe: Recipe) -> list[Finding]:
    findings = []
    rate = recipe.batch_size / recipe.used
    if rate > assumed.sampling.rate * (1 + TOLERANCE):
        findings.append(
            _finding(
                "sampling rate",
                f"batches of {recipe.batch_size} from {recipe.used} records",
                f"rate {rate:.4g}, and {assumed.sampling.rate:.4g} was accounted",
                "batch size over the records that can be drawn",
                "account with the records of the training split, and with the batch over all workers",
            )
        )
    if recipe.steps * recipe.accumulation > assumed.steps:
        findings.append(
            _finding(
                "steps",
                f"{recipe.steps * recipe.accumulation} noisy steps",
                f"{assumed.steps} were accounted",
                "every noisy step accounted, over resumes too",
                "step the accountant at each release: steps are not epochs, and a resumed run goes on counting",
            )
        )
    elif recipe.steps * recipe.accumulation * recipe.trainings > assumed.steps:
        findings.append(
            _finding(
                "trainings",
                f"{recipe.trainings} trainings of {recipe.steps * recipe.accumulation} noisy steps, the best published",
                f"{assumed.steps} steps were accounted",
                "the steps of all trainings that were chosen from",
                "account for all of them, or draw their number at random (dpaudit epsilon --selection)",
            )
        )
    given = recipe.noise / recipe.clip
    if too_small(given, assumed.noise_multiplier):
        findings.append(
            _finding(
                "noise multiplier",
                f"noise {recipe.noise:g} on sums of gradients clipped to {recipe.clip:g}",
                f"noise multiplier {given:.4g}, and {assumed.noise_multiplier:g} was accounted",
                f"noise {assumed.noise_multiplier * recipe.clip:.4g}",
                "multiply the noise multiplier by the clip norm, and do not divide it by the batch twice",
            )
        )
    return findings


def _procedure(claim: Claim, assumed: GaussianSteps, recipe: Recipe) -> list[Finding]:
    findings = []
    kinds = {"poisson": Poisson, "fixed-size": FixedSize, "shuffled": Shuffled}
    whole = assumed.sampling.rate == 1 and recipe.batch_size == recipe.used
    if not whole and not isinstance(assumed.sampling, kinds.get(recipe.batches, type(None))):
        findings.append(
            _finding(
                "sampler",
                f"{recipe.batches} batches",
                f"{type(assumed.sampling).__name__} sampling was accounted",
                "the sampler that was run",
                "draw batches by Poisson coins; for shuffled ones see dpaudit.accounting.shuffle_lower_bound",
            )
        )
    if recipe.examples_per_clip > 1:
        findings.append(
            _finding(
                "clipped means",
                f"means of {recipe.examples_per_clip} examples are clipped",
                "one example can turn a clipped mean around: sensitivity 2C",
                "examples clipped one by one",
                "one example in each microbatch, or half the noise multiplier in the accountant",
            )
        )
    if claim.unit == "user" and recipe.records_per_user != 1:
        many = "without a bound" if recipe.records_per_user is None else f"up to {recipe.records_per_user}"
        findings.append(
            _finding(
                "unit",
                f"users have {many} records, each clipped on its own",
                "the accounting protects one record",
                "all of a user's data behind one clip",
                "clip per user, or account for the group",
                math.inf if recipe.records_per_user is None else None,
            )
        )
    if recipe.dropped:
        findings.append(
            replace(
                _finding(
                    "dropped remainder",
                    f"{recipe.dropped} records are never used",
                    "which ones are used depends on the number of records, and the rate is higher than it seems",
                    "every record can be drawn",
                    "sample by Poisson coins, which leave no remainder",
                ),
                severity="warning",
            )
        )
    return findings


def _truth(claim: Claim, recipe: Recipe) -> float | None:
    """ε of what was run: by the accountant, None where no tight accounting is known."""
    mechanism = recipe.mechanism
    if mechanism.noise_multiplier == 0:
        return math.inf
    group = recipe.records_per_user if claim.unit == "user" else 1
    if group is None:
        return math.inf
    match mechanism.sampling:
        case FixedSize():
            if claim.adjacency == "add-remove" or group > 1:
                return None
        case Shuffled() if mechanism.sampling.rate < 1:
            return None
    return epsilon_of_steps(mechanism, delta=claim.delta, adjacency=claim.adjacency, group=group).certain


def _as_poisson(mechanism: GaussianSteps) -> GaussianSteps:
    return replace(mechanism, sampling=Poisson(mechanism.sampling.rate))


def _finding(
    check: str, fed: str, observed: str, expected: str, remedy: str, true_epsilon: float | None = None
) -> Finding:
    return Finding(check, "violation", fed, observed, expected, remedy, rung=0, true_epsilon=true_epsilon)
