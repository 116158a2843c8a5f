"""Ground truth cannot be reached from an attack."""

import ast
import gc
import inspect
import pkgutil
from pathlib import Path

import numpy as np
import pytest

import dpaudit.attacks.gradient as package
from dpaudit.attacks.gradient import servers
from dpaudit.attacks.gradient.view import (
    Arrays,
    BatchGradient,
    ClientUpdate,
    GradientView,
    NoisyReleases,
    SecureSum,
)
from dpaudit.runtime.check import FloatArray, IntArray
from tests.attacks.gradient import mlp

# The side that knows the truth: it makes views from records, plays games, and scores what attacks return.
TRUTH_SIDE = {"metrics", "baselines", "candidate_game", "observed_gradient"}
TRUTH_WORDS = {"truth", "true_records", "target", "original", "ground_truth", "hidden", "records_attacked"}


def modules() -> list[str]:
    names = [m.name for m in pkgutil.iter_modules(package.__path__) if not m.ispkg]
    names += [f"servers.{m.name}" for m in pkgutil.iter_modules(servers.__path__)]
    return [n for n in names if n not in TRUTH_SIDE]


@pytest.mark.parametrize("name", modules())
def test_no_attack_takes_or_imports_the_truth(name: str) -> None:
    """No function of an attack has a parameter for the truth, and no attack imports the side that knows it."""
    tree = ast.parse((Path(package.__path__[0]) / f"{name.replace('.', '/')}.py").read_text())
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not imported & {f"{package.__name__}.{side}" for side in TRUTH_SIDE}
    assert not {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)} & TRUTH_WORDS


def views(weights: Arrays, x: FloatArray, y: IntArray) -> list[GradientView]:
    gradient = mlp.gradient(weights, x, y)
    flat = np.concatenate([w.ravel() for w in weights])[None]
    return [
        BatchGradient(weights, gradient, len(x), y),
        ClientUpdate(weights, gradient, 0.1, 1, len(x), len(x), y),
        SecureSum(weights, gradient, 2, len(x)),
        NoisyReleases(flat, flat, 1.0, 1.0),
    ]


def test_a_view_holds_no_reference_to_the_records() -> None:
    """Following every reference from a view, no array is a record or shares memory with the records or the labels."""
    x, y = np.random.default_rng(0).random((3, 6)), np.array([0, 1, 2])
    for view in views(mlp.weights((6, 4, 3), seed=0), x, y):
        seen, stack = set(), list(vars(view).values())
        while stack:
            item = stack.pop()
            if id(item) in seen or inspect.ismodule(item) or inspect.isclass(item):
                continue
            seen.add(id(item))
            if isinstance(item, np.ndarray):
                assert not np.shares_memory(item, x)
                assert not np.shares_memory(item, y)
            elif isinstance(item, tuple | list | dict):
                stack.extend(gc.get_referents(item))


def test_a_view_does_not_change_when_the_caller_writes() -> None:
    """Views copy: what the caller does to its arrays afterwards reaches no attack."""
    x, y = np.random.default_rng(0).random((3, 6)), np.array([0, 1, 2])
    weights = mlp.weights((6, 4, 3), seed=0)
    view = BatchGradient(weights, mlp.gradient(weights, x, y), 3, y)
    y[:] = 0
    weights[0][:] = 7.0
    assert view.labels is not None
    assert view.labels.tolist() == [0, 1, 2]
    assert (view.weights[0] != 7.0).all()
