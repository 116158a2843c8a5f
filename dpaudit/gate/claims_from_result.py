"""A claims file from a result: what it measured, as ceilings that it keeps itself."""

import glob
import math
from collections.abc import Iterator
from typing import Any

import tomli_w

from dpaudit.gate.claims_file import Claims, claims_from
from dpaudit.gate.judge_claim import Case, claimed_interval, number_of_tests
from dpaudit.gate.metric_intervals import Interval
from dpaudit.gate.verify import METRIC_LEVEL, verify
from dpaudit.results.result import ModelResult, Result
from dpaudit.runtime import check
from dpaudit.runtime.errors import InputError

LEFT_OUT = "# Left out:"
HINTS = {
    "epsilon": "The ε is the one that the model claims.",
    "unlearning": "The ε is the one that the plan claims of its method of unlearning.",
    "ceiling": "The ceiling is the upper edge of the interval, rounded up.",
}
Candidate = dict[str, Any]


def write_claims(result: Result, *, where: str) -> str:
    """The text of a claims file that ``dpaudit verify`` passes as it is.

    Each model is held to the ε that it claims, and to ceilings on what attacks reached: the upper edge of the interval
    that the gate itself takes, rounded up to three digits. What the gate would not pass is left out with the reason.

    Args:
        result: what was measured.
        where: the result as seen from the folder of the claims file.

    Raises:
        InputError: nothing in the result can be claimed.
    """
    written: list[tuple[list[str], Candidate]] = []
    left_out: list[str] = []
    candidates = _with_ceilings(result, left_out)
    judgements = verify(result, _claims(candidates)).judgements if candidates else ()
    for candidate, judgement in zip(candidates, judgements, strict=True):
        if judgement.verdict in ("consistent", "too weak"):
            written.append(([judgement.sentence, HINTS[candidate["kind"]]], candidate))
        else:
            left_out.append(f"{candidate['id']}: {judgement.verdict}. {judgement.sentence}")
    if not written:
        raise InputError(f"{where}: nothing in this result can be claimed. {' '.join(left_out[:3])}".rstrip())
    head = [
        f"# Claims written from {check.printable(where)}, which passes them: dpaudit verify",
        "# A later result is judged by: dpaudit verify RESULT --claims FILE. Ceilings are what was measured here, with",
        "# the uncertainty of the measurement; lower them, or put in what you are willing to state.",
        "schema = 1",
        tomli_w.dumps({"result": where}).strip(),
    ]
    blocks = ["\n".join(head)]
    for comments, table in written:
        lines = [*(f"# {check.printable(text)}" for text in comments), "[[claim]]", tomli_w.dumps(table).strip()]
        blocks.append("\n".join(lines))
    if left_out:
        blocks.append("\n".join([LEFT_OUT, *(f"# - {check.printable(text)}" for text in left_out)]))
    return "\n\n".join(blocks) + "\n"


def _with_ceilings(result: Result, left_out: list[str]) -> list[Candidate]:
    """Claims whose ceilings are the edges of the intervals at the gate's own error level."""
    candidates = list(_candidates(result, left_out))
    if not candidates:
        return []
    cases = [
        Case(claim, result, _model(result, candidate))
        for claim, candidate in zip(_claims(candidates).claim, candidates, strict=True)
    ]
    tests = sum(number_of_tests(case) for case in cases)
    found = []
    for candidate, case in zip(candidates, cases, strict=True):
        if candidate["kind"] != "ceiling":
            found.append(candidate)
            continue
        # Claims that are left out later leave a larger share to the others, whose intervals only shrink.
        edge = _rounded_up(claimed_interval(case, METRIC_LEVEL / tests))
        if edge < 1:
            found.append({**candidate, "max": edge})
        else:
            left_out.append(f"{candidate['id']}: with so few records or trials no ceiling below 1 can be told.")
    return found


def _candidates(result: Result, left_out: list[str]) -> Iterator[Candidate]:
    for model in result.models:
        claim = None if model.accounted is None else model.accounted.claim
        if claim is not None and math.isfinite(claim.epsilon):
            yield {
                "id": f"{model.name}-epsilon",
                "kind": "epsilon",
                "model": model.name,
                "epsilon": claim.epsilon,
                "delta": claim.delta,
                "unit": claim.unit,
                "adjacency": claim.adjacency,
            }
        else:
            left_out.append(f"{model.name}-epsilon: nothing is claimed of its ε.")
        unlearned = None if result.unlearning is None else result.unlearning.epsilon
        if unlearned is not None:
            name = f"{model.name}-unlearning"
            about = {"epsilon": unlearned, "delta": result.delta}
            yield {"id": name, "kind": "unlearning", "model": model.name, **about}
        attacks = list(result.membership.by_name(model.name).values()) if result.membership is not None else []
        if attacks:
            yield _ceiling(f"{model.name}-auc", "auc", model=model.name)
            rates = [{at.fpr for at in attack.tpr_at_fpr if at.measurable} for attack in attacks]
            if common := set.intersection(*rates):
                rate = f"tpr@fpr={min(common):g}"
                yield _ceiling(f"{model.name}-{rate}", rate, model=model.name)
    for release in result.reconstructions:
        pattern = glob.escape(release)
        yield _ceiling(f"reconstruction from {release}"[:200], "reconstruction", release=pattern)


def _ceiling(name: str, metric: str, **about: str) -> Candidate:
    return {"id": name, "kind": "ceiling", "metric": metric, **about, "max": 1.0}


def _claims(candidates: list[Candidate]) -> Claims:
    return claims_from({"claim": candidates}, where="claims from a result")


def _model(result: Result, candidate: Candidate) -> ModelResult | None:
    return next((model for model in result.models if model.name == candidate.get("model")), None)


def _rounded_up(interval: Interval) -> float:
    """The upper edge, up to three digits behind the point: never below it."""
    return math.ceil(interval.high * 1000) / 1000
