"""Fixtures of the whole suite."""

import subprocess
import sys
from collections.abc import Callable

import pytest

BLOCK = "import sys\nfor name in ('tensorflow', 'tf_keras', 'keras', 'tensorflow_privacy'): sys.modules[name] = None\n"


@pytest.fixture
def run_without_tensorflow() -> Callable[[str], str]:
    """Run Python code in a process in which TensorFlow cannot be imported; gives what it prints."""

    def run(code: str) -> str:
        done = subprocess.run([sys.executable, "-c", BLOCK + code], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run
