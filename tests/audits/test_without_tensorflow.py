"""Where TensorFlow is an extra, as on Python 3.12 and 3.13: without it, and with it but no TensorFlow Privacy."""

import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest

from dpaudit.runtime import keras_two
from dpaudit.runtime.errors import MissingDependency

TRAINING = """
from sklearn.linear_model import LogisticRegression

def train(dataset, included, *, seed):
    model = LogisticRegression(max_iter=2000).fit(dataset.features[included], dataset.classes[included])
    return lambda asked: __import__("numpy").stack([0 * (z := model.decision_function(asked)), z], axis=1)
"""
PLAN = """
name = "p"
seed = 1
[data]
source = "breast-cancer"
{models}
[membership]
attacks = ["loss"]
"""
FUNCTION = '[[model]]\nname = "lr"\ntrainer = "function"\ntrain = "my_training:train"'
SGD = 'trainer = "sgd"\nepochs = 1\nbatch_size = 50\nlearning_rate = 0.01'
DP_SGD = SGD.replace('"sgd"', '"dp-sgd"') + "\nl2_norm_clip = 1.0\nnoise_multiplier = 1.0"
KERAS = f'[architecture]\nkind = "mlp"\nhidden = [8]\n[[model]]\nname = "a"\n{SGD}\n[[model]]\nname = "b"\n{DP_SGD}'


@pytest.mark.long
def test_a_training_function_needs_no_tensorflow(tmp_path: Path, run_without_tensorflow: Callable[[str], str]) -> None:
    """A plan with a function on scikit-learn runs to its report where TensorFlow cannot be imported."""
    (tmp_path / "my_training.py").write_text(TRAINING)
    (tmp_path / "plan.toml").write_text(PLAN.format(models=FUNCTION))
    run_without_tensorflow(
        f"import os; os.chdir({str(tmp_path)!r}); from dpaudit.cli import app\n"
        "app(['run', 'plan.toml', '--trust', '--out', 'out', '--quiet'], standalone_mode=False)"
    )
    assert (tmp_path / "out" / "report.html").exists()


def test_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where TensorFlow is not installed, one line names the extra and what needs none."""

    def missing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr("importlib.metadata.version", missing)
    with pytest.raises(MissingDependency, match=r"pip install 'dpaudit\[tensorflow\]' \(a function of your own"):
        keras_two.tensorflow_version()


@pytest.mark.tf
def test_training_needs_no_tensorflow_privacy(tmp_path: Path) -> None:
    """The trainers sgd and dp-sgd train where TensorFlow Privacy cannot be imported, as it cannot on Python 3.12."""
    (tmp_path / "plan.toml").write_text(PLAN.format(models=KERAS))
    code = (
        "import sys; sys.modules['tensorflow_privacy'] = None\nfrom dpaudit.cli import app\n"
        "import dpaudit.reports.html\n"
        "dpaudit.reports.html.write_report = lambda result, folder: None  # it takes as long as the trainings\n"
        "app(['run', 'plan.toml', '--out', 'out', '--quiet'], standalone_mode=False)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (tmp_path / "out" / "result.json").exists(), done.stderr
