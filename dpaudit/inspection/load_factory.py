"""From ``module:name`` or ``file.py:name`` to a mechanism: what the command line inspects."""

import importlib
import importlib.util
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from dpaudit.inspection.built_training import BuiltTraining
from dpaudit.inspection.jax_training import read_jax_training, takes_a_loss
from dpaudit.inspection.mechanism import Mechanism
from dpaudit.inspection.opacus_training import is_built_with_torch, read_training
from dpaudit.inspection.probe import RAISED
from dpaudit.inspection.server import Server
from dpaudit.runtime import keras_two as _keras_two
from dpaudit.runtime.check import nearest
from dpaudit.runtime.errors import InputError, MissingDependency, one_line


def load_factory(name: str) -> Any:
    """The function behind ``module:name`` or ``path/to/file.py:name``; modules are looked for in this folder too.

    >>> load_factory("math:sqrt")(4.0)
    2.0
    """
    where, separator, attribute = name.rpartition(":")
    if not separator or not where or not attribute:
        raise InputError(f"a factory is module:name or file.py:name, got {name!r}.")
    module = _file(Path(where)) if where.endswith(".py") else _module(where)
    if not hasattr(module, attribute):
        names = [each for each in dir(module) if not each.startswith("_")]
        raise InputError(f"{where} has no {attribute!r}.{nearest(attribute, names)}")
    factory = getattr(module, attribute)
    if not callable(factory):
        raise InputError(f"{name} must be a function without arguments, got {type(factory).__name__}.")
    return factory


def build_from_factory(name: str, *, seed: int, partial: bool = True) -> Mechanism | Server | BuiltTraining:
    """What a factory returns, as something that can be inspected.

    A factory takes nothing and returns a `Mechanism`, a `Server`, a `BuiltTraining`, a Keras optimizer, an optimizer
    of Opacus or all that its ``make_private`` returns, or the bare callable from per-example gradients to a private
    one. One with the parameter ``loss`` returns a clipped gradient of jax-privacy with its privatizer. ``partial``:
    whether it takes batches of other sizes than the ordinary one.
    """
    if importlib.util.find_spec("tensorflow") is not None:
        _keras_two.keep()  # before the factory's own imports
        if _names_tensorflow(name):
            importlib.import_module(
                "dpaudit.runtime.tensorflow"
            )  # which hushes its start; where none is needed it is slow
    factory = load_factory(name)
    if takes_a_loss(factory):
        return read_jax_training(factory, name=name, seed=seed)
    built = _built(factory, name)
    if isinstance(built, Server | BuiltTraining):
        return built
    if is_built_with_torch(built):
        return read_training(factory, built, name=name, seed=seed)
    if isinstance(built, Mechanism):
        return built if partial else replace(built, partial=False)
    if hasattr(built, "apply_gradients") and hasattr(built, "minimize"):
        from dpaudit.inspection.keras_optimizer import optimizer

        return optimizer(factory, partial=partial, seed=seed)
    if hasattr(built, "train_step"):
        raise InputError(
            f"{name} returns a Keras model, whose gradients its layers decide: let it return "
            "dpaudit.inspection.keras_optimizer.model(build, seed=1), build making such a model of given layers; "
            "dpaudit.inspection.coupling.inspect_model looks for layers that mix examples."
        )
    if callable(built):
        return Mechanism(
            built, name=name, partial=partial, fresh=lambda: Mechanism(factory(), name=name, partial=partial)
        )
    raise InputError(
        f"{name} must return a mechanism, a server, a Keras or Opacus optimizer or a function of per-example "
        f"gradients, got {type(built).__name__}."
    )


def _built(factory: Callable[[], Any], name: str) -> Any:
    """What it returns.

    Raises:
        InputError: it raises an error, such as Opacus does for a model that it cannot make private.
    """
    try:
        return factory()
    except (InputError, MissingDependency):
        raise
    except RAISED as error:
        reason = one_line(error)
        raise InputError(f"{name} raised {type(error).__name__}: {reason}") from error


def _names_tensorflow(name: str) -> bool:
    path = Path(name.rpartition(":")[0])
    return path.suffix != ".py" or (path.is_file() and re.search(rb"tensorflow|keras", path.read_bytes()) is not None)


def _file(path: Path) -> Any:
    if not path.is_file():
        raise InputError(f"there is no file {path}.")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise InputError(f"{path} is not a Python file.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def _module(name: str) -> Any:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise InputError(
            f"there is no module {error.name!r} (looked for {name!r} here and among what is installed)."
        ) from error
