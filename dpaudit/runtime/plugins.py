"""Names of attacks, bounds, trainers and data sets -> the class behind each, imported when it is asked for.

A new attack, bound or trainer is one file and one line here; the contract tests take it up from that moment.
A third party registers one through the entry-point group ``dpaudit.<kind>``, for example ``dpaudit.membership``.
"""

import dataclasses
import inspect
import re
import types
import typing
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic_core import to_json

from dpaudit.runtime import check
from dpaudit.runtime.errors import InputError
from dpaudit.runtime.machine import package_folders

KINDS: Mapping[str, Mapping[str, str]] = {
    "architectures": {
        "cnn": "dpaudit.training.architecture:Cnn",
        "decoder": "dpaudit.training.decoder:Decoder",
        "keras-json": "dpaudit.training.architecture:KerasJson",
        "mlp": "dpaudit.training.architecture:Mlp",
    },
    "bounds": {
        "accuracy": "dpaudit.bounds.accuracy:Accuracy",
        "clopper-pearson": "dpaudit.bounds.clopper_pearson:ClopperPearson",
        "conditional": "dpaudit.bounds.conditional:Conditional",
        "one-run": "dpaudit.bounds.one_run:OneRun",
        "one-run-trade-off": "dpaudit.bounds.one_run_trade_off:OneRunTradeOff",
        "one-shot": "dpaudit.bounds.one_shot:OneShotBound",
        "sequential": "dpaudit.bounds.sequential:Sequential",
        "whole-curve": "dpaudit.bounds.whole_curve:WholeCurve",
    },
    "datasets": {
        "adult": "dpaudit.data.optional:adult",
        "breast-cancer": "dpaudit.data.bundled:breast_cancer",
        "digits": "dpaudit.data.bundled:digits",
        "digits-high": "dpaudit.data.optional:digits_high",
        "digits-low": "dpaudit.data.optional:digits_low",
        "line": "dpaudit.data.synthetic:line",
        "mnist-5000": "dpaudit.data.bundled:mnist_5000",
        "movielens": "dpaudit.data.optional:movielens",
    },
    "estimates": {
        "joint-beta": "dpaudit.bounds.joint_beta:JointBeta",
        "one-shot": "dpaudit.bounds.one_shot:OneShot",
        "ratio": "dpaudit.bounds.ratios:Ratio",
    },
    "gradient": {
        "bag-of-words": "dpaudit.attacks.gradient.bag_of_words:BagOfWords",
        "dager": "dpaudit.attacks.gradient.dager:Dager",
        "dense": "dpaudit.attacks.gradient.linear_layer:DenseInversion",
        "imprint": "dpaudit.attacks.gradient.imprint:ImprintInversion",
        "inverting": "dpaudit.attacks.gradient.inverting_gradients:InvertingGradients",
        "matching": "dpaudit.attacks.gradient.gradient_matching:GradientMatching",
        "spear": "dpaudit.attacks.gradient.spear:Spear",
        "tableak": "dpaudit.attacks.gradient.tableak:Tabular",
    },
    "membership": {
        "attack-p": "dpaudit.attacks.membership.attack_p:AttackP",
        "attack-r": "dpaudit.attacks.membership.attack_r:AttackR",
        "auto": "dpaudit.attacks.membership.auto:Auto",
        "base": "dpaudit.attacks.membership.base:Base",
        "base-offline": "dpaudit.attacks.membership.base:BaseOffline",
        "bavaria": "dpaudit.attacks.membership.bavaria:Bavaria",
        "calibrated": "dpaudit.attacks.membership.calibrated:Calibrated",
        "classifier": "dpaudit.attacks.membership.classifier:Classifier",
        "classifier-on-target": "dpaudit.attacks.membership.classifier:ClassifierOnTarget",
        "confidence": "dpaudit.attacks.membership.confidence:Confidence",
        "entropy": "dpaudit.attacks.membership.entropy:Entropy",
        "gap": "dpaudit.attacks.membership.gap:Gap",
        "hinge": "dpaudit.attacks.membership.hinge:Hinge",
        "informia": "dpaudit.attacks.membership.informia:InfoRmia",
        "label-only": "dpaudit.attacks.membership.label_only:LabelOnly",
        "lira": "dpaudit.attacks.membership.lira:Lira",
        "lira-offline": "dpaudit.attacks.membership.lira_offline:LiraOffline",
        "lira-offline-density": "dpaudit.attacks.membership.lira_offline:LiraOfflineDensity",
        "loss": "dpaudit.attacks.membership.loss:Loss",
        "modified-entropy": "dpaudit.attacks.membership.modified_entropy:ModifiedEntropy",
        "multi-signal-lira": "dpaudit.attacks.membership.multi_signal:MultiSignalLira",
        "offset": "dpaudit.attacks.membership.calibrated:Offset",
        "quantile": "dpaudit.attacks.membership.quantile:Quantile",
        "ranges": "dpaudit.attacks.membership.ranges:Ranges",
        "risk-score": "dpaudit.attacks.membership.risk_score:RiskScore",
        "rmia": "dpaudit.attacks.membership.rmia:Rmia",
        "rmia-offline": "dpaudit.attacks.membership.rmia:RmiaOffline",
        "robustness": "dpaudit.attacks.membership.gap:Robustness",
        "trajectory": "dpaudit.attacks.membership.trajectory:Trajectory",
    },
    "servers": {
        "batch-norm": "dpaudit.attacks.gradient.servers.batch_norm:BatchNorm",
        "feature-fishing": "dpaudit.attacks.gradient.servers.feature_fishing:FeatureFishing",
        "fishing": "dpaudit.attacks.gradient.servers.fishing:Fishing",
        "honest": "dpaudit.attacks.gradient.servers.honest:Honest",
        "imprint": "dpaudit.attacks.gradient.servers.imprint:Imprint",
        "trap-weights": "dpaudit.attacks.gradient.servers.trap_weights:TrapWeights",
    },
    "texts": {
        "shakespeare": "dpaudit.data.bundled_texts:shakespeare",
    },
    "trainers": {
        "dp-sgd": "dpaudit.training.dp_sgd:DpSgd",
        "function": "dpaudit.training.function:Function",
        "federated": "dpaudit.training.federated.trainer:Federated",
        "opacus": "dpaudit.training.opacus_sgd:Opacus",
        "sgd": "dpaudit.training.sgd:Sgd",
        "tf-privacy": "dpaudit.training.tf_privacy:TFPrivacy",
        "torch": "dpaudit.training.torch_sgd:Torch",
    },
}


