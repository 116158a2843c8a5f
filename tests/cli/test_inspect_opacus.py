"""``dpaudit inspect`` on what Opacus built: nothing needs to be typed."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

pytest.importorskip("opacus", reason="needs dpaudit[torch]; make test-torch runs it")

from dpaudit.cli import app

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore")]
EXAMPLE = Path(__file__).parents[2] / "examples" / "opacus_train.py"


def test_clip_noise_rate_and_steps_are_read():
    """The claim follows from what stands in the optimizer, the accountant and the loader; level 1e-6, exit 0."""
    found = CliRunner().invoke(app, ["inspect", f"{EXAMPLE}:build", "--budget", "1s", "--json"])
    assert found.exit_code == 0
    document = json.loads(found.stdout)
    assert [each for each in document["findings"] if each["severity"] == "violation"] == []
    assert document["noise_multiplier"] == pytest.approx(1.1, rel=0.2)  # few draws in a second of a busy machine
    assert document["claimed_epsilon"] > 0


def test_the_divisor_of_the_library_is_found():
    """1000 records in batches of 50 are divided by 50; 999 by 49: opacus #571. Exit 1."""
    found = CliRunner().invoke(app, ["inspect", f"{EXAMPLE}:from_the_records", "--budget", "1s", "--quiet"])
    assert found.exit_code == 1
    shown = CliRunner().invoke(app, ["inspect", f"{EXAMPLE}:from_the_records", "--budget", "1s"])
    assert "divisor" in shown.stdout


def test_what_is_typed_goes_before_what_is_read():
    """A claim of more noise than the optimizer adds is contradicted by it."""
    found = CliRunner().invoke(
        app, ["inspect", f"{EXAMPLE}:build", "--budget", "1s", "--noise-multiplier", "1.5", "--json"]
    )
    assert found.exit_code == 1
    assert "noise" in [each["check"] for each in json.loads(found.stdout)["findings"]]


def test_an_optimizer_that_was_not_made_private_is_refused(tmp_path):
    """One line, exit 2."""
    (tmp_path / "plain.py").write_text(
        "import torch\ndef build():\n    return torch.optim.SGD(torch.nn.Linear(2, 1).parameters(), lr=0.1)\n"
    )
    found = CliRunner().invoke(app, ["inspect", f"{tmp_path}/plain.py:build"])
    assert isinstance(found.exception, ValueError)
    assert "was not made private" in str(found.exception)
