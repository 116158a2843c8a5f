"""The gate: results against claims, under one family-wise error level.

Every judgement is one of the three verdicts of `dpaudit.compare`. The level is a promise about the gate itself: a
model that keeps all its claims is contradicted by chance with at most that probability, whatever the number of claims.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from dpaudit import _check, measured
from dpaudit.accounting import epsilon, trade_off
from dpaudit.claim import Claim, GaussianSteps, Shuffled
from dpaudit.claims import (
    SAMPLINGS,
    CeilingClaim,
    Claims,
    EpsilonClaim,
    MechanismClaim,
    NoGrowthClaim,
    parse_metric,
)
from dpaudit.compare import Verdict, compare
from dpaudit.errors import InputError
from dpaudit.evidence import LowerBound
from dpaudit.experiments.membership import AttackOutcome
from dpaudit.result import ModelResult, Result

METRIC_LEVEL = 0.05  # shared by all tests on metrics when a claims file states no confidence
ARITHMETIC = 1e-6  # relative room for the accountant's own rounding


@dataclass(frozen=True)
class Judgement:
    """The verdict on one claim about one model of one result.

    Args:
        claim: id of the claim.
        kind: kind of the claim.
        result: name of the result.
        model: name of the model.
        verdict: as in `dpaudit.compare.Comparison`.
        promised: what is claimed, in a few words.
        measured: what was found, in a few words.
        sentence: the verdict in plain words.
    """

    claim: str
    kind: str
    result: str
    model: str
    verdict: Verdict
    promised: str
    measured: str
    sentence: str


@dataclass(frozen=True)
class Gate:
    """All judgements, and how often such a gate stops a model that keeps its claims.

    Args:
        judgements: one for each claim on each model; never empty.
        false_alarms: upper bound on the probability that a correct model is contradicted by any of them.
    """

    judgements: tuple[Judgement, ...]
    false_alarms: float

    @property
    def contradicted(self) -> bool:
        """Whether any claim is contradicted."""
        return any(each.verdict == "contradicted" for each in self.judgements)

    @property
    def too_weak(self) -> bool:
        """Whether any claim could not be judged."""
        return any(each.verdict == "too weak" for each in self.judgements)

    @property
    def flakiness(self) -> str:
        """The level in words."""
        if self.false_alarms == 0:
            return "Every judgement here is arithmetic: a correct model never fails this gate."
        return (
            f"A model that keeps every claim fails this gate by chance at most {100 * self.false_alarms:.3g} % of the "
            "time."
        )

    def exit_code(self, *, require_power: bool = False) -> int:
        """0 when nothing is contradicted, 1 when a claim is, 3 when one was too weak to judge and power is required."""
        if self.contradicted:
            return 1
        return 3 if require_power and self.too_weak else 0


class _Case(NamedTuple):
    claim: EpsilonClaim | MechanismClaim | CeilingClaim | NoGrowthClaim
    result: Result
    model: ModelResult
    baseline: Result | None


def verify(
    results: Result | Sequence[Result], claims: Claims | Sequence[Claims], *, baseline: Result | None = None
) -> Gate:
    """Judge every claim on every result that holds its model.

    Args:
        results: what was measured.
        claims: what is promised.
        baseline: the result that claims of kind ``no-growth`` compare with.

    Raises:
        InputError: no result or no claim, a claim about a model no result holds, a bound that speaks of another unit or
            adjacency, a metric no attack measured, a baseline missing or unused, or an error level that cannot be held.
    """
    given = [results] if isinstance(results, Result) else list(results)
    files = [claims] if isinstance(claims, Claims) else list(claims)
    if not given or not files:
        raise InputError(
            f"a gate needs results and claims, got {len(given)} result(s) and {len(files)} claims file(s)."
        )
    growth = [claim for file in files for claim in file.claim if isinstance(claim, NoGrowthClaim)]
    if growth and baseline is None:
        raise InputError(f"claim {growth[0].id!r} needs a baseline to compare with, and none is given.")
    if baseline is not None and not growth:
        raise InputError("a baseline is given and no claim of kind 'no-growth' uses it; add one, or leave it out.")
    cases = [case for file in files for case in _cases(file, given, baseline)]
    spent = _spent_on_bounds(cases)
    tests = sum(_tests(case) for case in cases)
    tail = _tail(files, spent, tests)
    judged = tuple(_judge(case, tail) for case in cases)
    total = spent + tail * tests
    if total >= 1:
        raise InputError(
            f"the lower bounds of these results may fail a correct model with probability {total:.3g}: a gate on them "
            "decides nothing; raise audit.confidence in the plan."
        )
    return Gate(judged, round(total, 12))


def _cases(file: Claims, results: Sequence[Result], baseline: Result | None) -> Iterator[_Case]:
    for claim in file.claim:
        found = [(result, model) for result in results for model in result.models if model.name == claim.model]
        if claim.model is None:
            for result in results:
                if len(result.models) != 1:
                    names = ", ".join(repr(model.name) for model in result.models[:8])
                    raise InputError(
                        f"claim {claim.id!r} names no model and {result.name!r} holds {len(result.models)}: {names}."
                    )
                found.append((result, result.models[0]))
        if not found:
            known = [model.name for result in results for model in result.models]
            raise InputError(
                f"claim {claim.id!r} is about the model {claim.model!r}, and no result holds it; they hold "
                f"{', '.join(map(repr, known[:8])) or 'none'}.{_check.nearest(claim.model or '', known)}"
            )
        for result, model in found:
            yield _Case(claim, result, model, baseline if isinstance(claim, NoGrowthClaim) else None)


def _tail(files: Sequence[Claims], spent: float, tests: int) -> float:
    """Error level of each single test on a metric: what the stated confidence leaves, shared equally."""
    stated = [1 - file.confidence for file in files if file.confidence is not None]
    if not stated:
        return METRIC_LEVEL / tests if tests else 0.0
    left = min(stated) - spent
    if left < -1e-12 or (tests and left <= 0):
        others = f" and {tests} test(s) on metrics need a share too" if tests else ""
        raise InputError(
            f"a confidence of {1 - min(stated):g} cannot be held: the lower bounds on ε alone may fail a correct model "
            f"with probability {spent:.4g}{others}. Lower the confidence of the claims, or raise audit.confidence in "
            "the plan."
        )
    return left / tests if tests else 0.0


def _spent_on_bounds(cases: Sequence[_Case]) -> float:
    """What the lower bounds behind the claims on ε may go wrong, each bound counted once however many claims use it."""
    used = {
        (id(case.result), case.model.name): sum(1 - bound.confidence for bound in case.result.bounds(case.model.name))
        for case in cases
        if isinstance(case.claim, EpsilonClaim | MechanismClaim)
    }
    return sum(used.values())


def _tests(case: _Case) -> int:
    """Tests on metrics that a case takes, each of which may fail a correct model."""
    match case.claim:
        case CeilingClaim() | NoGrowthClaim() as claim:
            return len(_attacks(claim, case.result, case.model))
        case MechanismClaim():
            return len(list(_points(case)))
        case _:
            return 0


def _judge(case: _Case, tail: float) -> Judgement:
    match case.claim:
        case EpsilonClaim() as claim:
            return _epsilon(claim, case)
        case MechanismClaim() as claim:
            return _mechanism(claim, case, tail)
        case CeilingClaim() as claim:
            return _ceiling(claim, case, tail)
        case NoGrowthClaim() as claim:
            return _growth(claim, case, tail)


def _epsilon(claim: EpsilonClaim, case: _Case) -> Judgement:
    promised = f"ε ≤ {claim.epsilon:.3g} at δ = {claim.delta:g}"
    ran = case.model.mechanism
    if claim.sampling is not None and ran is not None and SAMPLINGS[type(ran.sampling)] != claim.sampling:
        return _judged(case, "contradicted", promised, f"{SAMPLINGS[type(ran.sampling)]} sampling", (
            f"The ε was accounted for {claim.sampling} sampling, but the training drew its batches by "
            f"{SAMPLINGS[type(ran.sampling)]} sampling: it does not apply."
        ))  # fmt: skip
    if ran is not None:
        found = _more_than(claim.claim(), ran)
        if found is not None:
            return _judged(case, "contradicted", promised, f"training gives ε = {found:.3g}", (
                f"The training that was run ({_in_words(ran)}) accounts to ε = {found:.4g} at δ = {claim.delta:g}, "
                f"more than the promised {claim.epsilon:.4g}."
            ))  # fmt: skip
    return _by_bounds(case, claim.claim(), promised)


def _more_than(claim: Claim, ran: GaussianSteps) -> float | None:
    """ε of the training when it is above the claim; None when it is not."""
    if ran.noise_multiplier == 0:
        return float("inf")
    accounted = epsilon(ran, delta=claim.delta, adjacency=claim.adjacency).epsilon
    return accounted if accounted > claim.epsilon * (1 + ARITHMETIC) else None


def _mechanism(claim: MechanismClaim, case: _Case, tail: float) -> Judgement:
    stated = claim.mechanism()
    promised = _in_words(stated)
    ran = case.model.mechanism
    if ran is not None and type(ran.sampling) is not type(stated.sampling):
        return _judged(case, "contradicted", promised, f"{SAMPLINGS[type(ran.sampling)]} sampling", (
            f"Promised {claim.sampling} sampling, the training drew its batches by "
            f"{SAMPLINGS[type(ran.sampling)]} sampling."
        ))  # fmt: skip
    if claim.l2_norm_clip is not None:
        clip = case.model.parameters.get("l2_norm_clip")
        if not isinstance(clip, int | float):
            raise InputError(
                f"claim {claim.id!r} states l2_norm_clip = {claim.l2_norm_clip:g}; {case.model.name!r} recorded none."
            )
        if clip != claim.l2_norm_clip:
            return _judged(case, "contradicted", promised, f"clip norm {clip:g}", (
                f"Promised a clip norm of {claim.l2_norm_clip:g}, the training used {clip:g}."
            ))  # fmt: skip
    curve = trade_off(stated, adjacency=claim.adjacency)
    if ran is not None and ran != stated:
        if ran.noise_multiplier == 0:
            return _judged(case, "contradicted", promised, "no noise", "The training that was run added no noise.")
        other = trade_off(ran, adjacency=claim.adjacency)
        excess = np.interp(curve.fpr, other.fpr, other.tpr) - curve.tpr
        worst = float(curve.fpr[excess.argmax()])
        if other.tpr_at(worst) > curve.tpr_at(worst) + ARITHMETIC:
            return _judged(case, "contradicted", promised, _in_words(ran), (
                f"The training that was run ({_in_words(ran)}) protects less than the promised one: at a "
                f"false-positive rate of {worst:.3g} it allows a true-positive rate of {other.tpr_at(worst):.3g}, "
                f"promised {curve.tpr_at(worst):.3g}."
            ))  # fmt: skip
    for attack, fpr in _points(case):
        found = measured.tpr(attack, fpr, tail=tail)
        if found.low > curve.tpr_at(fpr):
            return _judged(case, "contradicted", promised, f"TPR {_shown(found)} at FPR {fpr:g}", (
                f"{attack.attack} reaches a true-positive rate of at least {found.low:.3g} at a false-positive rate of "
                f"{fpr:g}; the promised mechanism allows {curve.tpr_at(fpr):.3g}."
            ))  # fmt: skip
    accounted = epsilon(stated, delta=claim.delta, adjacency=claim.adjacency)
    source = f"{accounted.method} of claim {claim.id}"
    return _by_bounds(
        case,
        Claim(accounted.epsilon, claim.delta, unit=claim.unit, adjacency=claim.adjacency, source=source),
        f"{promised}: ε ≤ {accounted.epsilon:.3g} at δ = {claim.delta:g}",
    )


def _points(case: _Case) -> Iterator[tuple[AttackOutcome, float]]:
    """Where the promised curve is tested: only when every score is a trial of its own, so that counts are binomial."""
    outcome = case.result.membership
    if outcome is None or outcome.design != "many-runs":
        return
    for attack in outcome.attacks:
        if attack.model == case.model.name:
            for at in attack.tpr_at_fpr:
                yield attack, _check.open_unit("fpr", at.fpr)


def _by_bounds(case: _Case, claim: Claim, promised: str) -> Judgement:
    bounds = case.result.bounds(case.model.name)
    found = compare(case.model.name, claim, bounds, case.result.findings(case.model.name))
    return _judged(case, found.verdict, promised, _bound_in_words(found.strongest), found.sentence)


def _ceiling(claim: CeilingClaim, case: _Case, tail: float) -> Judgement:
    attacks = _attacks(claim, case.result, case.model)
    metric = parse_metric(claim.metric)
    found = measured.widest([measured.interval(attack, metric, tail=tail) for attack in attacks])
    promised, shown = f"{claim.metric} ≤ {claim.max:g}", _shown(found)
    by = attacks[0].attack if len(attacks) == 1 else f"the strongest of {len(attacks)} attacks"
    if found.low > claim.max:
        verdict: Verdict = "contradicted"
        sentence = f"{claim.metric} of {by} is {shown}, all of it above the allowed {claim.max:g}."
    elif found.high <= claim.max:
        verdict = "consistent"
        sentence = f"{claim.metric} of {by} is {shown}, all of it within the allowed {claim.max:g}."
    else:
        verdict = "too weak"
        sentence = (
            f"{claim.metric} of {by} is {shown}: more records are needed to tell it from the {claim.max:g} allowed."
        )
    return _judged(case, verdict, promised, shown, sentence)


def _growth(claim: NoGrowthClaim, case: _Case, tail: float) -> Judgement:
    assert case.baseline is not None
    metric = parse_metric(claim.metric)
    before_model = next((model for model in case.baseline.models if model.name == case.model.name), None)
    if before_model is None:
        raise InputError(f"claim {claim.id!r}: the baseline {case.baseline.name!r} holds no model {case.model.name!r}.")
    before = {attack.attack: attack for attack in _attacks(claim, case.baseline, before_model)}
    growths = []
    for attack in _attacks(claim, case.result, case.model):
        if attack.attack not in before:
            raise InputError(
                f"claim {claim.id!r}: the baseline {case.baseline.name!r} has no attack {attack.attack!r}."
            )
        now = measured.interval(attack, metric, tail=tail)
        growths.append(now.minus(measured.interval(before[attack.attack], metric, tail=tail)))
    found = measured.widest(growths)
    shown = f"{found.value:+.3g} ({found.low:+.3g} to {found.high:+.3g})"
    by = next(iter(before)) if len(growths) == 1 else f"the fastest-growing of {len(growths)} attacks"
    if found.low > claim.tolerance:
        verdict: Verdict = "contradicted"
        sentence = (
            f"{claim.metric} of {by} grew by {shown} since the baseline, more than the allowed {claim.tolerance:g}."
        )
    elif found.high <= claim.tolerance:
        verdict = "consistent"
        sentence = (
            f"{claim.metric} of {by} changed by {shown} since the baseline, within the allowed {claim.tolerance:g}."
        )
    else:
        verdict = "too weak"
        sentence = (
            f"{claim.metric} of {by} changed by {shown} since the baseline: more records are needed to tell it from "
            f"the allowed {claim.tolerance:g}."
        )
    return _judged(case, verdict, f"{claim.metric} grows ≤ {claim.tolerance:g}", shown, sentence)


def _attacks(claim: CeilingClaim | NoGrowthClaim, result: Result, model: ModelResult) -> list[AttackOutcome]:
    known = [attack for attack in result.membership.attacks if attack.model == model.name] if result.membership else []
    found = [attack for attack in known if claim.attack in (None, attack.attack)]
    if not found:
        names = [attack.attack for attack in known]
        raise InputError(
            f"claim {claim.id!r}: {result.name!r} has no attack {claim.attack or 'at all'!r} on {model.name!r}; it has "
            f"{', '.join(map(repr, names)) or 'none'}.{_check.nearest(claim.attack or '', names)}"
        )
    return found


def _judged(case: _Case, verdict: Verdict, promised: str, found: str, sentence: str) -> Judgement:
    return Judgement(
        claim=case.claim.id,
        kind=case.claim.kind,
        result=case.result.name,
        model=case.model.name,
        verdict=verdict,
        promised=promised,
        measured=found,
        sentence=sentence,
    )


def _shown(found: measured.Interval) -> str:
    return f"{found.value:.3g} ({found.low:.3g} to {found.high:.3g})"


def _bound_in_words(bound: LowerBound | None) -> str:
    return "no bound" if bound is None else f"ε ≥ {bound.epsilon:.3g} (could see {bound.ceiling:.3g})"


def _in_words(mechanism: GaussianSteps) -> str:
    sampling = mechanism.sampling
    drawn = f"{SAMPLINGS[type(sampling)]} rate {sampling.rate:.4g}"
    if isinstance(sampling, Shuffled):
        drawn = f"shuffled into {sampling.batches_per_epoch} batches"
    return f"noise multiplier {mechanism.noise_multiplier:g}, {mechanism.steps} steps, {drawn}"
