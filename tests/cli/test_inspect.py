"""``dpaudit inspect``: exit codes and what it prints."""

import json

import pytest
from typer.testing import CliRunner

from dpaudit.cli import app
from dpaudit.errors import InputError

RIGHT = """
import numpy as np
from dpaudit.zoo.dp_sgd import DpSgd, no_clip

def right():
    return DpSgd(clip_norm=2.0, seed=np.random.SeedSequence().entropy % 2**32).mechanism()

def broken():
    return DpSgd(clip_norm=2.0, clip=no_clip).mechanism()

def number():
    return 3

value = 3
"""


@pytest.fixture
def factory(tmp_path):
    path = tmp_path / "factory.py"
    path.write_text(RIGHT)
    return path


def inspect(factory, name, *more):
    arguments = ["inspect", f"{factory}:{name}", "--clip", "2", "--noise-multiplier", "1", "--denominator", "32"]
    return CliRunner().invoke(app, [*arguments, *more])


@pytest.mark.tf
def test_a_right_mechanism_exits_0(factory):
    """Level 1e-6."""
    assert inspect(factory, "right").exit_code == 0


@pytest.mark.tf
def test_a_broken_one_exits_1_and_says_why(factory):
    """The finding names the check, the true ε and the remedy."""
    found = inspect(factory, "broken", "--json")
    assert found.exit_code == 1
    document = json.loads(found.stdout)
    assert document["findings"][0]["check"] == "sensitivity"
    assert document["promised_epsilon"] == pytest.approx(4.377, abs=1e-3)


@pytest.mark.tf
@pytest.mark.parametrize(
    ("name", "message"),
    [("rigth", "Did you mean 'right'"), ("number", "got int"), ("value", "must be a function without arguments")],
)
def test_what_is_no_factory_is_refused(factory, name, message):
    """One line that says what is wrong; the exit code 2 is the entry point's."""
    found = inspect(factory, name)
    assert isinstance(found.exception, InputError)
    assert message in str(found.exception)
