"""Who the attackers of an audit are and what they know, in words."""

from dpaudit.reports import words
from dpaudit.results.federated import FederatedResult
from dpaudit.results.result import Result

RUNGS = {
    0: "reads the recipe of the training",
    1: "feeds the mechanism gradients of their choice and sees what it releases",
    2: "sees every noisy step and puts gradients of their choice into it",
    3: "sees every intermediate model and puts records of their choice into the data",
    4: "starts the training from the worst weights, puts a record of their choice into the data and sees the model",
}

VIEWS = {  # of a federation, from the attacker who sees least to the one who sees most
    "final-model": "sees the final model of a federation",
    "every-round": "sees the model of every round of a federation",
    "releases": "sees what the server of a federation releases after every round",
    "clients": "sees what single clients of a federation send",
}


def attackers(result: Result) -> list[str]:
    """Who the attackers of this audit are and what they know, one sentence each."""
    found = []
    membership = result.membership
    if membership is not None and membership.attacks:
        knows = "holds a record, sees what the final model answers to it, and asks whether it was in the training data"
        if membership.text is not None and membership.references:
            knows += f"; they have {words.count_of(membership.references, 'other language model')} to compare with"
        elif membership.references:
            knows += f"; they know how the model was trained and train {membership.references} models like it"
        found.append(f"An attacker who {knows}.")
    if result.ladder is not None:
        ran = sorted({rung.rung for rung in result.ladder.rungs if not rung.skipped} - {0})
        found += [f"An attacker who {RUNGS[rung]} (rung {rung})." for rung in ran]
    if result.federated is not None:
        found += [f"An attacker who {VIEWS[view]}." for view in VIEWS if view in _views(result.federated)]
    if result.trace is not None:
        found.append("A reader of the recorded rounds of a federation.")
    if result.unlearning is not None:
        found.append(
            "An attacker who holds a record, sees what the model answers after unlearning, trains and unlearns "
            f"{result.unlearning.references} models like it, and asks whether the record was ever there."
        )
    if result.gradient is not None:
        found.append("An attacker who sees the gradient or update of a client and makes the records behind it again.")
    if result.prior is not None:
        found.append("An attacker who knows all records but one, sees every noisy step, and has a list of candidates.")
    if result.extraction:
        found.append("An attacker who holds the beginning of a text and samples the rest from the model, many times.")
    return found


def _views(found: FederatedResult) -> set[str]:
    """What the attackers of a federation saw."""
    views: set[str] = {each.view for each in found.canaries} | {each.view for each in found.users}
    if found.crafted or found.sources or found.properties:
        views.add("clients")
    return views | ({"final-model"} if found.lifted else set())
