"""Signals that are kept on disk and scored in blocks give the very outcome of signals in memory."""

from pathlib import Path

import numpy as np
import pytest

from dpaudit.audits.membership.reference_models import observed_pool
from dpaudit.audits.membership.run import MembershipSettings, audit_membership
from dpaudit.runtime import out_of_core as blocks
from dpaudit.runtime.errors import InputError
from dpaudit.runtime.out_of_core import Rows, empty, is_mapped, over_records, select_records, within
from dpaudit.training.reference_models.pool import Pool
from tests.audits.membership.test_reference_models import audit

ATTACKS = [
    "loss", "confidence", "entropy", "modified-entropy", "hinge", "gap", "attack-p", "attack-r", "calibrated", "offset",
    "base", "base-offline", "lira", "lira-offline", "rmia", "rmia-offline", "auto", "risk-score",
    "multi-signal-lira", "classifier-on-target", "bavaria", "informia", "label-only", "ranges",
    {"name": "lira", "centre": "median"}, {"name": "attack-r", "tail": "empirical"},
]  # fmt: skip


@pytest.fixture
def everything_on_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of a few records, and no array in memory that `empty` makes."""
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 16 * 8 * 40)
    monkeypatch.setattr(blocks, "IN_MEMORY", 10**12)


@pytest.mark.long
def test_every_attack_and_figure_is_the_same_from_disk(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """A membership experiment with queries, 26 attacks and all that is read off them: bit for bit."""
    settings = MembershipSettings(
        attacks=ATTACKS,
        references=8,
        queries=[{"kind": "noise", "scale": 0.001, "copies": 1}],
        slices=["class"],
    )
    whole = audit_membership(settings, audit(tmp_path / "memory"))
    request.getfixturevalue("everything_on_disk")
    given = audit(tmp_path / "disk")
    with within(None, tmp_path / "arrays"):
        found = audit_membership(settings, given)
    assert found == whole
    assert not list((tmp_path / "arrays").iterdir())


@pytest.mark.usefixtures("everything_on_disk")
def test_a_pools_outputs_are_mapped_from_its_store(tmp_path: Path) -> None:
    """φ and log-probabilities lie on disk, for a pool that was just trained and for one that is read again."""
    given = audit(tmp_path)
    for _ in range(2):
        included = np.arange(8)[:, None] % 2 == np.arange(400) % 2
        wanted = Pool(given.subjects[0].trainer, given.dataset, included, given.population, seed=1, folder=tmp_path)
        pool = observed_pool(wanted, given.progress)
        assert all(isinstance(each, np.memmap) for each in (pool.phi, pool.log_probabilities, pool.population))
        assert is_mapped(pool.target(0).reference)


@pytest.mark.usefixtures("everything_on_disk")
def test_a_file_lives_as_long_as_its_array(tmp_path: Path) -> None:
    """A view keeps the file, and what was written is there after pages were given back."""
    with within(None, tmp_path):
        array = empty((4, 1000))
        array[:] = np.arange(4000).reshape(4, 1000)
        blocks.release(array)
        view = array[1:, 3:5]
        del array
        assert len(list(tmp_path.iterdir())) == 1
        np.testing.assert_array_equal(view, [[1003, 1004], [2003, 2004], [3003, 3004]])
        del view
        assert not list(tmp_path.iterdir())


def test_rows_are_what_an_array_of_them_would_be() -> None:
    """Against numpy: indices, slices, columns, masks of rows, arithmetic."""
    array = np.random.default_rng(0).normal(size=(6, 5, 2))
    wanted, rows = array[[0, 2, 5]], Rows([array[0], array[2], array[5]])
    assert (rows.shape, rows.ndim, rows.size, rows.dtype, len(rows)) == (wanted.shape, 3, 30, wanted.dtype, 3)
    for key in (
        1, -1, slice(1, None), (slice(None), slice(1, 3)), (1, slice(0, 2)), (slice(None), slice(None), 1),
        np.array([2, 0]), np.array([True, False, True]), (slice(None), np.array([True, False, True, False, True])),
    ):  # fmt: skip
        np.testing.assert_array_equal(np.asarray(rows[key]), wanted[key])
    np.testing.assert_array_equal(1 - rows * rows, 1 - wanted * wanted)
    np.testing.assert_array_equal(np.logaddexp(0, -rows), np.logaddexp(0, -wanted))
    np.testing.assert_array_equal(select_records(rows, np.arange(5) > 2), wanted[:, 3:])
    with within(2000):
        np.testing.assert_array_equal(over_records(lambda block: (block * 2,), rows)[0], wanted * 2)


def test_too_little_memory_is_said_before_anything_is_scored(tmp_path: Path) -> None:
    """No process of 20 MB could hold the libraries."""
    with within(20_000_000, tmp_path), pytest.raises(InputError, match="memory of 20 MB is too little: attacks on 400"):
        audit_membership(MembershipSettings(attacks=["loss"]), audit(tmp_path))
