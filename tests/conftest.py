"""Fixtures of the whole suite."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest

BLOCK = "import sys\nfor name in ('tensorflow', 'tf_keras', 'keras', 'tensorflow_privacy'): sys.modules[name] = None\n"

WHOLLY_TF = "\npytestmark = pytest.mark.tf\n"
# Files that take longest, longest first: started last, one would keep one worker busy after the other has ended.
LONGEST = (
    "docs/test_commands.py",
    "self_test/faults/test_run.py",
    "docs/test_pages.py",
    "inspection/test_kinds_of_faults.py",
    "engine/test_training.py",
    "engine/test_gradients.py",
    "inspection/test_keras_adapters.py",
    "audits/ladder/test_run.py",
    "bounds/test_power.py",
    "integrations/test_simulated.py",
    "attacks/gradient/test_matching.py",
    "audits/membership/test_text_canaries.py",
    "data/test_blind_baseline.py",
    "cli/test_run.py",
    "engine/test_network.py",
    "training/test_keras_trainers.py",
    "audits/federated/test_attacks.py",
    "audits/test_sweep.py",
    "audits/test_without_tensorflow.py",
    "audits/ladder/test_federated.py",
    "audits/test_table_cost.py",
    "inspection/test_server_rounds.py",
)


def without_tensorflow(config: pytest.Config) -> bool:
    """Whether this run leaves out the tests that need TensorFlow."""
    return "not tf" in config.option.markexpr


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Files of nothing but `tf` tests are not even imported where none of them will run."""
    if collection_path.suffix != ".py" or not (without_tensorflow(config) or find_spec("tensorflow") is None):
        return None
    return WHOLLY_TF in collection_path.read_text(encoding="utf-8") or None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The files that take longest come first; each file stays together."""
    place = {Path(__file__).parent / name: number for number, name in enumerate(LONGEST)}
    assert all(path.is_file() for path in place)
    items.sort(key=lambda item: place.get(item.path, len(LONGEST)))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Importing the files of the lane without TensorFlow imports none: that would take as long as a third of it."""
    if without_tensorflow(session.config) and "tensorflow" in sys.modules:
        raise pytest.UsageError("a test file without the marker tf imports TensorFlow; import it in the tests.")


@pytest.fixture(autouse=True)
def its_lane_is_named(request: pytest.FixtureRequest) -> Iterator[None]:
    """A test that imports TensorFlow without the marker `tf` fails in the lane without it."""
    before = "tensorflow" in sys.modules
    yield
    if without_tensorflow(request.config) and not before and "tensorflow" in sys.modules:
        pytest.fail("this test imports TensorFlow; give it the marker tf.")


@pytest.fixture(scope="session", autouse=True)
def inspection_clock() -> Iterator[SimpleNamespace]:
    """Inspections plan with processor time: what they have time to ask is then the same on a busy machine."""
    clock = SimpleNamespace(monotonic=time.process_time, process_time=time.process_time, perf_counter=time.perf_counter)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("ask", "clock", "listen", "samples", "server_rounds"):
            patch.setattr(import_module(f"dpaudit.inspection.{name}"), "time", clock)
        yield clock


@pytest.fixture
def run_without_tensorflow() -> Callable[[str], str]:
    """Run Python code in a process in which TensorFlow cannot be imported; gives what it prints."""

    def run(code: str) -> str:
        done = subprocess.run([sys.executable, "-c", BLOCK + code], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run
