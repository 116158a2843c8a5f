"""The trainer of reference models for a model file: what the file says is taken over, or the recipe must state it."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from dpaudit.runtime import plugins as registry
from dpaudit.runtime.errors import InputError
from dpaudit.training.as_compiled import AsCompiled, kept_state
from dpaudit.training.last_activation import ending
from dpaudit.training.load_model import LoadedModel
from dpaudit.training.trainer import Trainer

_DP = ("dp", "vectorizeddp")  # how TensorFlow Privacy begins the names of its optimizers


def trainer_from(recipe: Mapping[str, Any], loaded: LoadedModel, task: str) -> Trainer:
    """What trains reference models like the model of a file.

    The trainer ``sgd`` is the file's own optimizer, schedule and loss, by Keras; on the stacked engine where these are
    SGD or Adam with their usual settings and the usual loss, and every weight is made by the training. A trainer with
    differential privacy takes optimizer and learning rate over where it has them.

    Args:
        recipe: ``trainer`` and what the file does not say; what it states goes before what the file says.
        loaded: the file, after `LoadedModel.settled`.
        task: what is predicted.

    Raises:
        InputError: something in the file cannot be taken over and the recipe does not state it.
    """
    given = dict(recipe)
    name = given.pop("trainer", "sgd")
    if name == "sgd":
        if loaded.compiled.optimizer.startswith(_DP) and "optimizer" not in given:
            raise InputError(
                f"recipe: {loaded.path} was trained with {loaded.compiled.optimizer} of TensorFlow Privacy; "
                "'trainer' must be 'dp-sgd' or 'tf-privacy', with its noise and clipping."
            )
        if "epochs" not in given and "until_accuracy" not in given:
            raise InputError(f"recipe: {loaded.path} does not say how long it was trained; 'epochs' must state it.")
        if _on_engine(given, loaded, task):
            return _filled(name, given, loaded)
        if "until_accuracy" in given:
            raise InputError(
                f"recipe: 'until_accuracy' needs SGD or Adam and the usual loss, which {loaded.path} was not trained "
                "with; 'epochs' must state the length instead."
            )
        unknown = [key for key in ("optimizer", "learning_rate", "loss") if key not in given]
        if not loaded.compiled.optimizer and unknown:
            raise InputError(
                f"recipe: {loaded.path} was saved without optimizer and loss; {', '.join(map(repr, unknown))} must "
                "state them."
            )
        found: AsCompiled = registry.made(AsCompiled, given, where="recipe", loaded=loaded)
        return found
    kept = kept_state(loaded)
    if kept:
        raise InputError(
            f"recipe: layer {kept[0]!r} of {loaded.path} holds state that training does not make (frozen or adapted "
            f"before), and the trainer {name!r} would draw it anew; 'trainer' must be 'sgd', or apply the layer to the "
            "data and save the model without it."
        )
    return _filled(name, given, loaded)


def _on_engine(given: dict[str, Any], loaded: LoadedModel, task: str) -> bool:
    """Whether the usual SGD or Adam, the usual loss and fresh weights are all there is to the training."""
    ended = ending(loaded.original)
    as_usual = loaded.compiled.plain and given.get("optimizer", loaded.compiled.optimizer) in ("sgd", "adam")
    usual_end = loaded.stripped or (ended is not None and ended[1] == "linear")
    if {"loss", "class_weight"} & set(given) or not as_usual or not usual_end or len(loaded.inputs.names) > 1:
        return False
    if task != "regression" and "crossentropy" not in loaded.compiled.loss.replace("_", ""):
        return False
    if kept_state(loaded):
        return False
    try:
        _ = loaded.architecture
    except InputError:  # Keras 2 has no such layer
        return False
    return True


def _filled(name: str, given: dict[str, Any], loaded: LoadedModel) -> Trainer:
    """A registered trainer, with what the file says where the recipe says nothing."""
    known = {field.name for field in fields(registry.resolve("trainers", name))}
    compiled = loaded.compiled
    optimizer = compiled.optimizer
    if optimizer.startswith(_DP):
        optimizer = next((one for one in ("sgd", "adam") if one in optimizer), optimizer)
    if "optimizer" in known and "optimizer" not in given:
        if optimizer not in ("sgd", "adam"):
            said = f"was trained with {compiled.optimizer}" if optimizer else "does not say its optimizer"
            raise InputError(
                f"recipe: {loaded.path} {said}, which the trainer {name!r} cannot take over; 'optimizer' must state "
                "which stands for it."
            )
        given["optimizer"] = optimizer
    if "learning_rate" in known and "learning_rate" not in given:
        if compiled.learning_rate is None:
            said = f"follows a {compiled.schedule} schedule" if compiled.schedule else "is not in the file"
            raise InputError(f"recipe: the learning rate of {loaded.path} {said}; 'learning_rate' must state it.")
        given["learning_rate"] = compiled.learning_rate
    if "momentum" in known and given.get("optimizer") == "sgd" and optimizer == "sgd":
        given.setdefault("momentum", compiled.momentum)
    trainer: Trainer = registry.build("trainers", name, given, where="recipe", architecture=loaded.architecture)
    return trainer
