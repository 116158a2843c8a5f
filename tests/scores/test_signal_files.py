"""Signals larger than memory: the same scores as in memory, in a bounded amount of it."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dpaudit.data.inclusion import complementary_pairs
from dpaudit.runtime import plugins as registry
from dpaudit.runtime.errors import InputError
from dpaudit.runtime.out_of_core import PARTS, within
from dpaudit.scores.signal_files import store_signals, stored_signals
from dpaudit.scores.signals import Signals

MODELS = 16
# Scores signals of a folder with each attack and prints by how many bytes the process grew beyond what the libraries
# take, apart from the pages that are mapped from the files.
GROWTH = """
import sys, threading, time
from pathlib import Path
from dpaudit.runtime import plugins as registry
from dpaudit.scores.signal_files import stored_signals
def own() -> int:
    line = next(x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith("RssAnon"))
    return 1024 * int(line.split()[1])
attacks = [registry.resolve("membership", name)() for name in ("lira", "rmia", "base")]
begin, peak, running = own(), 0, True
def watch() -> None:
    global peak
    while running:
        peak = max(peak, own())
        time.sleep(0.002)
watcher = threading.Thread(target=watch)
watcher.start()
signals = stored_signals(Path(sys.argv[1]))
for attack in attacks:
    attack(signals)
running = False
watcher.join()
print(peak - begin)
"""


def simulated(records: int, models: int = MODELS) -> Signals:
    rng = np.random.default_rng(4)
    included = complementary_pairs(models, records, seed=1)
    reference = (rng.normal(size=included.shape) + included).astype(np.float32).astype(np.float64)
    population = Signals(
        rng.normal(size=50),
        reference=rng.normal(size=(models, 50)).astype(np.float32).astype(np.float64),
        included=np.zeros((models, 50), bool),
    )
    return Signals(rng.normal(size=records), reference=reference, included=included, population=population)


@pytest.mark.parametrize(
    "name", ["lira", "lira-offline", "rmia", "rmia-offline", "base", "base-offline", "attack-r", "calibrated"]
)
@pytest.mark.parametrize("records", [2, 3, 7, 40])
def test_scores_are_those_in_memory(name: str, records: int, tmp_path: Path) -> None:
    """In blocks of so many of 100 records, or one more, from disk: bit for bit the scores of one block in memory."""
    whole = simulated(100)
    attack = registry.resolve("membership", name)()
    expected = attack(whole)
    store_signals(tmp_path, whole)
    mapped = stored_signals(tmp_path)
    assert isinstance(mapped.reference, np.memmap)
    with within(records * 16 * MODELS * PARTS, tmp_path):
        np.testing.assert_array_equal(attack(mapped), expected)


@pytest.mark.long
def test_memory_is_bounded(tmp_path: Path) -> None:
    """300,000 records under 64 models: 154 MB as float64, several times over; scored within 100 MB."""
    records, models = 300_000, 64
    rng = np.random.default_rng(0)
    included = np.repeat(rng.random((1, records)) < 0.5, models, axis=0)
    included[1::2] = ~included[1::2]
    reference = np.lib.format.open_memmap(tmp_path / "reference.npy", "w+", np.float32, (models, records))
    for row in reference:
        row[:] = rng.standard_normal(records, np.float32)
    reference.flush()
    np.save(tmp_path / "included.npy", included)
    np.save(tmp_path / "phi.npy", rng.normal(size=records))
    np.save(tmp_path / "population-phi.npy", rng.normal(size=100))
    np.save(tmp_path / "population-reference.npy", rng.normal(size=(models, 100)).astype(np.float32))
    done = subprocess.run([sys.executable, "-c", GROWTH, tmp_path], capture_output=True, text=True, check=True)
    assert 0 < int(done.stdout) < 100e6


def test_bad_folders_are_refused(tmp_path: Path) -> None:
    """A missing array, values that are not finite, a mask of numbers: one line each."""
    store_signals(tmp_path, simulated(10))
    np.save(tmp_path / "included.npy", np.ones((MODELS, 10)))
    with pytest.raises(InputError, match=r"included\.npy must hold true/false, got float64"):
        stored_signals(tmp_path)
    np.save(tmp_path / "included.npy", np.ones((MODELS, 10), bool))
    np.save(tmp_path / "reference.npy", np.full((MODELS, 10), np.nan, np.float32))
    with pytest.raises(InputError, match=r"reference\.npy must be finite"):
        stored_signals(tmp_path)
    (tmp_path / "reference.npy").unlink()
    with pytest.raises(InputError, match=r"reference\.npy: no such file"):
        stored_signals(tmp_path)


def test_a_record_without_references_is_named_across_blocks(tmp_path: Path) -> None:
    """The index in the message is that of the record, not of its place in a block."""
    signals = simulated(100)
    signals.included[:, 77] = True
    attack = registry.resolve("membership", "rmia")()
    with pytest.raises(InputError, match=r"1 of 100 records .* index 77"):
        attack(signals)
