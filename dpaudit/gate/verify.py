"""The gate: results against claims, under one family-wise error level.

Every judgement is one of the verdicts of `dpaudit.bounds.verdict`. The level holds for the gate itself: a
model that keeps all its claims is contradicted by chance with at most that probability, whatever the number of claims.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from dpaudit.gate.claims_file import (
    AnyClaim,
    CeilingClaim,
    Claims,
    EpsilonClaim,
    MechanismClaim,
    NoGrowthClaim,
    UnlearningClaim,
)
from dpaudit.gate.judge_claim import Case, Judgement, judge_case, number_of_tests
from dpaudit.results.result import Result
from dpaudit.results.unlearning import unlearning_from
from dpaudit.runtime import check
from dpaudit.runtime.errors import InputError

METRIC_LEVEL = 0.05  # shared by all tests on metrics when a claims file states no confidence


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
        """Whether the audit was too weak to judge any claim."""
        return any(each.verdict == "too weak" for each in self.judgements)

    @property
    def no_verdict(self) -> bool:
        """Whether what was measured says nothing about any claim."""
        return any(each.verdict == "no verdict" for each in self.judgements)

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
        """1 when a claim is contradicted; 3 without a verdict on one, or when power is required and was lacking."""
        if self.contradicted:
            return 1
        return 3 if self.no_verdict or (require_power and self.too_weak) else 0


def verify(
    results: Result | Sequence[Result], claims: Claims | Sequence[Claims], *, baseline: Result | None = None
) -> Gate:
    """Judge every claim on every result that holds its model.

    Args:
        results: what was measured.
        claims: what is claimed.
        baseline: the result that claims of kind ``no-growth`` compare with.

    Raises:
        InputError: no result or no claim, a claim about a model no result holds, a metric no attack measured, a
            baseline missing or unused, or an error level that cannot be held.
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
    tests = sum(number_of_tests(case) for case in cases)
    tail = _tail(files, spent, tests)
    judged = tuple(judge_case(case, tail) for case in cases)
    total = spent + tail * tests
    if total >= 1:
        raise InputError(
            f"the lower bounds of these results may fail a correct model with probability {total:.3g}: a gate on them "
            "decides nothing; raise audit.confidence in the plan."
        )
    return Gate(judged, round(total, 12))


def _cases(file: Claims, results: Sequence[Result], baseline: Result | None) -> Iterator[Case]:
    for claim in file.claim:
        before = baseline if isinstance(claim, NoGrowthClaim) else None
        if isinstance(claim, CeilingClaim | NoGrowthClaim) and claim.metric == "reconstruction":
            yield from _on_releases(claim, results, before)
        else:
            yield from _on_models(claim, results, before)


def _on_models(claim: AnyClaim, results: Sequence[Result], baseline: Result | None) -> Iterator[Case]:
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
            f"{', '.join(map(repr, known[:8])) or 'none'}.{check.nearest(claim.model or '', known)}"
        )
    for result, model in found:
        yield Case(claim, result, model, baseline)


def _on_releases(
    claim: CeilingClaim | NoGrowthClaim, results: Sequence[Result], baseline: Result | None
) -> Iterator[Case]:
    found = [result for result in results if any(claim.covers(name) for name in result.reconstructions)]
    if not found:
        known = [name for result in results for name in result.reconstructions]
        raise InputError(
            f"claim {claim.id!r} is about reconstruction"
            f"{'' if claim.release is None else f' from {claim.release!r}'}, and no result tried it; tried were "
            f"{', '.join(map(repr, known[:8])) or 'none'}.{check.nearest(claim.release or '', known)}"
        )
    for result in found:
        yield Case(claim, result, None, baseline)


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


def _spent_on_bounds(cases: Sequence[Case]) -> float:
    """What the lower bounds behind the claims on ε may go wrong, each bound counted once however many claims use it."""
    subjects = {
        (id(case.result), name): case.result.bounds(name)
        for case in cases
        if isinstance(case.claim, EpsilonClaim | MechanismClaim | UnlearningClaim)
        for name in [unlearning_from(case.subject) if isinstance(case.claim, UnlearningClaim) else case.subject]
    }
    return sum(1 - bound.confidence for bounds in subjects.values() for bound in bounds)
