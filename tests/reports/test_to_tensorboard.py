"""What is written for TensorBoard, read back from the events file."""

from pathlib import Path

import pytest

from dpaudit.reports.to_mlflow import metric_names
from dpaudit.reports.to_tensorboard import log_to_tensorboard
from dpaudit.runtime.errors import InputError
from tests.reports.results import three

pytestmark = pytest.mark.tf


def test_scalars_and_text_are_in_the_events(tmp_path: Path) -> None:
    """Every finite number under its name, for the dashboard of scalars, and the report in words for that of texts."""
    from dpaudit.runtime.tensorflow import tf

    log_to_tensorboard(three(), tmp_path)
    (path,) = tmp_path.glob("events.out.tfevents.*")
    values, plugins = {}, {}
    for record in tf.compat.v1.io.tf_record_iterator(str(path)):
        for value in tf.compat.v1.Event.FromString(record).summary.value:
            plugins[value.tag] = value.metadata.plugin_data.plugin_name
            values[value.tag] = tf.make_ndarray(value.tensor).item()
    assert "#### What was not tested" in values.pop("report").decode()
    assert plugins.pop("report") == "text"
    assert set(plugins.values()) == {"scalars"}
    expected = dict(metric_names(three()))
    assert values.keys() == expected.keys()
    assert all(values[name] == pytest.approx(value, rel=1e-6) for name, value in expected.items())


def test_a_folder_that_cannot_be_written_is_said_in_one_line(tmp_path: Path) -> None:
    """A file stands where the folder should."""
    (tmp_path / "taken").write_text("")
    with pytest.raises(InputError, match="cannot write events of TensorBoard to"):
        log_to_tensorboard(three(), tmp_path / "taken")
