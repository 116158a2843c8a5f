"""Which Keras TensorFlow will bring, settled before it is imported; nothing is imported for it.

TensorFlow Privacy 0.9 is written for Keras 2, which TensorFlow 2.16 and later still have, and its parts that need the
Estimator API, which is gone there, are skipped by its own switch.
"""

import os
import sys
from importlib import metadata

from dpaudit.runtime.errors import MissingDependency

_DISTRIBUTIONS = ("tensorflow", "tensorflow-cpu", "tensorflow-intel", "tensorflow-macos")


def tensorflow_version() -> str:
    """The installed version, read without importing it.

    Raises:
        MissingDependency: none is installed.
    """
    for distribution in _DISTRIBUTIONS:
        try:
            return metadata.version(distribution)
        except metadata.PackageNotFoundError:
            continue
    raise MissingDependency(
        "this step trains or runs a Keras model and needs TensorFlow, which is not installed: pip install "
        "'dpaudit[tensorflow]' (a function of your own, scikit-learn's models and ONNX files need none)"
    )


def keep() -> None:
    """Have the coming import of TensorFlow bring Keras 2, and say little.

    Raises:
        MissingDependency: TensorFlow is not installed.
    """
    major, minor = (int(part) for part in tensorflow_version().split(".")[:2])
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if (major, minor) >= (2, 16):
        os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
        # On 2.15 the same switch would strip names that user code imports from tensorflow_privacy.
        sys.skip_tf_privacy_import = True  # type: ignore[attr-defined]  # TensorFlow Privacy's own hook
