"""Somebody's trained model, whatever file it is: Keras, a SavedModel, ONNX; others are refused with the way out."""

from collections.abc import Sequence
from pathlib import Path

from dpaudit.runtime.errors import InputError
from dpaudit.training.load_model import SUFFIXES, LoadedModel, load_model
from dpaudit.training.onnx_model import SUFFIX, OnnxModel, load_onnx
from dpaudit.training.saved_model import SavedModel, load_saved_model

GivenModel = LoadedModel | SavedModel | OnnxModel

_TORCH = "torch.onnx.export(model.eval(), example, 'model.onnx')"
_SKLEARN = "skl2onnx.to_onnx(model, X[:1])"
# What is said of files that hold code or weights alone, and the exporter that turns their model into ONNX.
EXPORT = {
    ".pt": ("PyTorch file, which can run code when it is read", _TORCH),
    ".pth": ("PyTorch file, which can run code when it is read", _TORCH),
    ".ckpt": ("checkpoint, which can run code when it is read", _TORCH),
    ".pt2": ("PyTorch program", _TORCH),
    ".safetensors": ("file of weights without the model they belong to", _TORCH),
    ".bin": ("file of weights without the model they belong to", _TORCH),
    ".pkl": ("pickle, which runs code when it is read", _SKLEARN),
    ".pickle": ("pickle, which runs code when it is read", _SKLEARN),
    ".joblib": ("pickle, which runs code when it is read", _SKLEARN),
    ".skops": ("scikit-learn model", _SKLEARN),
    ".tflite": ("TensorFlow Lite model", "tf2onnx (python -m tf2onnx.convert --tflite)"),
    ".pb": ("TensorFlow graph", "tf2onnx (python -m tf2onnx.convert), or give the folder of a SavedModel"),
    ".json": ("list of trees or settings", "onnxmltools.convert_xgboost or convert_lightgbm"),
    ".ubj": ("list of trees", "onnxmltools.convert_xgboost"),
    ".txt": ("list of trees or settings", "onnxmltools.convert_lightgbm"),
    ".cbm": ("CatBoost model", "model.save_model('model.onnx', format='onnx')"),
}


def load_given(path: Path, *, trust_code: bool = False, imports: Sequence[str] = ()) -> GivenModel:
    """Read a model.

    Args:
        path: of a Keras or ONNX file, or the folder of a SavedModel.
        trust_code: as for `load_model` and `load_saved_model`.
        imports: as for `load_model`.

    Raises:
        InputError: no such file, another kind of file, a model that cannot be used.
        MissingDependency: what runs it is not installed.

    >>> load_given(Path("net.pt"))
    Traceback (most recent call last):
    ...
    dpaudit.runtime.errors.InputError: net.pt is a PyTorch file, which can run code when it is read: it is not loaded. \
Export the model with torch.onnx.export(model.eval(), example, 'model.onnx') and give --model model.onnx, or give its \
outputs (--predictions, attack_predictions).
    """
    if path.is_dir():
        return load_saved_model(path, trust_code=trust_code)
    suffix = path.suffix.lower()
    if suffix == SUFFIX:
        return load_onnx(path)
    if suffix in EXPORT:
        what, how = EXPORT[suffix]
        raise InputError(
            f"{path} is a {what}: it is not loaded. Export the model with {how} and give --model model.onnx, or give "
            "its outputs (--predictions, attack_predictions)."
        )
    if path.suffix not in SUFFIXES:
        raise InputError(
            f"{path} must be a Keras model and end in {', '.join(SUFFIXES)}, an ONNX model ({SUFFIX}), or a SavedModel "
            "folder."
        )
    return load_model(path, trust_code=trust_code, imports=imports)
