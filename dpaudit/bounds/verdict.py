"""The judge: a claim beside the facts of an audit. Every door asks it, and no verdict on ε is given elsewhere.

It goes through `RULES` in order. A rule gives a verdict, or hands on the facts that later rules may use: without the
bounds that say nothing about the claim, or with a caveat. Where no rule gives a verdict the claim is consistent.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from scipy.special import ndtri

from dpaudit.accounting import allowed_for_replaced
from dpaudit.accounting.claim import Claim, FixedSize, GaussianSteps, NoiseKnowledge, too_small
from dpaudit.accounting.mechanism import epsilon
from dpaudit.bounds.lower_bound import Finding, LowerBound
from dpaudit.bounds.power import POWER, Reach, ReachBasis, reach
from dpaudit.bounds.reconstruction import ReconstructionVerdict
from dpaudit.data.member_choice import MemberChoice, NotRandom, RandomSplit

Verdict = Literal["contradicted", "consistent", "too weak", "no verdict"]
WRONG_WAY = 1e-3  # how often right scores without any leak are said to point the wrong way


@dataclass(frozen=True)
class Comparison:
    """The verdict on one claim.

    Args:
        subject: the model the claim is about.
        claim: what is claimed.
        verdict: ``contradicted``: a bound lies above the claim, arithmetic says so, or a check found a violation.
            ``consistent``: not contradicted by an audit that could have seen more than the claim. ``too weak``: not
            contradicted, and no leak, however large, would have been. ``no verdict``: nothing that was measured says
            anything about the claim, because an assumption does not hold or it is about something else.
        strongest: the lower bound that decides: the largest that holds for every mechanism, or the largest within a
            family where only that lies above the claim; None when no bound speaks.
        ceiling: the largest ε that a perfect attack could have certified.
        sentence: the verdict in plain words, with the caveats.
        reach: smallest true ε that the audit would probably have reported as a violation; infinite when none.
        caveats: what a reader must know beside it, one sentence each.
    """

    subject: str
    claim: Claim
    verdict: Verdict
    strongest: LowerBound | None
    ceiling: float
    sentence: str
    reach: float = math.inf
    caveats: tuple[str, ...] = ()


@dataclass(frozen=True)
class Measured:
    """A lower bound as evidence on a claim.

    Args:
        bound: as measured.
        of_members: whether it rests on how the members of the audit were chosen, and not on coins of its own.
        allowed: the largest ε the claim allows it to show; None is the claim's own.
    """

    bound: LowerBound
    of_members: bool = False
    allowed: float | None = None

    def limit(self, claim: Claim) -> float:
        """The largest ε it may show without contradicting the claim."""
        return claim.epsilon if self.allowed is None else self.allowed


@dataclass(frozen=True)
class Separation:
    """How well one attack told members from non-members.

    Args:
        attack: its name.
        auc: area under its ROC curve.
        members: how many it scored.
        nonmembers: the same.
        all_equal: whether all its scores were the same.
    """

    attack: str
    auc: float
    members: int
    nonmembers: int
    all_equal: bool = False

    @property
    def deviation(self) -> float:
        """AUC above one half in standard errors of scores that show nothing (Mann and Whitney); ties only lower it."""
        pairs = self.members * self.nonmembers
        return (self.auc - 0.5) * math.sqrt(12 * pairs / (self.members + self.nonmembers + 1))


@dataclass(frozen=True)
class Facts:
    """What an audit knows about one model.

    Args:
        subject: the model.
        bounds: what was measured of its ε.
        findings: what checks saw.
        mechanism: what it was trained by, where that is known.
        noise: whether its training added any.
        attacks: how well members were told from non-members.
        chosen: how the members were chosen; None in audits from before that was asked.
        differ: why members and non-members differ as data, in a sentence; empty when nothing says so.
        void: why bounds that were measured count for nothing, one sentence each.
        unfit: why bounds that were measured do not speak of the claim, one sentence each.
        caveats: what a reader must know beside the verdict, one sentence each.
    """

    subject: str
    bounds: tuple[Measured, ...] = ()
    findings: tuple[Finding, ...] = ()
    mechanism: GaussianSteps | None = None
    noise: NoiseKnowledge = "unknown"
    attacks: tuple[Separation, ...] = ()
    chosen: MemberChoice | None = None
    differ: str = ""
    void: tuple[str, ...] = ()
    unfit: tuple[str, ...] = ()
    caveats: tuple[str, ...] = ()


Rule = Callable[[Claim, Facts], Facts | Comparison]


def judge(claim: Claim, facts: Facts) -> Comparison:
    """The verdict on a claim.

    >>> claim = Claim(2.0, 1e-5, "record", "add-remove", "the paper")
    >>> judge(claim, Facts("model", noise="none")).verdict, judge(claim, Facts("model")).verdict
    ('contradicted', 'too weak')
    """
    for rule in RULES:
        found = rule(claim, facts)
        if isinstance(found, Comparison):
            return found
        facts = found
    return _consistent(claim, facts)


def judge_release(subject: str, claim: Claim, found: ReconstructionVerdict, bound: LowerBound | None) -> Comparison:
    """The verdict on a release whose records were picked out of candidates, against the reconstruction bound."""
    ceiling = bound.ceiling if bound is not None else 0.0
    return Comparison(subject, claim, found.verdict, bound, ceiling, found.sentence)


def void_reasons(facts: Facts) -> tuple[str, ...]:
    """Why nothing follows from the scores of the attacks, one sentence each; none when nothing speaks against it."""
    found = (_not_random(facts), facts.differ, _all_equal(facts), _pointing_wrong(facts))
    return tuple(reason for reason in found if reason)


# What was run.


def without_noise(claim: Claim, facts: Facts) -> Facts | Comparison:
    """Training without noise has an infinite ε, for records and users alike."""
    if facts.noise != "none" or math.isinf(claim.epsilon):
        return facts
    return _decided(claim, facts, "contradicted", (
        f"Claimed ε ≤ {claim.epsilon:.3g}, but the training added no noise, so that its ε is infinite: the claim "
        "does not hold."
    ))  # fmt: skip


def of_the_unit(claim: Claim, facts: Facts) -> Facts | Comparison:
    """A bound on one record's ε says nothing about one user's, nor does a mechanism or what checks find in it."""
    kept = tuple(each for each in facts.bounds if each.bound.unit == claim.unit)
    unfit = facts.unfit
    if len(kept) < len(facts.bounds):
        other = "user" if claim.unit == "record" else "record"
        unfit = (*unfit, f"The claim is about one {claim.unit}, what was measured about one {other}.")
    facts = replace(facts, bounds=kept, unfit=unfit)
    if facts.mechanism is None or facts.mechanism.unit == claim.unit:
        return facts
    return replace(facts, mechanism=None, findings=())


def violations(claim: Claim, facts: Facts) -> Facts | Comparison:
    """What a check finds needs no statistics."""
    broken = next((finding for finding in facts.findings if finding.severity == "violation"), None)
    if broken is None:
        return facts
    return _decided(claim, facts, "contradicted", (
        f"Contradicted by {broken.check}: {broken.observed}; expected {broken.expected}."
    ))  # fmt: skip


def accounts_to_more(claim: Claim, facts: Facts) -> Facts | Comparison:
    """The ε there certainly is in what was run may not exceed the claim; an upper bound that does proves nothing."""
    ran = facts.mechanism
    if ran is None or math.isinf(claim.epsilon):
        return facts
    if isinstance(ran.sampling, FixedSize) and claim.adjacency == "add-remove":
        return facts
    found = epsilon(ran, delta=claim.delta, adjacency=claim.adjacency)
    if too_small(claim.epsilon, found.certain):
        least = "" if found.exact else "at least "
        return _decided(claim, facts, "contradicted", (
            f"The training that was run ({ran.in_words}) accounts to {least}ε = {found.certain:.4g} at "
            f"δ = {claim.delta:g}, more than the claimed {claim.epsilon:.4g}."
        ))  # fmt: skip
    if too_small(claim.epsilon, found.epsilon):
        kind = "the figure for Poisson batches" if found.optimistic else "an upper bound"
        note = (
            f"Theory gives ε = {found.epsilon:.4g} for what was run, more than the claimed {claim.epsilon:.4g}; that "
            f"is {kind}, which contradicts nothing. It is certain that ε is at least {found.at_least:.4g}."
        )
        return replace(facts, caveats=(*facts.caveats, note))
    return facts


# Whether anything follows from the scores.


def chosen_at_random(claim: Claim, facts: Facts) -> Facts | Comparison:
    """Without a random choice of members nothing follows from scores."""
    return _without_scores(facts, _not_random(facts))


def same_data(claim: Claim, facts: Facts) -> Facts | Comparison:
    """Where members can be told from non-members without the model, scores may show that and no leak."""
    return _without_scores(facts, facts.differ)


def some_scores_differ(claim: Claim, facts: Facts) -> Facts | Comparison:
    """Scores that are all equal are no attempt to tell anybody apart."""
    return _without_scores(facts, _all_equal(facts))


def right_way_round(claim: Claim, facts: Facts) -> Facts | Comparison:
    """Where the strongest signal points the wrong way, scores are upside down or are not what they are taken for."""
    return _without_scores(facts, _pointing_wrong(facts))


# Whether what follows is about the claim.


def at_the_delta(claim: Claim, facts: Facts) -> Facts | Comparison:
    """(ε, δ) implies (ε, δ') only for δ' > δ, so that a bound at a smaller δ than the claim's may not contradict it."""
    return _only(facts, [
        each if each.bound.adjacency != claim.adjacency or each.bound.delta >= claim.delta else
        f"The bound {each.bound.method} holds at δ = {each.bound.delta:g}, smaller than the claimed {claim.delta:g}."
        for each in facts.bounds
    ])  # fmt: skip


def of_the_adjacency(claim: Claim, facts: Facts) -> Facts | Comparison:
    """What is measured for replaced records is compared with what the claim allows there; nothing else is converted.

    A claim for replaced records limits nothing for added ones, where the number of records differs.
    """
    found: list[Measured | str] = []
    for each in facts.bounds:
        bound = each.bound
        if bound.adjacency == claim.adjacency:
            found.append(each)
        elif bound.adjacency == "replace-one":
            allowed = allowed_for_replaced(claim, bound.delta, claim.mechanism or facts.mechanism)
            found.append(replace(each, allowed=allowed) if allowed is not None else (
                f"What was measured is about replacing one record, at δ = {bound.delta:g}; the claim under "
                f"{claim.adjacency} limits that only at a larger δ, (1 + e^ε) times its own."
            ))  # fmt: skip
        else:
            found.append(f"The claim is about {claim.adjacency} adjacency, the measurement about {bound.adjacency}.")
    return _only(facts, found)


# What was measured.


def bound_above(claim: Claim, facts: Facts) -> Facts | Comparison:
    """A lower bound above the claim contradicts it."""
    found = _decisive(claim, facts)
    if found is None or found.bound.epsilon <= found.limit(claim):
        return facts
    within = f", within: {found.bound.family}" if found.bound.family else ""
    return _decided(claim, facts, "contradicted", (
        f"{_claimed(claim, found)}, measured ε ≥ {found.bound.epsilon:.3g} "
        f"({found.bound.confidence:.4g} confidence{within}): the claim does not hold."
    ))  # fmt: skip


def nothing_valid(claim: Claim, facts: Facts) -> Facts | Comparison:
    """Where every bound rests on what does not hold, there is nothing to judge by."""
    if facts.bounds or not facts.void:
        return replace(facts, caveats=(*facts.caveats, *facts.void))
    return _decided(claim, facts, "no verdict", " ".join(facts.void))


def nothing_fitting(claim: Claim, facts: Facts) -> Facts | Comparison:
    """Where every bound speaks of something else, there is nothing to judge by."""
    if facts.bounds or not facts.unfit:
        return facts
    about = " ".join(dict.fromkeys(facts.unfit))
    return _decided(claim, facts, "no verdict", f"{about} The claim of ε ≤ {claim.epsilon:.3g} was not tested.")


def nothing_attacked(claim: Claim, facts: Facts) -> Facts | Comparison:
    """Checks that find nothing show no more than that."""
    if facts.bounds:
        return facts
    return _decided(claim, facts, "too weak", (
        f"Nothing contradicts the claim of ε ≤ {claim.epsilon:.3g}, but nothing was attacked, so that it was not "
        "tested."
    ))  # fmt: skip


def unstated_choice(claim: Claim, facts: Facts) -> Facts | Comparison:
    """A choice of members that nobody stated is an assumption."""
    if facts.chosen != RandomSplit(stated=False) or not any(each.of_members for each in facts.bounds):
        return facts
    note = "Nobody said how members were chosen: the bound takes them as a random split."
    return replace(facts, caveats=(*facts.caveats, note))


def blind(claim: Claim, facts: Facts) -> Facts | Comparison:
    """An audit that could not have seen any leak is no evidence."""
    if not math.isinf(_seen(claim, facts)[1].epsilon):
        return facts
    return _decided(claim, facts, "too weak", (
        f"The claim of ε ≤ {claim.epsilon:.3g} was not contradicted, but no leak would have been seen here: even a "
        f"perfect attack certifies no more than ε = {_ceiling(facts):.3g}, so the audit says nothing about the claim."
    ))  # fmt: skip


RULES: tuple[Rule, ...] = (
    without_noise,
    of_the_unit,
    violations,
    accounts_to_more,
    chosen_at_random,
    same_data,
    some_scores_differ,
    right_way_round,
    at_the_delta,
    of_the_adjacency,
    unstated_choice,
    bound_above,
    nothing_valid,
    nothing_fitting,
    nothing_attacked,
    blind,
)


def _consistent(claim: Claim, facts: Facts) -> Comparison:
    strongest = _decisive(claim, facts)
    assert strongest is not None
    measured = strongest.bound.epsilon
    within = max((each.bound for each in facts.bounds if each.bound.family), key=_size, default=None)
    more = within is not None and within.epsilon > measured
    extra = f" (≥ {within.epsilon:.3g} within: {within.family})" if within is not None and more else ""
    return _decided(claim, facts, "consistent", (
        f"{_claimed(claim, strongest)}, measured ε ≥ {measured:.3g}{extra}: nothing contradicts the claim; "
        f"{_reach_in_words(claim, facts)}. No audit can prove a claim."
    ))  # fmt: skip


def _decided(claim: Claim, facts: Facts, verdict: Verdict, sentence: str) -> Comparison:
    strongest = _decisive(claim, facts)
    return Comparison(
        facts.subject,
        claim,
        verdict,
        None if strongest is None else strongest.bound,
        _ceiling(facts),
        " ".join([sentence, *facts.caveats]),
        _seen(claim, facts)[1].epsilon if facts.bounds else math.inf,
        facts.caveats,
    )


def _decisive(claim: Claim, facts: Facts) -> Measured | None:
    """The strongest that holds for every mechanism, unless only one within a family lies above the claim."""

    def order(each: Measured) -> tuple[bool, float]:
        return each.bound.epsilon > each.limit(claim), each.bound.epsilon

    general = max((each for each in facts.bounds if not each.bound.family), key=order, default=None)
    within = max((each for each in facts.bounds if each.bound.family), key=order, default=None)
    if general is None or (within is not None and order(within)[0] and not order(general)[0]):
        return within
    return general


def _seen(claim: Claim, facts: Facts) -> tuple[LowerBound, Reach]:
    """The bound that would have seen the smallest violation, and what it would have seen."""
    found = [(each.bound, reach(each.bound, each.limit(claim), steps=claim.mechanism)) for each in facts.bounds]
    return min(found, key=lambda pair: pair[1].epsilon)


def _ceiling(facts: Facts) -> float:
    return max((each.bound.ceiling for each in facts.bounds), default=0.0)


def _size(bound: LowerBound) -> float:
    return bound.epsilon


def _claimed(claim: Claim, found: Measured) -> str:
    if found.allowed is None:
        return f"Claimed ε ≤ {claim.epsilon:.3g}"
    return (
        f"Claimed ε ≤ {claim.epsilon:.3g} under {claim.adjacency} adjacency. Members were a random split, so that one "
        f"record in means another out: where one record is replaced the claim allows ε ≤ {found.allowed:.3g}"
    )


def _reach_in_words(claim: Claim, facts: Facts) -> str:
    bound, found = _seen(claim, facts)
    within = f" (within: {bound.family})" if bound.family else ""
    match found.basis:
        case ReachBasis.PERFECT:
            ceiling = max(each.bound.ceiling for each in facts.bounds if each.bound.family == bound.family)
            return f"a perfect attack would have shown up to ε = {ceiling:.3g} here{within}"
        case ReachBasis.LESS_NOISE:
            leak = f"noise so low that ε is {found.epsilon:.3g}"
        case ReachBasis.GAUSSIAN:
            leak = f"a Gaussian leak of ε = {found.epsilon:.3g}"
    return f"{leak} would have been seen with probability {POWER:g}{within}"


def _only(facts: Facts, found: list[Measured | str]) -> Facts:
    """The facts with those bounds that fit, and why the others do not."""
    kept = tuple(each for each in found if isinstance(each, Measured))
    return replace(facts, bounds=kept, unfit=(*facts.unfit, *(each for each in found if isinstance(each, str))))


def _without_scores(facts: Facts, reason: str) -> Facts:
    if not reason:
        return facts
    kept = tuple(each for each in facts.bounds if not each.of_members)
    return replace(facts, bounds=kept, void=(*facts.void, reason))


def _not_random(facts: Facts) -> str:
    if not isinstance(facts.chosen, NotRandom):
        return ""
    return "The members were not chosen at random: scores may differ because the records do, and no bound on ε follows."


def _all_equal(facts: Facts) -> str:
    if not facts.attacks or not all(each.all_equal for each in facts.attacks):
        return ""
    return "All scores are equal: they tell nobody apart, and nothing about ε follows from them."


def _pointing_wrong(facts: Facts) -> str:
    """The level is shared by both directions of all attacks."""
    if not facts.attacks:
        return ""
    lowest = min(facts.attacks, key=lambda each: each.deviation)
    highest = max(each.deviation for each in facts.attacks)
    certain = float(ndtri(WRONG_WAY / (2 * len(facts.attacks))))
    if lowest.deviation > certain or highest >= -lowest.deviation:
        return ""
    return (
        f"Members score lower than non-members (AUC {lowest.auc:.3g} of {lowest.attack}), and nothing about ε follows "
        "from scores that point the wrong way. Were losses given? They are low for members: say so with "
        "--lower-is-member."
    )
