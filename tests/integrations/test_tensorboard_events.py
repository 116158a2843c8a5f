"""What is written for TensorBoard, read back from the events file."""

from pathlib import Path

import pytest

from dpaudit.integrations.tensorboard_events import write_events
from dpaudit.runtime.errors import InputError

NUMBERS = {"model/loss/auc": 0.75, "model/claim/epsilon claimed": 32.8}

pytestmark = pytest.mark.tf


def test_scalars_and_text_are_in_the_events(tmp_path: Path) -> None:
    """Every number under its name, for the dashboard of scalars, and the text for that of texts."""
    from dpaudit.runtime.tensorflow import tf

    write_events(NUMBERS.items(), "# It leaks", tmp_path)
    (path,) = tmp_path.glob("events.out.tfevents.*")
    values, plugins = {}, {}
    for record in tf.compat.v1.io.tf_record_iterator(str(path)):
        for value in tf.compat.v1.Event.FromString(record).summary.value:
            plugins[value.tag] = value.metadata.plugin_data.plugin_name
            values[value.tag] = tf.make_ndarray(value.tensor).item()
    assert values.pop("report") == b"# It leaks"
    assert plugins.pop("report") == "text"
    assert set(plugins.values()) == {"scalars"}
    assert values == pytest.approx(NUMBERS, rel=1e-6)


def test_a_folder_that_cannot_be_written_is_said_in_one_line(tmp_path: Path) -> None:
    """A file stands where the folder should."""
    (tmp_path / "taken").write_text("")
    with pytest.raises(InputError, match="cannot write events of TensorBoard to"):
        write_events(NUMBERS.items(), "", tmp_path / "taken")
