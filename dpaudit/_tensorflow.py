"""The only place that imports TensorFlow.

It silences the start-up noise, keeps Keras 2 (TensorFlow Privacy 0.9 is written for it) on TensorFlow 2.16 and
later, and uses TensorFlow Privacy's own switch to skip its parts that need the Estimator API, which is gone there.
"""

import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module, metadata
from typing import Any

from dpaudit.errors import MissingDependency

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
        "this step trains a model and needs TensorFlow, which is not installed; "
        "on Python 3.10 or 3.11: pip install 'tensorflow>=2.15,<2.22' 'tf-keras>=2.15,<2.22' tensorflow-privacy==0.9.0"
    )


@contextmanager
def _standard_error_held() -> Iterator[None]:
    """Hold back what native code writes to standard error; let it through when the block fails.

    TensorFlow's C++ side writes a few lines before any log level is read.
    """
    sys.stderr.flush()
    saved = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except Exception:
            held.seek(0)
            os.write(saved, held.read())
            raise
        finally:
            os.dup2(saved, 2)
            os.close(saved)


def _import() -> Any:
    major, minor = (int(part) for part in tensorflow_version().split(".")[:2])
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if (major, minor) >= (2, 16):
        os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
        # On 2.15 the same switch would strip names that user code imports from tensorflow_privacy.
        sys.skip_tf_privacy_import = True  # type: ignore[attr-defined]  # TensorFlow Privacy's own hook
    with _standard_error_held(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations inside TensorFlow and what it pulls in
        try:
            import tensorflow
        except ImportError as error:
            raise MissingDependency(f"TensorFlow is installed but does not import: {error}") from error
        tensorflow.get_logger().setLevel("ERROR")
        _ = tensorflow.keras.layers  # Keras and the list of devices load lazily; let their noise fall in here
        tensorflow.config.list_physical_devices()
    return tensorflow


tf: Any = _import()
keras: Any = tf.keras


def tensorflow_privacy_module(path: str) -> Any:
    """A submodule of TensorFlow Privacy, for example ``privacy.optimizers.dp_optimizer_keras``.

    Raises:
        MissingDependency: TensorFlow Privacy is not installed.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations inside TensorFlow Probability, which it imports
        try:
            return import_module(f"tensorflow_privacy.{path}")
        except ImportError as error:
            raise MissingDependency(
                f"this step needs TensorFlow Privacy: pip install tensorflow-privacy==0.9.0 ({error})"
            ) from error
