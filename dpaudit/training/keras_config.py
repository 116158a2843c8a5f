"""The config of a Keras model from somebody else: read as data, and refused where it would run code."""

from collections.abc import Collection, Iterator
from typing import Any

from dpaudit.runtime.errors import InputError

# Layers that look up a Python function, a TensorFlow operation or a program by a name in the file.
CALLS_CODE = (
    "ClassMethod",
    "FlaxLayer",
    "InstanceMethod",
    "InstanceProperty",
    "JaxLayer",
    "Lambda",
    "SlicingOpLambda",
    "TFOpLambda",
    "TFSMLayer",
    "TorchModuleWrapper",
)
PARTS = (
    "activations",
    "constraints",
    "dtype_policies",
    "initializers",
    "layers",
    "losses",
    "metrics",
    "mixed_precision",
    "ops",
    "optimizers",
    "quantizers",
    "regularizers",
)
OWN_CLASSES = (
    ("builtins", "slice"),  # what h[:, 0] leaves in a Keras 3 file
    *(
        (keras, kind)
        for keras in ("keras", "tf_keras")
        for kind in ("DTypePolicy", "Functional", "Model", "Sequential")
    ),
)
OWN_MODULES = (
    *(f"{keras}.{part}" for keras in ("keras", "tf_keras") for part in PARTS),
    *(f"{keras}.src.{part}" for keras in ("keras", "tf_keras") for part in (*PARTS, "models", "engine")),
)


def refuse_code(config: dict[str, Any], path: object, *, allow: str | None, registered: Collection[str] = ()) -> None:
    """Nothing in a config may name code outside of Keras's own layers, initializers and the like.

    Args:
        config: as Keras writes it, not yet built.
        path: where it was read, for the message.
        allow: how a reader who trusts it can say so; None where there is no way.
        registered: names of classes that the reader's own modules registered with Keras.

    Raises:
        InputError: it does.
    """
    for one in objects({name: part for name, part in config.items() if name != "compile_config"}):  # never built
        kind, module = one["class_name"], one.get("module")
        if kind in CALLS_CODE:
            what = f"a {kind} layer, which would run code named in the file"
        elif (
            module is not None
            and one.get("registered_name") not in registered
            and (module, kind) not in OWN_CLASSES
            and not any(module == own or str(module).startswith(f"{own}.") for own in OWN_MODULES)
        ):
            what = f"{kind!r} from {module!r}, which is not part of Keras"
        else:
            continue
        trust = "" if allow is None else f" If you trust the file, allow it with {allow}."
        raise InputError(f"{path} has {what}; it is not loaded.{trust}")


def objects(value: Any) -> Iterator[dict[str, Any]]:
    """Every table with a class name, at any depth."""
    if isinstance(value, dict):
        if "class_name" in value:
            yield value
        for inner in value.values():
            yield from objects(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from objects(inner)
