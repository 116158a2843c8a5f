"""Names of attacks, bounds, trainers and data sets -> the class behind each, imported when it is asked for.

A new attack, bound or trainer is one file and one line here; the contract tests take it up from that moment.
A third party registers one through the entry-point group ``dpaudit.<kind>``, for example ``dpaudit.membership``.
"""

from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import entry_points
from types import MappingProxyType
from typing import Any

from dpaudit import _check

MEMBERSHIP: Mapping[str, str] = MappingProxyType(
    {
        "attack-p": "dpaudit.attacks.membership.attack_p:AttackP",
        "loss": "dpaudit.attacks.membership.loss:Loss",
        "modified-entropy": "dpaudit.attacks.membership.modified_entropy:ModifiedEntropy",
    }
)
TRAINERS: Mapping[str, str] = MappingProxyType(
    {
        "sgd": "dpaudit.training.sgd:Sgd",
        "tf-privacy": "dpaudit.training.tf_privacy:TFPrivacy",
    }
)
DATASETS: Mapping[str, str] = MappingProxyType(
    {
        "breast-cancer": "dpaudit.data.bundled:breast_cancer",
        "digits": "dpaudit.data.bundled:digits",
        "mnist-5000": "dpaudit.data.bundled:mnist_5000",
    }
)
ARCHITECTURES: Mapping[str, str] = MappingProxyType(
    {
        "cnn": "dpaudit.training.architecture:Cnn",
        "keras-json": "dpaudit.training.architecture:KerasJson",
        "mlp": "dpaudit.training.architecture:Mlp",
    }
)
KINDS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {"membership": MEMBERSHIP, "trainers": TRAINERS, "architectures": ARCHITECTURES, "datasets": DATASETS}
)


def names(kind: str) -> dict[str, str]:
    """Every name of a kind, our own and those registered by installed packages -> ``module:attribute``.

    >>> "loss" in names("membership")
    True
    """
    own = KINDS[_check.one_of("kind", kind, sorted(KINDS))]
    others = {point.name: point.value for point in entry_points(group=f"dpaudit.{kind}")}
    return dict(sorted({**others, **own}.items()))


def resolve(kind: str, name: str) -> Any:
    """The class or function behind a name.

    >>> resolve("membership", "loss").__name__
    'Loss'
    """
    table = names(kind)
    module, _, attribute = table[_check.one_of("name", name, list(table))].partition(":")
    return getattr(import_module(module), attribute)
