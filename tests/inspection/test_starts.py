"""Noise of a program that is started many times: level 1e-6."""

import math

import pytest

from dpaudit.inspection.load_factory import load_factory
from dpaudit.inspection.mechanism import Mechanism, Stated
from dpaudit.inspection.starts import check_starts
from dpaudit.runtime.errors import InputError

STATED = Stated(2.0, 1.0, 32.0)
HEAD = """
import os, secrets, time
import numpy as np
from dpaudit.inspection.mechanism import Mechanism
def made(seed, **more):
    rng = np.random.default_rng(seed)
    return Mechanism(lambda g: [(x.sum(axis=0) + rng.normal(0, 2, x.shape[1:])) / 32 for x in g], **more)
"""


def started(tmp_path, body, starts):
    """A factory with this body, started so often."""
    file = tmp_path / "program.py"
    file.write_text(f"{HEAD}def build():\n    {body}\n")
    return check_starts(f"{file}:build", STATED, starts=starts, seed=1, level=1e-6)


@pytest.mark.long
def test_a_seed_of_few_bits_repeats(tmp_path):
    """30 starts on 4 bits: some must repeat, and the pool of 16 is estimated within a factor 2."""
    findings, sights = started(tmp_path, "return made(secrets.randbits(4))", 30)
    assert [finding.check for finding in findings] == ["frozen seed"]
    assert 8 <= float(findings[0].observed.split("about ")[1].split()[0]) <= 32
    # 1 - exp(-30² / 2n) = 0.8 at n = 280.
    assert "one of 280 seeds" in sights[0].smallest


@pytest.mark.long
def test_a_seed_from_clock_and_process_number_is_seen_by_stopping_both(tmp_path):
    """Four starts suffice, however fine the clock is; a seed made of all three repeats only where each stands still."""
    findings, _ = started(tmp_path, "return made(time.time_ns() ^ int(time.time() * 1e6) ^ os.getpid() << 64)", 4)
    assert "the clock or the process number" in findings[0].observed
    assert findings[0].true_epsilon == math.inf


@pytest.mark.parametrize("body", ["return made(None)", "return made(np.random.randint(2**62))"])
@pytest.mark.long
def test_seeds_of_the_system_are_quiet(tmp_path, body):
    """numpy's own seeding, by a generator or the global state, differs in every start."""
    assert started(tmp_path, body, 8)[0] == []


@pytest.mark.tf  # a factory named by its module may need it, so it is loaded first
def test_what_the_audit_seeds_is_not_asked(tmp_path):
    """A mechanism that can be reset has a seed that is set, and one without noise has none."""
    findings, sights = started(tmp_path, "return made(1, reset=lambda: None)", 4)
    assert findings == []
    assert not sights[0].asked
    quiet, why = check_starts(
        "dpaudit.self_test.faults.started:system", Stated(2.0, 0.0, 32.0), starts=2, seed=1, level=1e-6
    )
    assert (quiet, why[0].smallest) == ([], "there is no noise")


@pytest.mark.long
def test_a_factory_that_fails_in_a_new_process_says_why(tmp_path):
    """Its last line of error is the message."""
    body = "if 'noise.npy' in os.sys.argv[-1]: raise OSError('no disk')"
    with pytest.raises(InputError, match="OSError: no disk"):
        started(tmp_path, f"{body}\n    return made(None)", 2)


def test_the_factories_of_the_self_test_are_what_they_say():
    """Each is built, and cannot be reset."""
    for name in ("sixteen_bits", "clock", "system"):
        built = load_factory(f"dpaudit.self_test.faults.started:{name}")()
        assert isinstance(built, Mechanism)
        assert built.reset is None
