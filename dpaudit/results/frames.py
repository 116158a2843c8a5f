"""A result as tables of pandas, one row for each thing that was measured; the columns are listed in `COLUMNS`."""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from dpaudit.bounds.lower_bound import LowerBound
from dpaudit.results.membership import AttackResult
from dpaudit.runtime import check
from dpaudit.runtime.errors import InputError
from dpaudit.scores.targets import Mean

if TYPE_CHECKING:
    import pandas as pd

    from dpaudit.results.result import ModelResult, Result

FrameRow = dict[str, Any]

_WHO = {"model": "model under audit", "attack": "attack; one that ran again has a number behind its name"}
COLUMNS: Mapping[str, Mapping[str, str]] = {
    "attacks": {
        **_WHO,
        "version": "version of the attack",
        "members": "members scored, records or users",
        "nonmembers": "non-members scored",
        "spent": "records whose membership the attack was told, and which it was not judged on",
        "auc": "area under the ROC curve, 0 to 1",
        "auc_standard_error": "its standard error over records",
        "advantage": "largest true-positive rate minus false-positive rate, 0 to 1",
        "tpr@fpr=RATE": "true-positive rate at this false-positive rate, 0 to 1, one column for each rate; empty where "
        "too few non-members can show it",
        "epsilon": "lower bound on ε by this attack; empty where the scores allow none",
    },
    "bounds": {
        "model": "model under audit, or the release where records are reconstructed",
        "source": "experiment that the bound is from",
        "attack": "attack of membership inference; empty for other experiments",
        "epsilon": "lower bound on ε",
        "delta": "δ it holds for",
        "confidence": "that the true ε is not below it, 0 to 1",
        "ceiling": "ε that a perfect attack could have certified on the same trials",
        "method": "name of the bound",
        "family": "family of mechanisms within which it holds; empty where it holds for every mechanism",
        "unit": "record or user",
        "adjacency": "neighbouring data sets",
        "trials": "independent trials behind it",
    },
    "models": {
        "model": "model under audit",
        "trainer": "what trained it",
        "claimed_epsilon": "claimed ε; empty where nothing is claimed",
        "claimed_delta": "δ of the claim",
        "verdict": "on the claim; empty where nothing is claimed",
        "epsilon": "largest lower bound on ε that holds for every mechanism",
        "epsilon_within": "largest lower bound within a family of mechanisms only",
        "ceiling": "largest ε that a perfect attack could have certified for every mechanism",
        "best_attack": "attack with the largest AUC",
        "auc": "its area under the ROC curve, 0 to 1",
        "metric": "of utility: accuracy, or mean squared error",
        "train": "the metric on training records (accuracy: 0 to 1)",
        "test": "the metric on records that the model has not seen",
    },
    "pools": {
        **_WHO,
        "targets": "reference models, each attacked in turn",
        "auc": "mean area under the ROC curve over them, 0 to 1",
        "auc_standard_error": "its standard error over them",
        "advantage": "mean advantage",
        "advantage_standard_error": "its standard error over them",
        "tpr@fpr=RATE": "mean true-positive rate at this false-positive rate, 0 to 1, one column for each rate",
        "tpr@fpr=RATE_standard_error": "its standard error over them",
    },
    "scores": {
        **_WHO,
        "record": "row number in the source of the data (of two files: members first), or the user",
        "member": "whether it was trained on",
        "score": "of the attack; higher means more likely a member",
    },
    "slices": {
        **_WHO,
        "by": "what the records are sliced by",
        "value": "which part",
        "members": "members in it",
        "nonmembers": "non-members in it",
        "auc": "area under the ROC curve within it, 0 to 1",
        "auc_standard_error": "its standard error over records",
        "fpr": "false-positive rate of the next column",
        "tpr": "true-positive rate within it, 0 to 1",
        "p_value": "that the AUC is above 1/2 by chance, adjusted for all slices (Holm)",
    },
}  # fmt: skip


def frame(result: "Result", name: str) -> "pd.DataFrame":
    """A table of a result by its name in `COLUMNS`; one without rows has its columns all the same.

    Raises:
        InputError: no such table, or the scores of single records are not beside the result.
    """
    import pandas as pd

    check.one_of("frame", name, sorted(COLUMNS))
    if name == "scores":
        return _scores(result)
    rows = list(_ROWS[name](result))
    rates = [key for row in rows for key in row if key.startswith("tpr@")]
    columns: list[str] = []
    for column in COLUMNS[name]:
        if "RATE" not in column:
            columns.append(column)
        elif not column.endswith("RATE_standard_error"):  # which stands beside its mean
            columns += dict.fromkeys(rates)
    table: pd.DataFrame = pd.DataFrame(rows, columns=columns)
    return table


def _attacks(result: "Result") -> Iterator[FrameRow]:
    for model, name, found in _named(result):
        yield {
            "model": model,
            "attack": name,
            "version": found.version,
            "members": found.members,
            "nonmembers": found.nonmembers,
            "spent": found.spent,
            "auc": found.auc,
            "auc_standard_error": found.auc_standard_error,
            "advantage": found.advantage,
            # With nobody called a member the threshold is infinite: that many non-members cannot show the rate.
            **{f"tpr@fpr={at.fpr:g}": at.tpr if math.isfinite(at.threshold) else None for at in found.tpr_at_fpr},
            "epsilon": None if found.bound is None else found.bound.epsilon,
        }


