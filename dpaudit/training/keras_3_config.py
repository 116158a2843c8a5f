"""The architecture of a Keras 3 model in the words of Keras 2, for the trainers that are written for Keras 2."""

from inspect import signature
from typing import Any

from dpaudit.training.keras_config import objects


def as_keras_2(config: dict[str, Any]) -> dict[str, Any]:
    """The config of a Keras 3 model in the words of Keras 2.

    Raises:
        ValueError: Keras 2 has no such layer, or the model holds another model.
    """
    layers = [_layer_as_keras_2(layer) for layer in config["config"]["layers"]]
    inner = {"name": config["config"]["name"], "layers": layers}
    for ends in ("input_layers", "output_layers"):
        if ends in config["config"]:
            value = config["config"][ends]
            inner[ends] = [value] if value and isinstance(value[0], str) else value
    return {"class_name": config["class_name"], "config": inner}


def _layer_as_keras_2(layer: dict[str, Any]) -> dict[str, Any]:
    from dpaudit.runtime.tensorflow import keras

    kind = layer["class_name"]
    cls = getattr(keras.layers, kind, None)
    if cls is None:
        raise ValueError(f"layer {kind}.")
    settings = dict(layer["config"])
    if "batch_shape" in settings:
        settings["batch_input_shape"] = settings.pop("batch_shape")
    if isinstance(settings.get("dtype"), dict):
        settings["dtype"] = settings["dtype"]["config"]["name"]
    for value in settings.values():
        if isinstance(value, dict) and value.get("module") == "keras.initializers":
            value["config"] = {k: v for k, v in value["config"].items() if k not in ("input_axes", "output_axes")}
    known = {"name", "trainable", "dtype", "batch_input_shape", *signature(cls.__init__).parameters}
    # A setting that came with Keras 3 is left away where it is switched off; switched on it has no counterpart.
    settings = {name: value for name, value in settings.items() if name in known or value not in (None, False)}
    translated = {"class_name": kind, "config": settings}
    if "inbound_nodes" in layer:
        translated["name"] = layer["name"]
        translated["inbound_nodes"] = [_node_as_keras_2(node) for node in layer["inbound_nodes"]]
    return translated


def _node_as_keras_2(node: dict[str, Any]) -> list[Any]:
    tensors = [one for one in objects(node["args"]) if one.get("class_name") == "__keras_tensor__"]
    return [[*tensor["config"]["keras_history"], {}] for tensor in tensors]
