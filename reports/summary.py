"""What whoever signs a model off reads first: one table, the attacker, the risk in words, and what would change it."""

import math
from dataclasses import dataclass

import numpy as np

from dpaudit.accounting.gaussian import gaussian_mu
from dpaudit.bounds.lower_bound import LowerBound
from dpaudit.data.member_choice import RandomSplit
from dpaudit.reports import figures, scope_words, verdict_words, words
from dpaudit.results.facts import why_void
from dpaudit.results.frames import bound_rows
from dpaudit.results.result import ModelResult, Result

PEOPLE = 1000  # in sentences on risk
CANDIDATES = 10  # records that one of is reconstructed, in sentences on risk
LITTLE = 0.9  # a claim that allows an attacker to be right this often protects little
MOST = 3  # sentences on what would change the decision
ELSEWHERE = ("membership", "rung ", "reconstruction")  # sources of bounds that are told in other words


@dataclass(frozen=True)
class SummaryRow:
    """One model, or one release, in the table for who signs.

    Args:
        subject: its name.
        verdict: in one word.
        claimed: the claimed ε; None without a claim.
        general: the largest lower bound that holds for every mechanism.
        family: the largest that holds within a family of mechanisms.
        ceiling: the largest ε that this audit could have certified, for every mechanism if it has such a bound.
        reach: the minimum detectable ε: the smallest that would have been reported with probability 0.8.
        attacks: what was run, in words.
    """

    subject: str
    verdict: str
    claimed: float | None
    general: LowerBound | None
    family: LowerBound | None
    ceiling: float | None
    reach: float | None
    attacks: str


@dataclass(frozen=True)
class Risk:
    """What the attacks and the claim on one model mean for those in the data.

    Args:
        model: its name.
        attack: the one that is right most often; empty when none ran.
        right: of 1,000 records of which half are members, how many it judges rightly; guessing 500.
        advantage: its true-positive minus its false-positive rate, at the threshold where that is largest.
        found: its true-positive rate at the smallest false-positive rate that can be shown, in words.
        allowed: how many any attacker may judge rightly by the claim.
        picked: probability that the claim allows of picking one record out of 10 equally likely ones.
        mu: of Gaussian differential privacy with the claim's ε and δ.
        little: whether such a claim protects little.
    """

    model: str
    attack: str
    right: str | None
    advantage: float | None
    found: str
    allowed: str | None
    picked: float | None
    mu: float | None
    little: bool


def summary_row(result: Result, subject: str) -> SummaryRow:
    """The row of one model or release."""
    found = result.comparison(subject)
    return SummaryRow(
        subject=subject,
        verdict=verdict_words.verdict(result, subject),
        claimed=None if found is None else found.claim.epsilon,
        general=figures.general_bound(result, subject),
        family=figures.family_bound(result, subject),
        ceiling=figures.largest_certifiable(result, subject),
        reach=None if found is None or not math.isfinite(found.reach) else found.reach,
        attacks=_attacks(result, subject),
    )


def plain_verdict(result: Result, subject: str) -> str:
    """The verdict on one model or release in one plain sentence."""
    found = result.comparison(subject)
    if found is None:
        bound = figures.general_bound(result, subject)
        leaks = f"; it leaks at least ε = {bound.epsilon:.3g}" if bound is not None and bound.epsilon > 0 else ""
        return f"It claims nothing, so there is nothing to contradict{leaks}."
    claim = f"the claim of ε ≤ {found.claim.epsilon:.3g}"
    tried = _tried(result, subject)
    if _forgets(result, subject) and found.verdict == "contradicted":
        measured = figures.general_bound(result, subject)
        assert measured is not None  # which is what contradicts it
        return (
            "Forgotten records are told from records that were never there: ε is at least "
            f"{measured.epsilon:.3g}, more than {claim}."
        )
    match found.verdict:
        case "contradicted" if found.strongest is not None:
            return f"It leaks at least ε = {found.strongest.epsilon:.3g}, more than {claim}."
        case "contradicted":
            return f"{tried}What was found contradicts {claim}."
        case "consistent":
            return f"{tried}Nothing contradicts {claim}{_protects_little(result, subject)}."
        case "too weak":
            most = figures.largest_certifiable(result, subject)
            why = f": even a perfect attack certifies no more than ε = {most:.3g}" if most is not None else ""
            why = why if most is not None and most <= found.claim.epsilon else ""
            return f"{tried}This audit could not have contradicted {claim}{why}."
        case _:
            return f"Nothing that was measured says anything about {claim}."


def _tried(result: Result, subject: str) -> str:
    """What was tried on a release, which has no bound of its own to show."""
    tried = result.reconstructions.get(subject)
    if tried is None:
        return ""
    were = "was" if tried.successes == 1 else "were"
    return f"{tried.successes} of {words.count_of(tried.trials, 'hidden record')} {were} picked out. "


def _protects_little(result: Result, subject: str) -> str:
    model = next((model for model in result.models if model.name == subject), None)
    told = None if model is None else risk(result, model)
    if told is None or not told.little:
        return ""
    return f", which protects little: it allows an attacker to be right about {told.allowed} of 1,000 {result.unit}s"


