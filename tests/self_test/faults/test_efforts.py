"""What several efforts detect: level 1e-6 an inspection, fixed seeds."""

import pytest
from typer.testing import CliRunner

from dpaudit.cli import app
from dpaudit.runtime.errors import InputError
from dpaudit.self_test.faults.efforts import KINDS, SUBTLE, AtEfforts, EffortTable, run_efforts


@pytest.mark.long
def test_more_effort_sees_a_rarer_step_and_a_larger_pool() -> None:
    """One step in 2,000 is not among 750 and is among 3,000; 2²⁰ seeds repeat among the latter (4.3 pairs)."""
    names = ("no noise in one step of 2,000", "seeds of 20 bits", "DP-SGD")
    found = run_efforts((0.25, 1.0), seed=3, names=names)
    assert [row.seen for row in found.rows] == [("", "rare steps"), ("", "repeated noise"), ("", "")]
    assert found.wrong == ()
    page = found.markdown("a command")
    assert "| subtle fault | 0 of 2 caught," in page
    assert "| DP-SGD | quiet | quiet |" in page
    assert "made by `a command`" in page


def test_what_is_wrong_is_a_known_fault_that_was_missed_or_an_alarm() -> None:
    """A subtle fault may be missed at any effort."""
    rows = [AtEfforts(kind, kind, ("noise", ""), (0.1, 0.2)) for kind in KINDS]
    table = EffortTable((1.0, 3.0), tuple(rows))
    assert table.wrong == (KINDS[0], KINDS[2])
    assert table.table().row_count == 3 + 3
    assert len(SUBTLE) > 8


def test_efforts_and_names_are_checked() -> None:
    """Each message names what was given."""
    with pytest.raises(InputError, match="effort"):
        run_efforts((0.0,), seed=3, names=("DP-SGD",))
    with pytest.raises(InputError, match="there is no mechanism 'nobody'"):
        run_efforts((1.0,), seed=3, names=("nobody",))
    refused = CliRunner().invoke(app, ["selftest", "--effort", "2"])
    assert refused.exit_code == 2
    assert "--effort is for --faults" in " ".join(refused.output.split())
