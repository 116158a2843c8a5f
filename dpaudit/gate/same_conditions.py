"""Whether what two results say about one attack, or about one release, can be compared."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dpaudit.results.result import ModelResult, Result
from dpaudit.runtime.files import parse_toml

SHOWN = 8  # characters of a fingerprint


@dataclass(frozen=True)
class Differences:
    """How two results differ beside the numbers to be compared.

    Args:
        refused: differences that make a comparison meaningless; none when it can be made.
        said: differences to read a comparison with; a model trained otherwise is what one wants to compare.
    """

    refused: tuple[str, ...] = ()
    said: tuple[str, ...] = ()

    @property
    def why_not(self) -> str:
        """Why nothing can be compared; empty when it can.

        >>> Differences(("64 reference models against 8", "unit user against record")).why_not
        '64 reference models against 8; unit user against record'
        """
        return "; ".join(self.refused)


def attacks_alike(before: Result, after: Result, model: str, attack: str) -> Differences:
    """Whether an attack on a model can be compared over two results that both hold it.

    The records, the unit, the adjacency, the design, the number of reference models, the measure of utility (which goes
    with the task), and the attack with its version, parameters, queries and checkpoints must agree. Another seed,
    another δ (no metric of an attack depends on it), another engine for the references and another training are said.
    What one side does not record is taken as the same: parameters without a plan, and records without a fingerprint
    where there are as many of them, which is said.

    Args:
        before: the older result.
        after: the newer one.
        model: name of the model.
        attack: name of the attack as `MembershipResult.by_name` has it.
    """
    refused, said = _data(before, after, _records(before, model, attack), _records(after, model, attack))
    if (was := count_references(before)) != (now := count_references(after)):
        refused.append(f"{now} reference models against {was}")
    terms = [_terms(result, model, attack) for result in (before, after)]
    measures = [_measure(result, model) for result in (before, after)]
    if None not in measures:
        refused += _differences(*({"measure of utility": each} for each in measures))
    plans = [_table(plan_of(result), "membership") for result in (before, after)]
    settings = [_settings(plan, attack) if all(plans) else {} for plan in plans]
    refused += [*_differences(*terms), *_differences(*settings)]
    said += _differences(*(_training(result, model) for result in (before, after)))
    return Differences(tuple(refused), tuple(said))


def releases_alike(before: Result, after: Result, release: str) -> Differences:
    """Whether reconstruction from a release can be compared: the records and the candidates must agree."""
    refused, said = _data(before, after, before.data.records, after.data.records)
    was, now = before.reconstructions[release].kappa, after.reconstructions[release].kappa
    if was != now:
        refused.append(f"guessing succeeds with probability {now:.3g} against {was:.3g}")
    return Differences(tuple(refused), tuple(said))


def other_data(before: Result, after: Result) -> str:
    """How the data differ, as far as fingerprints tell; empty when they are the same or one is not known."""
    was, now = before.data.fingerprint, after.data.fingerprint
    if was is None or now is None or was == now or _another_draw(before, after):
        return ""
    return f"other data (fingerprint {now[:SHOWN]}… against {was[:SHOWN]}…)"


def count_references(result: Result) -> int:
    """Reference models that the attacks had."""
    return 0 if result.membership is None else result.membership.references


def _data(before: Result, after: Result, was: int, now: int) -> tuple[list[str], list[str]]:
    """What is refused and what is said of the data; ``was`` and ``now`` are numbers of records."""
    said = []
    if (seed := before.provenance.seed) != after.provenance.seed:
        said.append(f"seed {_in_words(after.provenance.seed)} against {_in_words(seed)}")
    if before.data.fingerprint is None or after.data.fingerprint is None:
        if was != now:
            return [f"data unknown, {now} records against {was}"], said
        return [], ["data unknown", *said]
    found = other_data(before, after)
    if not found and before.data.fingerprint != after.data.fingerprint:
        said.append("another draw from the same source")
    return [found] if found else [], said


def _another_draw(before: Result, after: Result) -> bool:
    """Whether the records are another seed's part of a data set that comes with a package, and so stays the same."""
    was, now = _table(plan_of(before), "data"), _table(plan_of(after), "data")
    source = was.get("source")
    return (
        isinstance(source, str)
        and not Path(source).suffix
        and was == now
        and _split_seed(before) != _split_seed(after)
        and before.data.records == after.data.records
    )


def _split_seed(result: Result) -> int | None:
    """Seed that drew the records: its own in the plan, or the plan's only one."""
    found: int | None = _table(plan_of(result), "seeds").get("split", result.provenance.seed)
    return found


def _terms(result: Result, model: str, attack: str) -> dict[str, Any]:
    """What a number of an attack means."""
    outcome = result.membership
    found: dict[str, Any] = {"unit": result.unit, "adjacency": result.adjacency}
    if outcome is not None:
        found |= {"design": outcome.design, "attack version": outcome.by_name(model)[attack].version}
    return found


def _measure(result: Result, model: str) -> str | None:
    """The measure of utility; None where the model was not at hand."""
    trained = _model(result, model)
    return None if trained is None or trained.utility is None else trained.utility.metric


def _settings(membership: Mapping[str, Any], attack: str) -> dict[str, Any]:
    """How a plan sets up an attack; one that runs again has a number behind its name, as in a result."""
    numbered: dict[str, dict[str, Any]] = {}
    names: list[str] = []
    for each in membership.get("attacks", []):
        given = dict(each) if isinstance(each, dict) else {"name": each}
        name = str(given.pop("name", ""))
        names.append(name)
        numbered[name if names.count(name) == 1 else f"{name} ({names.count(name)})"] = given
    shared = {key: membership.get(key) or "none" for key in ("queries", "checkpoints")}
    return {**shared, **{f"the attack's {key}": value for key, value in numbered.get(attack, {}).items()}}


def _training(result: Result, model: str) -> dict[str, Any]:
    trained = _model(result, model)
    stacked = result.membership is not None and model in result.membership.stacked
    return {
        "δ": result.delta,
        **({} if trained is None else {"trainer": trained.trainer, **trained.parameters}),
        "engine of the references": "stacked" if stacked else "the model's own",
    }


def _differences(was: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    return [
        f"{name} {_in_words(now.get(name))} against {_in_words(was.get(name))}"
        for name in dict.fromkeys([*was, *now])
        if was.get(name) != now.get(name)
    ]


def _in_words(value: Any) -> str:
    return "unset" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _model(result: Result, name: str) -> ModelResult | None:
    return next((each for each in result.models if each.name == name), None)


def _records(result: Result, model: str, attack: str) -> int:
    found = None if result.membership is None else result.membership.by_name(model).get(attack)
    return 0 if found is None else found.members + found.nonmembers + found.spent


def plan_of(result: Result) -> dict[str, Any]:
    """The plan that a result was made by; empty where it has none."""
    plan = result.provenance.plan
    return {} if plan is None else parse_toml(plan, f"the plan in {result.name!r}")


def _table(plan: Mapping[str, Any], name: str) -> dict[str, Any]:
    found = plan.get(name)
    return found if isinstance(found, dict) else {}
