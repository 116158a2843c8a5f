"""The only place that imports TensorFlow.

It silences the start-up noise, lets the memory of a GPU grow with need, and comes with Keras 2
(`dpaudit.runtime.keras_two`).
"""

import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from dpaudit.runtime import keras_two as _keras_two
from dpaudit.runtime.errors import MissingDependency


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
    _keras_two.keep()
    with _standard_error_held(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations inside TensorFlow and what it pulls in
        try:
            import tensorflow
        except ImportError as error:
            raise MissingDependency(f"TensorFlow is installed but does not import: {error}") from error
        tensorflow.get_logger().setLevel("ERROR")
        _ = tensorflow.keras.layers  # Keras and the list of devices load lazily; let their noise fall in here
        for gpu in tensorflow.config.list_physical_devices("GPU"):
            # TensorFlow would take the whole memory of a GPU that others may use too.
            tensorflow.config.experimental.set_memory_growth(gpu, True)
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
            if sys.version_info >= (3, 12):
                raise MissingDependency(
                    "this step needs TensorFlow Privacy 0.9, which ends at Python 3.11; the trainer 'dp-sgd' trains "
                    "with DP-SGD without it"
                ) from error
            raise MissingDependency(
                f"this step needs TensorFlow Privacy: pip install tensorflow-privacy==0.9.0 ({error})"
            ) from error