def bound_rows(result: "Result") -> Iterator[FrameRow]:
    """Every lower bound on ε, with the experiment it is from."""
    for model, name, attack in _named(result):
        if attack.bound is not None:
            yield {**_bound(model, "membership", attack.bound), "attack": name}
    federated, trace = result.federated, result.trace
    for part in (federated, trace):
        for canary in part.canaries if part is not None else ():
            yield _bound(canary.model, f"canary clients, {canary.view}", canary.bound)
        for user in part.users if part is not None else ():
            yield _bound(user.model, f"users, {user.view}", user.bound)
    for lifted in federated.lifted if federated is not None else ():
        yield _bound(lifted.model, "canaries in many federations", lifted.bound)
    for crafted in federated.crafted if federated is not None else ():
        yield _bound(crafted.model, f"crafted record, round {crafted.round}", crafted.bound)
    for rung in result.ladder.rungs if result.ladder is not None else ():
        if rung.bound is not None:
            yield _bound(rung.model, f"rung {rung.rung}, {rung.name}", rung.bound)
    for unlearned in result.unlearning.found if result.unlearning is not None else ():
        for each in unlearned.states:
            if each.attack.bound is not None:
                yield _bound(unlearned.model, f"unlearning, {each.state}", each.attack.bound)
    for game in result.prior.cells if result.prior is not None else ():
        assert result.prior is not None
        for bound in (game.definition, game.family):
            yield _bound(result.prior.named(game), "reconstruction with a prior", bound)


def _bound(model: str, source: str, bound: LowerBound) -> FrameRow:
    kept = ("epsilon", "delta", "confidence", "ceiling", "method", "family", "unit", "adjacency", "trials")
    return {"model": model, "source": source, "attack": "", **{name: getattr(bound, name) for name in kept}}


def _models(result: "Result") -> Iterator[FrameRow]:
    for model in result.models:
        yield _model(result, model)


def _model(result: "Result", model: "ModelResult") -> FrameRow:
    bounds, found = result.bounds(model.name), result.comparison(model.name)
    general = [bound for bound in bounds if not bound.family]
    best = max((attack for name, _, attack in _named(result) if name == model.name), key=_auc, default=None)
    claim = None if model.accounted is None else model.accounted.claim
    utility = model.utility
    return {
        "model": model.name,
        "trainer": model.trainer,
        "claimed_epsilon": None if claim is None else claim.epsilon,
        "claimed_delta": None if claim is None else claim.delta,
        "verdict": "" if found is None else found.verdict,
        "epsilon": max((bound.epsilon for bound in general), default=None),
        "epsilon_within": max((bound.epsilon for bound in bounds if bound.family), default=None),
        "ceiling": max((bound.ceiling for bound in general), default=None),
        "best_attack": "" if best is None else best.attack,
        "auc": None if best is None else best.auc,
        "metric": "" if utility is None else utility.metric,
        "train": None if utility is None else utility.train,
        "test": None if utility is None else utility.test,
    }


def _pools(result: "Result") -> Iterator[FrameRow]:
    for pool in result.membership.pools if result.membership is not None else ():
        over = pool.over_targets
        rates: FrameRow = {}
        for fpr, mean in zip(over.fprs, over.tpr_at_fpr, strict=True):
            rates.update(_mean(f"tpr@fpr={fpr:g}", mean))
        head = {"model": pool.model, "attack": pool.attack, "targets": over.targets}
        yield {**head, **_mean("auc", over.auc), **_mean("advantage", over.advantage), **rates}


def _mean(name: str, mean: Mean | None) -> FrameRow:
    if mean is None:
        return {name: None, f"{name}_standard_error": None}
    return {name: mean.mean, f"{name}_standard_error": mean.standard_error}


def _slices(result: "Result") -> Iterator[FrameRow]:
    for model, name, attack in _named(result):
        for part in attack.slices.found if attack.slices is not None else ():
            assert attack.slices is not None
            yield {
                "model": model,
                "attack": name,
                "by": part.by,
                "value": part.value,
                "members": part.members,
                "nonmembers": part.nonmembers,
                "auc": part.auc,
                "auc_standard_error": part.auc_standard_error,
                "fpr": attack.slices.fpr,
                "tpr": part.tpr_at_fpr,
                "p_value": part.p_value,
            }


def _scores(result: "Result") -> "pd.DataFrame":
    import pandas as pd

    names = list(_named(result))
    if not names or result.membership is None:
        nothing: pd.DataFrame = pd.DataFrame(columns=list(COLUMNS["scores"]))
        return nothing
    held = result.membership.scores.read()
    if (held.model, held.attack) != (tuple(each[0] for each in names), tuple(each[2].attack for each in names)):
        raise InputError("the scores beside this result are of other attacks: they belong to another result.")
    parts = [
        pd.DataFrame(
            {
                "model": np.repeat(model, held.judged[row].sum()),
                "attack": name,
                "record": held.record[held.judged[row]],
                "member": held.member[held.judged[row]],
                "score": held.score[row, held.judged[row]],
            }
        )
        for row, (model, name, _) in enumerate(names)
    ]
    table: pd.DataFrame = pd.concat(parts, ignore_index=True)
    return table


def _named(result: "Result") -> Iterator[tuple[str, str, AttackResult]]:
    """Model, name and attack, in the order of the result."""
    found = result.membership
    if found is None:
        return
    names = {id(attack): name for model in result.models for name, attack in found.by_name(model.name).items()}
    for attack in found.attacks:
        yield attack.model, names.get(id(attack), attack.attack), attack


def _auc(attack: AttackResult) -> float:
    return attack.auc


_ROWS: Mapping[str, Callable[["Result"], Iterator[FrameRow]]] = {
    "attacks": _attacks,
    "bounds": bound_rows,
    "models": _models,
    "pools": _pools,
    "slices": _slices,
}
