"""Fixtures of the whole suite."""

import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

BLOCK = "import sys\nfor name in ('tensorflow', 'tf_keras', 'keras', 'tensorflow_privacy'): sys.modules[name] = None\n"

WHOLLY_TF = "\npytestmark = pytest.mark.tf\n"


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Files of nothing but `tf` tests are not even imported where there is no TensorFlow."""
    if collection_path.suffix != ".py" or find_spec("tensorflow") is not None:
        return None
    return WHOLLY_TF in collection_path.read_text(encoding="utf-8") or None


@pytest.fixture
def run_without_tensorflow() -> Callable[[str], str]:
    """Run Python code in a process in which TensorFlow cannot be imported; gives what it prints."""

    def run(code: str) -> str:
        done = subprocess.run([sys.executable, "-c", BLOCK + code], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run