def risk(result: Result, model: ModelResult) -> Risk | None:
    """What the attacks and the claim on one model mean; None where it was not attacked and claims nothing."""
    attack, accounted = figures.strongest_attack(result, model.name), model.accounted
    if attack is None and accounted is None:
        return None
    point = None
    if attack is not None:
        point = min((at for at in attack.tpr_at_fpr if at.measurable), key=lambda at: at.fpr, default=None)
    allowed = None if accounted is None else float(np.max(np.subtract(accounted.tpr, accounted.fpr)))
    mu = None
    if accounted is not None and accounted.claim.delta > 0 and 0 < accounted.claim.epsilon < math.inf:
        mu = gaussian_mu(accounted.claim.epsilon, accounted.claim.delta)
    return Risk(
        model=model.name,
        attack="" if attack is None else attack.attack,
        right=None if attack is None else _of_thousand(attack.advantage),
        advantage=None if attack is None else attack.advantage,
        found="" if point is None else f"{words.percent(point.tpr)} at {words.percent(point.fpr)}",
        allowed=None if allowed is None else _of_thousand(allowed),
        picked=None if accounted is None else float(np.interp(1 / CANDIDATES, accounted.fpr, accounted.tpr)),
        mu=mu,
        little=allowed is not None and (1 + allowed) / 2 >= LITTLE,
    )


def would_change(result: Result) -> list[str]:
    """At most three sentences on what would change the decision, the most important first."""
    by_verdict: dict[str, list[str]] = {}
    for found in result.comparisons:
        by_verdict.setdefault(found.verdict, []).append(found.subject)
    sentences = []
    if "contradicted" in by_verdict:
        sentences += _after_contradiction(result, by_verdict["contradicted"])
    if "no verdict" in by_verdict or why_void(result):
        sentences.append(
            "Members chosen at random from one source, and scores that point the right way: without them nothing "
            "follows about ε (dpaudit split chooses members)."
        )
    if "too weak" in by_verdict:
        whose = words.several(by_verdict["too weak"])
        sentences.append(
            "More records, canaries or trainings: with as many as here no attack could contradict the claim of "
            f"{whose}. dpaudit power says how many it takes."
        )
    optimistic = [model.name for model in result.models if model.accounted is not None and model.accounted.optimistic]
    if optimistic:
        sentences.append(
            f"How batches were drawn: the claimed ε of {words.several(optimistic)} is for another way than that of the "
            "training, and the true one may be larger."
        )
    membership = result.membership
    if membership is not None and membership.chosen == RandomSplit(stated=False) and membership.attacks:
        sentences.append(
            "How the members were chosen: nobody said. If it was by date, by source or by hand, the bounds do not hold."
        )
    for found in result.comparisons:
        if found.verdict == "consistent" and found.claim.epsilon < found.reach < math.inf:
            sentences.append(
                f"A leak of {words.short(found.subject)} between the claimed {found.claim.epsilon:.3g} and "
                f"{found.reach:.3g}: this audit would probably have missed it, and more records or canaries would not."
            )
            break
    if membership is not None and membership.attacks and not membership.references:
        sentences.append("An attacker with reference models, the strongest known: none were trained here.")
    if any("code that trained" in gap for gap in scope_words.not_tested(result)):
        sentences.append(
            "A fault in the code that trains, which these attacks do not show: dpaudit inspect checks the mechanism."
        )
    if not result.comparisons:
        sentences.append("A claim: without one, nothing that is measured can contradict it.")
    return sentences[:MOST]


def _after_contradiction(result: Result, subjects: list[str]) -> list[str]:
    strongest = [found for name in subjects if (found := result.comparison(name)) is not None and found.strongest]
    if not strongest:
        return ["Another training: what contradicts the claim is arithmetic or a check, and no chance."]
    worst = max(strongest, key=lambda found: _epsilon(found.strongest))
    assert worst.strongest is not None
    if _forgets(result, worst.subject):
        first = "Another method of unlearning, or training again without the records."
    else:
        first = (
            f"A claim for {words.short(worst.subject)} of at least ε = {worst.strongest.epsilon:.3g}, or a training "
            "that leaks less: more noise, fewer steps, more records."
        )
    return [
        first,
        f"Chance: a true claim is contradicted in at most {words.percent(1 - result.level.confidence)} of such audits. "
        "A second audit with newly chosen members tells.",
    ]


def _attacks(result: Result, subject: str) -> str:
    parts = []
    if subject in result.reconstructions:
        tried = result.reconstructions[subject]
        parts.append(f"{words.count_of(tried.trials, 'reconstruction')}, {tried.successes} right")
    if number := len(figures.attacks_on(result, subject)):
        parts.append(words.count_of(number, "membership attack"))
    if result.ladder is not None:
        ran = sorted({rung.rung for rung in result.ladder.rungs if rung.model == subject and not rung.skipped})
        if ran:
            parts.append(f"rung{'s' if len(ran) > 1 else ''} {', '.join(str(rung) for rung in ran)} of the ladder")
    if result.extraction_from(subject) is not None:
        parts.append("extraction by sampling")
    if _forgets(result, subject):
        return "U-LiRA"
    sources = (row["source"] for row in bound_rows(result) if row["model"] == subject)
    parts += dict.fromkeys(each for each in sources if not each.startswith(ELSEWHERE))
    return "; ".join(parts) or "none"


def _forgets(result: Result, subject: str) -> bool:
    """Whether a verdict is about unlearning."""
    return result.unlearning is not None and any(each.subject == subject for each in result.unlearning.found)


def _of_thousand(advantage: float) -> str:
    return f"{round(PEOPLE * (1 + max(0.0, advantage)) / 2):,}"


def _epsilon(bound: LowerBound | None) -> float:
    return -math.inf if bound is None else bound.epsilon
