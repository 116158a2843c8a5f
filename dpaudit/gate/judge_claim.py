"""One claim about one model, or about what was released, in one result: what was measured, and the verdict on it."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace

import numpy as np

from dpaudit.accounting.claim import SAMPLINGS, TOLERANCE, Claim, GaussianSteps, Unit
from dpaudit.accounting.mechanism import epsilon, trade_off
from dpaudit.accounting.trade_off_curve import TradeOff
from dpaudit.bounds.lower_bound import LowerBound
from dpaudit.bounds.verdict import Facts, Verdict, void_reasons
from dpaudit.bounds.verdict import judge as compared
from dpaudit.gate import metric_intervals as measured
from dpaudit.gate.claim_places import ClaimPlace
from dpaudit.gate.claims_file import (
    AnyClaim,
    CeilingClaim,
    EpsilonClaim,
    ExtractionClaim,
    MechanismClaim,
    NoGrowthClaim,
    UnlearningClaim,
    parse_metric,
)
from dpaudit.gate.metric_intervals import Interval
from dpaudit.gate.same_conditions import Differences, attacks_alike, releases_alike
from dpaudit.results.facts import facts, judge_unlearning
from dpaudit.results.membership import AttackResult
from dpaudit.results.result import ModelResult, Result
from dpaudit.runtime import check
from dpaudit.runtime.errors import InputError


@dataclass(frozen=True)
class Judgement:
    """The verdict on one claim about one model of one result.

    Args:
        claim: id of the claim.
        kind: kind of the claim.
        result: name of the result.
        model: name of the model, or of what the reconstruction claim is about.
        verdict: as in `dpaudit.bounds.verdict.Comparison`.
        claimed: what is claimed, in a few words.
        measured: what was found, in a few words.
        sentence: the verdict in plain words.
        place: file and line of the claim; None for one that was not read from a file.
    """

    claim: str
    kind: str
    result: str
    model: str
    verdict: Verdict
    claimed: str
    measured: str
    sentence: str
    place: ClaimPlace | None = None


@dataclass(frozen=True)
class Case:
    """A claim beside what it is judged on.

    Args:
        claim: what is claimed.
        result: what was measured.
        model: the model it is about; None when it is about reconstruction from what was released.
        baseline: the result that growth is measured from; None for every other claim.
    """

    claim: AnyClaim
    result: Result
    model: ModelResult | None
    baseline: Result | None = None

    @property
    def subject(self) -> str:
        """Name of the model, or of the releases."""
        if self.model is not None:
            return self.model.name
        release = self.claim.release if isinstance(self.claim, CeilingClaim | NoGrowthClaim) else None
        return release or "every release"

    @property
    def facts(self) -> Facts:
        """What the result knows about the model."""
        assert self.model is not None
        return facts(self.result, self.model)

    def ran(self, unit: Unit) -> GaussianSteps | None:
        """What the model was trained by, where that was recorded and protects this unit."""
        found = None if self.model is None else self.model.mechanism
        return found if found is not None and found.unit == unit else None


def judge_case(case: Case, tail: float) -> Judgement:
    """The verdict on one case; each of its tests on a metric may fail a correct model with probability ``tail``.

    Raises:
        InputError: what the claim is about was not measured, or cannot be compared with it.
    """
    match case.claim:
        case EpsilonClaim() as claim:
            return _epsilon(claim, case)
        case MechanismClaim() as claim:
            return _mechanism(claim, case, tail)
        case CeilingClaim() as claim:
            return _ceiling(claim, case, tail)
        case NoGrowthClaim() as claim:
            return _growth(claim, case, tail)
        case ExtractionClaim() as claim:
            return _extraction(claim, case)
        case UnlearningClaim() as claim:
            return _unlearning(claim, case)


def number_of_tests(case: Case) -> int:
    """Tests on metrics that a case takes, each of which may fail a correct model."""
    match case.claim:
        case CeilingClaim() | NoGrowthClaim() as claim:
            names = _names(claim, case)
            return len(names) - len(_incomparable(case, names))
        case MechanismClaim() as claim:
            return len(list(_points(claim, case)))
        case _:
            return 0


def claimed_interval(case: Case, tail: float) -> Interval:
    """What a ceiling is judged by: the widest interval of its metric over the attacks, or releases, that it is about.

    Raises:
        InputError: the claim is on no metric, or the metric was not measured.
    """
    claim = case.claim
    if not isinstance(claim, CeilingClaim | NoGrowthClaim):
        raise InputError(f"claim {claim.id!r} is on no metric.")
    return measured.widest_interval(list(_intervals(claim, case, case.result, _names(claim, case), tail).values()))


def _epsilon(claim: EpsilonClaim, case: Case) -> Judgement:
    claimed = f"ε ≤ {claim.epsilon:.3g} at δ = {claim.delta:g}"
    ran = case.ran(claim.unit)
    if claim.sampling is not None and ran is not None and SAMPLINGS[type(ran.sampling)] != claim.sampling:
        return _judged(case, "contradicted", claimed, f"{SAMPLINGS[type(ran.sampling)]} sampling", (
            f"The ε was accounted for {claim.sampling} sampling, but the training drew its batches by "
            f"{SAMPLINGS[type(ran.sampling)]} sampling: it does not apply."
        ))  # fmt: skip
    return _by_bounds(case, claim.claim(), claimed)


def _mechanism(claim: MechanismClaim, case: Case, tail: float) -> Judgement:
    stated = claim.mechanism()
    claimed = stated.in_words
    ran = case.ran(claim.unit)
    if ran is not None and type(ran.sampling) is not type(stated.sampling):
        return _judged(case, "contradicted", claimed, f"{SAMPLINGS[type(ran.sampling)]} sampling", (
            f"Claimed {claim.sampling} sampling, the training drew its batches by "
            f"{SAMPLINGS[type(ran.sampling)]} sampling."
        ))  # fmt: skip
    if claim.l2_norm_clip is not None:
        clip = None if case.model is None else case.model.parameters.get("l2_norm_clip")
        if not isinstance(clip, int | float):
            raise InputError(
                f"claim {claim.id!r} states l2_norm_clip = {claim.l2_norm_clip:g}; {case.subject!r} recorded none."
            )
        if clip != claim.l2_norm_clip:
            return _judged(case, "contradicted", claimed, f"clip norm {clip:g}", (
                f"Claimed a clip norm of {claim.l2_norm_clip:g}, the training used {clip:g}."
            ))  # fmt: skip
    curve = trade_off(stated, adjacency=claim.adjacency)
    if ran is not None and (weaker := _less_protection(ran, curve, claim)) is not None:
        return _judged(case, "contradicted", claimed, ran.in_words, weaker)
    for attack, fpr in _points(claim, case):
        found = measured.tpr_interval(attack, fpr, tail=tail)
        if found.low > curve.tpr_at(fpr):
            return _judged(case, "contradicted", claimed, f"TPR {_shown(found)} at FPR {fpr:g}", (
                f"{attack.attack} reaches a true-positive rate of at least {found.low:.3g} at a false-positive rate of "
                f"{fpr:g}; the claimed mechanism allows {curve.tpr_at(fpr):.3g}."
            ))  # fmt: skip
    accounted = epsilon(stated, delta=claim.delta, adjacency=claim.adjacency)
    source = f"{accounted.method} of claim {claim.id}"
    return _by_bounds(
        case,
        Claim(accounted.epsilon, claim.delta, claim.unit, claim.adjacency, source, stated),
        f"{claimed}: ε ≤ {accounted.epsilon:.3g} at δ = {claim.delta:g}",
    )


def _less_protection(ran: GaussianSteps, claimed: TradeOff, claim: MechanismClaim) -> str | None:
    """Where what was run allows more than the claimed curve, in a sentence; None when it does not."""
    if ran.noise_multiplier == 0 or ran == claim.mechanism():
        return None
    other = trade_off(replace(ran, slack=0.0), adjacency=claim.adjacency)
    excess = np.interp(claimed.fpr, other.fpr, other.tpr) - claimed.tpr * (1 + TOLERANCE)
    worst = float(claimed.fpr[excess.argmax()])
    if excess.max() <= 0:
        return None
    return (
        f"The training that was run ({ran.in_words}) protects less than the claimed one: at a false-positive rate of "
        f"{worst:.3g} it allows a true-positive rate of {other.tpr_at(worst):.3g}, claimed "
        f"{claimed.tpr_at(worst):.3g}."
    )


def _points(claim: MechanismClaim, case: Case) -> Iterator[tuple[AttackResult, float]]:
    """Where the claimed curve is tested: only when every score is a trial of its own, so that counts are binomial."""
    outcome = case.result.membership
    if outcome is None or outcome.design != "many-runs" or void_reasons(case.facts):
        return
    for attack in outcome.attacks:
        bound = attack.bound
        if attack.model != case.subject or bound is None:
            continue
        if (bound.unit, bound.adjacency) == (claim.unit, claim.adjacency):
            for at in attack.tpr_at_fpr:
                yield attack, check.open_unit("fpr", at.fpr)


def _extraction(claim: ExtractionClaim, case: Case) -> Judgement:
    """Arithmetic on the records that were measured: there is nothing to go wrong by chance."""
    found = case.result.extraction_from(case.subject)
    if found is None:
        raise InputError(
            f"claim {claim.id!r}: {case.result.name!r} measured no extraction; `dpaudit extract`, or "
            "[extraction] in a plan, makes such a result."
        )
    count, of = found.records.extracted(claim.n, claim.p), len(found.records.log_probabilities)
    what = f"({claim.n:,}, {claim.p:g})-extractable"
    claimed = f"{'no record is' if not claim.max else f'at most {claim.max:,} records are'} {what}"
    least = found.records.least_queries(claim.p)
    sampler = f"temperature {found.temperature:g}" + ("" if found.top_k is None else f", top-k {found.top_k}")
    sentence = f"{count:,} of {of:,} records {'is' if count == 1 else 'are'} {what} at {sampler}, {claim.max:,} allowed"
    if not np.isinf(least):
        sentence += f"; the likeliest needs {max(1.0, 10**least):.3g} samples" if least < 300 else ""
    verdict: Verdict = "contradicted" if count > claim.max else "consistent"
    return _judged(case, verdict, claimed, f"{count:,} of {of:,}", f"{sentence}.")


def _unlearning(claim: UnlearningClaim, case: Case) -> Judgement:
    found, name = case.result.unlearning, case.subject
    unlearned = None if found is None else found.of(name)
    if found is None or unlearned is None:
        raise InputError(
            f"claim {claim.id!r}: {case.result.name!r} measured no unlearning from {name!r}; a plan with [unlearning] "
            "does."
        )
    judged = judge_unlearning(claim.claim(), unlearned.subject, found.bounds(unlearned.subject))
    claimed = f"forgotten by {found.method} within ε ≤ {claim.epsilon:.3g} at δ = {claim.delta:g}"
    return _judged(case, judged.verdict, claimed, _bound_in_words(judged.strongest), judged.sentence)


def _by_bounds(case: Case, claim: Claim, claimed: str) -> Judgement:
    found = compared(claim, case.facts)
    return _judged(case, found.verdict, claimed, _bound_in_words(found.strongest), found.sentence)


def _ceiling(claim: CeilingClaim, case: Case, tail: float) -> Judgement:
    intervals = _intervals(claim, case, case.result, _names(claim, case), tail)
    found = claimed_interval(case, tail)
    if case.model is not None and (void := void_reasons(case.facts)):
        return _judged(case, "no verdict", f"{claim.metric} ≤ {claim.max:g}", _shown(found), " ".join(void))
    claimed, shown = f"{claim.metric} ≤ {claim.max:g}", _shown(found)
    subject = f"{claim.metric} of {_source(intervals, case, 'the strongest')} is {shown}"
    if found.low > claim.max:
        return _judged(case, "contradicted", claimed, shown, f"{subject}, all of it above the allowed {claim.max:g}.")
    if found.high <= claim.max:
        return _judged(case, "consistent", claimed, shown, f"{subject}, all of it within the allowed {claim.max:g}.")
    more = "trials" if case.model is None else "records"
    sentence = f"{subject}: more {more} are needed to tell it from the {claim.max:g} allowed."
    return _judged(case, "too weak", claimed, shown, sentence)


def _growth(claim: NoGrowthClaim, case: Case, tail: float) -> Judgement:
    """Growth of what can be compared; a claim of which a part cannot be is contradicted or too weak."""
    assert case.baseline is not None
    claimed = f"{claim.metric} grows ≤ {claim.tolerance:g}"
    names = _names(claim, case)
    reasons = _incomparable(case, names)
    missing = " ".join(f"{reason}." for reason in dict.fromkeys(reasons.values()))
    kept = [name for name in names if name not in reasons]
    if not kept:
        return _judged(case, "too weak", claimed, "not comparable", f"Not compared with the baseline: {missing}")
    before = _intervals(claim, case, case.baseline, kept, tail)
    now = _intervals(claim, case, case.result, kept, tail)
    found = measured.widest_interval([now[name].minus(before[name]) for name in kept])
    shown = f"{found.value:+.3g} ({found.low:+.3g} to {found.high:+.3g})"
    subject = f"{claim.metric} of {_source(now, case, 'the fastest-growing')}"
    allowed = f"the allowed {claim.tolerance:g}"
    verdict: Verdict
    if found.low > claim.tolerance:
        verdict, sentence = "contradicted", f"{subject} grew by {shown} since the baseline, more than {allowed}."
    elif found.high <= claim.tolerance:
        verdict = "too weak" if reasons else "consistent"
        sentence = f"{subject} changed by {shown} since the baseline, within {allowed}."
    else:
        verdict = "too weak"
        more = "trials" if case.model is None else "records"
        sentence = f"{subject} changed by {shown} since the baseline: more {more} are needed to tell it from {allowed}."
    if reasons:
        sentence += f" The rest is not compared: {missing}"
    said = dict.fromkeys(text for name in kept for text in _likeness(case, name).said)
    if said:
        sentence += f" Beside that the two differ: {'; '.join(said)}."
    return _judged(case, verdict, claimed, shown, sentence)


def _incomparable(case: Case, names: list[str]) -> dict[str, str]:
    """Why attacks (or releases) cannot be compared with the baseline, by name; none without a baseline."""
    if case.baseline is None:
        return {}
    if case.model is not None and all(case.subject != each.name for each in case.baseline.models):
        return dict.fromkeys(names, f"the baseline holds no model {case.subject!r}")
    held = _held(case, case.baseline)
    what, where = ("release", "") if case.model is None else ("attack", f" on model {case.subject!r}")
    reasons = {
        name: _likeness(case, name).why_not if name in held else f"the baseline has no {what} {name!r}{where}"
        for name in names
    }
    return {name: reason for name, reason in reasons.items() if reason}


def _likeness(case: Case, name: str) -> Differences:
    assert case.baseline is not None
    if case.model is None:
        return releases_alike(case.baseline, case.result, name)
    return attacks_alike(case.baseline, case.result, case.subject, name)


def _held(case: Case, result: Result) -> Collection[str]:
    """Attacks on the case's model in a result, or its releases where records are reconstructed."""
    if case.model is None:
        return result.reconstructions
    return result.membership.by_name(case.subject) if result.membership is not None else ()


