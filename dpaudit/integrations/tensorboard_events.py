"""Numbers and a text as events of TensorBoard, written through TensorFlow."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from dpaudit.runtime.errors import InputError


def write_events(numbers: Iterable[tuple[str, float]], report: str, folder: Path) -> None:
    """Write an events file with a scalar for each number, and a text called ``report``.

    The step of all of them is 0. Results of several releases are several runs: a folder for each.

    Args:
        numbers: name and value of each.
        report: Markdown.
        folder: of the run, below what ``tensorboard --logdir`` is given.

    Raises:
        MissingDependency: TensorFlow is not installed.
        InputError: the folder cannot be written.
    """
    from dpaudit.runtime.tensorflow import tf

    try:
        writer = tf.summary.create_file_writer(str(folder))
        with writer.as_default(step=0):
            for name, value in numbers:
                _write(tf, name, tf.constant(value, tf.float32), "scalars")
            _write(tf, "report", tf.constant(report), "text")
        writer.close()
    except (tf.errors.OpError, OSError) as error:
        raise InputError(f"cannot write events of TensorBoard to {folder}: {' '.join(str(error).split())}") from error


def _write(tf: Any, name: str, value: Any, plugin: str) -> None:
    """What `tf.summary.scalar` and `tf.summary.text` write; those two need the package tensorboard."""
    proto = tf.compat.v1.SummaryMetadata
    metadata = proto(plugin_data=proto.PluginData(plugin_name=plugin))
    metadata.data_class = 1 if plugin == "scalars" else 2  # DATA_CLASS_SCALAR, DATA_CLASS_TENSOR
    tf.summary.write(name, value, metadata=metadata)
