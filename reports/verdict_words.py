"""Sentences on verdicts, and on what two results differ in."""

import math
from collections.abc import Sequence

from dpaudit.bounds.lower_bound import LowerBound
from dpaudit.gate.compare import Change
from dpaudit.reports.words import several, short
from dpaudit.results.result import ModelResult, Result

SYMBOLS = {"contradicted": "✕", "consistent": "✓", "too weak": "?", "no verdict": "!", "no claim": "–"}
SEVERITY = ("contradicted", "no verdict", "too weak", "consistent", "no claim")


def verdict(result: Result, model: str) -> str:
    """The verdict in one word, or that there is no claim to judge."""
    found = result.comparison(model)
    return found.verdict if found is not None else "no claim"


def by_severity(result: Result) -> list[ModelResult]:
    """Models with the worst verdict first, among those the most broken claim, otherwise in the plan's order."""
    return sorted(result.models, key=lambda model: _severity(result, model.name))


def ordered_subjects(result: Result) -> list[str]:
    """What has a verdict or could have one: models, and whatever else made a claim; ordered like the models."""
    names = [model.name for model in result.models] + [found.subject for found in result.comparisons]
    return sorted(dict.fromkeys(names), key=lambda name: _severity(result, name))


def _severity(result: Result, name: str) -> tuple[int, float]:
    found = result.comparison(name)
    excess = found.strongest.epsilon - found.claim.epsilon if found is not None and found.strongest else -math.inf
    word = verdict(result, name)
    return SEVERITY.index(word), -excess if word == "contradicted" else 0.0


def headline(result: Result) -> str:
    """The audit in one sentence, and a second where records were read off releases that nothing is claimed about."""
    return " ".join([_judged(result), *_read_without_claim(result)])


def _read_without_claim(result: Result) -> list[str]:
    if result.gradient is None:
        return []
    read = [(cell.recovered, len(cell.psnr), cell.name) for cell in result.gradient.cells if cell.epsilon is None]
    for text in result.gradient.texts:
        if text.epsilon is None and text.recovered is not None:
            read.append((sum(text.recovered), sum(text.texts), text.name))
    recovered, sent, name = max(read, key=lambda each: each[0] / max(each[1], 1), default=(0, 0, ""))
    if not recovered:
        return []
    return [f"Where nothing is claimed ({name}), an attacker reads {recovered} of {sent} records off what is sent."]


def _judged(result: Result) -> str:
    judged = result.comparisons
    broken = [found.subject for found in judged if found.verdict == "contradicted"]
    void = [found.subject for found in judged if found.verdict == "no verdict"]
    weak = [found.subject for found in judged if found.verdict == "too weak"]
    if broken:
        return f"{several(broken)} {'leaks' if len(broken) == 1 else 'leak'} more than claimed."
    if void:
        return f"Nothing that was measured says anything about the claim of {several(void)}."
    if weak:
        fine = [found.subject for found in judged if found.verdict == "consistent"]
        rest = f" Nothing contradicts {_claims_in_words(result, fine)}." if fine else ""
        return f"This audit was too weak to judge {several(weak)}.{rest}"
    if judged:
        return f"Nothing contradicts {_claims_in_words(result, [found.subject for found in judged])}."
    return "No claim was made; this is what an attacker can find out."


def _claims_in_words(result: Result, subjects: Sequence[str]) -> str:
    """So many claims of models, of unlearning, and about what was released."""
    models = {model.name for model in result.models}
    forgetting = {each.subject for each in result.unlearning.found} if result.unlearning is not None else set()
    of_models = sum(subject in models for subject in subjects)
    of_unlearning = sum(subject in forgetting for subject in subjects)
    if of_models == len(subjects):
        return "the claim that was examined" if of_models == 1 else f"the {of_models} claims that were examined"
    kinds = {
        "of a model" if of_models == 1 else "of models": of_models,
        "about unlearning": of_unlearning,
        "about what was released": len(subjects) - of_models - of_unlearning,
    }
    parts: list[str] = []
    for kind, number in kinds.items():
        if number:
            one, several = ("one", f"{number}") if parts else ("claim", f"{number} claims")
            parts.append(f"the {one if number == 1 else several} {kind}")
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def describe_verdict(result: Result, subject: str) -> str:
    """The verdict on one model, or on another claim, in a sentence or two."""
    found = result.comparison(subject)
    if found is not None:
        return short(found.sentence, 1000)
    sentence = "It claims nothing, so there is nothing to contradict."
    general = max((bound for bound in result.bounds(subject) if not bound.family), key=_epsilon, default=None)
    if general is not None and general.epsilon > 0:
        sentence += f" It leaks at least ε = {general.epsilon:.3g} ({general.confidence:.4g} confidence)."
    return sentence


def other_differences(changes: Sequence[Change]) -> list[str]:
    """What two results differ in beside their numbers, each difference once, with the models it is about."""
    found: dict[str, list[str]] = {}
    for change in changes:
        for text in ([f"not comparable: {change.refused}"] if change.refused else []) + list(change.said):
            whose = found.setdefault(text, [])
            if change.model not in whose:
                whose.append(change.model)
    return [f"{several(whose)}: {short(text, 300)}." for text, whose in found.items()]


def _epsilon(bound: LowerBound) -> float:
    return bound.epsilon
