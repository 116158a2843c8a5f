"""Unlearning in words: what was told apart before, after, and where models never held the records."""

from dpaudit.reports.words import count_of, percent
from dpaudit.results.unlearning import UnlearnedModel, UnlearningResult, UnlearningState


def name_state(found: UnlearningResult, state: UnlearningState) -> str:
    """A state of the models in words."""
    if state.state == "after":
        return f"after {found.method}"
    return "before unlearning" if state.state == "before" else "trained again without them"


def unlearning_in_words(found: UnlearningResult) -> list[str]:
    """What was found of each model, in a sentence or two."""
    return [_one(found, each) for each in found.found]


def _one(found: UnlearningResult, each: UnlearnedModel) -> str:
    told = ", ".join(
        f"{name_state(found, state)} ε ≥ {_epsilon(state):.3g} (AUC {state.attack.auc:.3f})" for state in each.states
    )
    after = each.after.exposed
    return (
        f"{each.subject}, {count_of(found.forgotten, 'record')} in {count_of(found.models, 'model')}: {told}. "
        f"Afterwards {after.found} of {count_of(after.tested, 'record')} still show by themselves (false discovery "
        f"rate {percent(after.fdr)})."
    )


def _epsilon(state: UnlearningState) -> float:
    return 0.0 if state.attack.bound is None else state.attack.bound.epsilon
