"""From a result to the facts that the judge asks for, and to the verdicts that a result holds."""

import math
from collections.abc import Sequence

from dpaudit.accounting.claim import Claim, GaussianSteps, NoiseKnowledge, Poisson
from dpaudit.bounds.lower_bound import LowerBound
from dpaudit.bounds.verdict import Comparison, Facts, Measured, Separation, judge, judge_release, void_reasons
from dpaudit.data.member_choice import REFUTED
from dpaudit.results.gradient import GradientCell
from dpaudit.results.membership import AttackResult, MembershipResult
from dpaudit.results.result import ModelResult, Result
from dpaudit.results.text_gradient import TextCell

# Trainers of dpaudit that add no noise where they name no mechanism: for results that did not record it.
WITHOUT_NOISE = ("sgd", "dp-sgd", "tf-privacy", "federated")


def facts(result: Result, model: ModelResult) -> Facts:
    """What a result knows about one of its models."""
    found, name = result.membership, model.name
    attacks = [] if found is None else [attack for attack in found.attacks if attack.model == name]
    chosen = None if found is None else found.chosen
    scored = [] if found is None else found.bounds(name)
    others = [bound for part in result.outcomes if part is not found for bound in part.bounds(name)]
    noise = _noise(result, model)
    return Facts(
        subject=name,
        bounds=(*(Measured(bound, of_members=True) for bound in scored), *map(Measured, others)),
        findings=tuple(result.findings(name)),
        mechanism=model.mechanism if noise == "accounted" else None,
        noise=noise,
        attacks=tuple(map(_separation, attacks)),
        chosen=chosen,
        differ="" if found is None else _differ(result, found),
        caveats=(*_caveats(result, name), *([] if model.start is None else [model.start])),
    )


def with_verdicts(result: Result) -> Result:
    """The result with a verdict on every claim it records: of its models, of unlearning, and of what was released."""
    comparisons = []
    for model in result.models:
        known = facts(result, model)
        claim = model.accounted.claim if model.accounted is not None else None
        if claim is None and result.trace is not None and any(each.severity == "violation" for each in known.findings):
            claim = Claim(math.inf, result.delta, result.unit, "add-remove", "the manifest, which claims no ε")
        if claim is not None:
            comparisons.append(judge(claim, known))
    return result.model_copy(update={"comparisons": [*comparisons, *_unlearning(result), *_reconstructions(result)]})


def judge_unlearning(claim: Claim, subject: str, bounds: Sequence[LowerBound]) -> Comparison:
    """The verdict on a claim that forgotten records are within ε of records that were never there.

    Args:
        claim: with that ε.
        subject: what it is about.
        bounds: on the ε of what was forgotten.
    """
    return judge(claim, Facts(subject, tuple(Measured(bound) for bound in bounds)))


def _unlearning(result: Result) -> list[Comparison]:
    """Verdicts on what unlearning leaves, where the plan claims how much that is."""
    found = result.unlearning
    if found is None or found.epsilon is None:
        return []
    claim = Claim(found.epsilon, result.delta, "record", "add-remove", "[unlearning] of the plan")
    return [judge_unlearning(claim, each.subject, found.bounds(each.subject)) for each in found.found]


def why_void(result: Result) -> list[str]:
    """Why nothing follows from the scores on models that claim nothing, one sentence each; a verdict says it itself.

    Without a claim there is no verdict, and a measurement that says nothing is none the less to be told from one that
    does.
    """
    silent = [model for model in result.models if result.comparison(model.name) is None]
    return [f"{model.name}: {reason}" for model in silent for reason in void_reasons(facts(result, model))]


def _reconstructions(result: Result) -> list[Comparison]:
    """Verdicts on releases: of gradients, and of the games against a mechanism."""
    found = []
    cells: list[GradientCell | TextCell] = []
    if result.gradient is not None:
        cells += [*result.gradient.cells, *result.gradient.texts]
    for cell in cells:
        if cell.verdict is not None and cell.epsilon is not None:
            assert result.gradient is not None
            claim = Claim(cell.epsilon, result.gradient.delta, "record", "add-remove", "accounted")
            found.append(judge_release(cell.name, claim, cell.verdict, None))
    for game in result.prior.cells if result.prior is not None else ():
        assert result.prior is not None
        mechanism = GaussianSteps(game.claimed, result.prior.steps, Poisson(result.prior.rate))
        claim = Claim(game.epsilon, game.definition.delta, "record", "add-remove", "accounted", mechanism)
        found.append(judge_release(result.prior.named(game), claim, game.verdict, game.family))
    return found


def _noise(result: Result, model: ModelResult) -> NoiseKnowledge:
    if model.noise is not None:
        return model.noise
    if model.mechanism is not None:
        return "accounted" if model.mechanism.noise_multiplier > 0 else "none"
    of_trace = result.trace is not None and result.trace.name == model.name  # whose trainer is somebody else's
    return "none" if model.trainer in WITHOUT_NOISE and not of_trace else "unknown"


def _separation(attack: AttackResult) -> Separation:
    # Only scores that are all equal have a ROC curve of two points, its corners.
    equal = {*attack.curve.fpr} == {*attack.curve.tpr} == {0.0, 1.0} and attack.auc == 0.5
    return Separation(attack.attack, attack.auc, attack.members, attack.nonmembers, equal)


def _differ(result: Result, found: MembershipResult) -> str:
    """Why scores may differ without any leak: the data do, or the bounds took for fair coins what was none."""
    if found.blind is not None and found.blind.differs:
        return found.blind.sentence
    members, records = result.data.members, result.data.records
    # Results from before it was recorded how members were chosen.
    old = found.chosen is None and found.design == "one-run" and result.unit == "record"
    if not old or not records:
        return ""
    from scipy.stats import binomtest

    if binomtest(members, records).pvalue >= REFUTED:
        return ""
    return (
        f"{members} of {records} records are members, which fair coins do not give (p < {REFUTED:g}); the bounds took "
        "them as fair coins, and nothing follows from them."
    )


def _caveats(result: Result, name: str) -> tuple[str, ...]:
    """What the result says of this model; where it holds several, a sentence begins with the model's name."""
    said = result.membership.caveats if result.membership is not None else []
    return tuple(each for each in said if len(result.models) == 1 or each.startswith(f"{name} "))