def _names(claim: CeilingClaim | NoGrowthClaim, case: Case) -> list[str]:
    """The attacks a claim is about, or the releases where records are reconstructed."""
    if case.model is not None:
        return list(_attacks(claim, case.result, case.subject))
    found = [name for name in case.result.reconstructions if claim.covers(name)]
    if not found:
        raise InputError(f"claim {claim.id!r}: {case.result.name!r} tried no reconstruction from {case.subject!r}.")
    return found


def _intervals(
    claim: CeilingClaim | NoGrowthClaim, case: Case, result: Result, names: list[str], tail: float
) -> dict[str, Interval]:
    """The claim's metric by attack, or by release where records are reconstructed."""
    if case.model is None:
        tried = {name: result.reconstructions[name] for name in names}
        return {name: measured.success_interval(each.successes, each.trials, tail=tail) for name, each in tried.items()}
    metric = parse_metric(claim.metric)
    attacks = _attacks(claim, result, case.subject)
    return {name: measured.metric_interval(attacks[name], metric, tail=tail) for name in names}


def _source(intervals: dict[str, Interval], case: Case, which: str) -> str:
    """Whose number it is."""
    if len(intervals) == 1:
        return next(iter(intervals))
    return f"{which} of {len(intervals)} {'releases' if case.model is None else 'attacks'}"


def _attacks(claim: CeilingClaim | NoGrowthClaim, result: Result, model: str) -> dict[str, AttackResult]:
    known = result.membership.by_name(model) if result.membership else {}
    found = {name: attack for name, attack in known.items() if claim.attack in (None, attack.attack)}
    if not found:
        names = list(known)
        raise InputError(
            f"claim {claim.id!r}: {result.name!r} has no attack {claim.attack or 'at all'!r} on {model!r}; it has "
            f"{', '.join(map(repr, names)) or 'none'}.{check.nearest(claim.attack or '', names)}"
        )
    return found


def _judged(case: Case, verdict: Verdict, claimed: str, found: str, sentence: str) -> Judgement:
    return Judgement(
        claim=case.claim.id,
        kind=case.claim.kind,
        result=case.result.name,
        model=case.subject,
        verdict=verdict,
        claimed=claimed,
        measured=found,
        sentence=sentence,
        place=case.claim.place,
    )


def _shown(found: measured.Interval) -> str:
    return f"{found.value:.3g} ({found.low:.3g} to {found.high:.3g})"


def _bound_in_words(bound: LowerBound | None) -> str:
    return "no bound" if bound is None else f"ε ≥ {bound.epsilon:.3g} (could see {bound.ceiling:.3g})"