def names(kind: str) -> dict[str, str]:
    """Every name of a kind, our own and those registered by installed packages -> ``module:attribute``.

    >>> "loss" in names("membership")
    True
    """
    own = KINDS[check.one_of("kind", kind, sorted(KINDS))]
    others = {point.name: point.value for point in registered() if point.group == f"dpaudit.{kind}"}
    return dict(sorted({**others, **own}.items()))


def registered() -> tuple[EntryPoint, ...]:
    """What installed packages register here."""
    return _registered(package_folders())


@lru_cache(maxsize=1)
def _registered(folders: tuple[tuple[str, int], ...]) -> tuple[EntryPoint, ...]:
    found = entry_points()
    ours = [group for group in found.groups if group.startswith("dpaudit.")]
    return tuple(point for group in ours for point in found.select(group=group))


def resolve(kind: str, name: str) -> Any:
    """The class or function behind a name.

    >>> resolve("membership", "loss").__name__
    'Loss'
    """
    table = names(kind)
    module, _, attribute = table[check.one_of("name", name, list(table))].partition(":")
    return getattr(import_module(module), attribute)


def first_line(kind: str, name: str) -> str:
    """What a name stands for: the first line of its docstring, without the marks and links for a page.

    >>> first_line("architectures", "mlp")
    'Dense layers of the given widths; none of them is logistic regression.'
    >>> first_line("membership", "gap")
    'Members are the records classified correctly, Yeom et al. (2018).'
    """
    line = (inspect.getdoc(resolve(kind, name)) or "").partition("\n")[0]
    return re.sub(r"`([^`<]+) <[^>]*>`_", r"\1", line).replace("``", "")


def parameters(kind: str, name: str, *, where: str) -> list[str]:
    """Names of the parameters of what a name stands for.

    >>> parameters("architectures", "mlp", where="architecture")
    ['hidden', 'activation']
    """
    try:
        known = resolve(kind, name)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error
    return [field.name for field in dataclasses.fields(known) if field.init]


def build(kind: str, name: str, parameters: Mapping[str, Any], *, where: str, **parts: Any) -> Any:
    """A frozen dataclass by name, its parameters checked against its fields.

    Args:
        kind: kind of thing.
        name: its name.
        parameters: field -> value, as read from TOML.
        where: place in the plan, for the message.
        parts: fields that were built already.

    Raises:
        InputError: unknown name or parameter (with the nearest known one), wrong type, missing parameter, or a value
            the class itself refuses.

    >>> build("architectures", "mlp", {"hidden": [8, 4]}, where="architecture")
    Mlp(hidden=(8, 4), activation='relu')
    """
    return made(resolve(kind, name), parameters, where=where, **parts)


def made(known: Any, parameters: Mapping[str, Any], *, where: str, **parts: Any) -> Any:
    """A frozen dataclass that is at hand, its parameters checked as `build` does."""
    fields = {field.name: field for field in dataclasses.fields(known) if field.init and field.name not in parts}
    hints = typing.get_type_hints(known, include_extras=True)
    values = dict(parts)
    for key, value in parameters.items():
        if key not in fields:
            options = ", ".join(map(repr, fields)) or "none"
            raise InputError(f"{where}: {key!r} is not known; known are {options}.{check.nearest(key, fields)}")
        union = typing.get_origin(hints[key]) in (typing.Union, types.UnionType)
        kinds = [kind for kind in typing.get_args(hints[key]) if union and dataclasses.is_dataclass(kind)]
        if kinds and isinstance(value, Mapping):
            values[key] = made(_kind(kinds, value, f"{where}: {key}"), value, where=f"{where}: {key}")
            continue
        try:
            # Through JSON, so that a TOML list is a tuple where one is wanted while "1" is still no number.
            values[key] = TypeAdapter(hints[key]).validate_json(to_json(value), strict=True)
        except ValidationError as error:
            raise InputError(f"{where}: {key}: {error.errors()[0]['msg']}, got {value!r}.") from error
    missing = [key for key in fields if key not in values and _is_needed(fields[key])]
    if missing:
        raise InputError(f"{where}: {missing[0]!r} is missing.")
    try:
        return known(**values)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


def _is_needed(field: "dataclasses.Field[Any]") -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _kind(kinds: Sequence[Any], table: Mapping[str, Any], where: str) -> Any:
    """The first of several dataclasses that has all keys of a table and needs no other."""
    for kind in kinds:
        fields = {field.name: field for field in dataclasses.fields(kind) if field.init}
        needed = {name for name, field in fields.items() if _is_needed(field)}
        if needed <= set(table) <= set(fields):
            return kind
    known = " or ".join("{" + ", ".join(field.name for field in dataclasses.fields(kind)) + "}" for kind in kinds)
    raise InputError(f"{where} takes {known}, got {{{', '.join(table)}}}.")
