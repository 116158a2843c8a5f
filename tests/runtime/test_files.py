"""Files are written whole or not at all, and nothing is unpickled."""

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from dpaudit.runtime.errors import InputError
from dpaudit.runtime.files import read_npz, read_text, replacing, write_npz, write_text


def test_arrays_come_back_as_they_were(tmp_path: Path) -> None:
    """Names such as `file` or `arr_0` are no obstacle."""
    arrays = {"000:dense/kernel:0": np.arange(6.0).reshape(2, 3), "flags": np.array([True, False])}
    write_npz(tmp_path / "a.npz", arrays)
    read = read_npz(tmp_path / "a.npz")
    assert read.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(read[name], array)


def test_an_interrupted_write_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    """Whatever stops the writer, Ctrl-C too, the folder holds what it held."""
    target = tmp_path / "result.json"
    write_text(target, "old")
    with pytest.raises(KeyboardInterrupt), replacing(target) as temporary:  # noqa: PT012  # the block is the test
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]


def test_a_full_disk_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message has the path and the system's reason; nothing half-written stays."""

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(InputError, match=r"cannot write .*result\.json: No space left on device\."):
        write_text(tmp_path / "result.json", "text")
    assert list(tmp_path.iterdir()) == []


def test_pickled_arrays_are_refused_both_ways(tmp_path: Path) -> None:
    """An NPZ file from somebody else cannot run code."""
    with pytest.raises(InputError, match="holds Python objects"):
        write_npz(tmp_path / "a.npz", {"x": np.array([{}], object)})
    np.savez(tmp_path / "b.npz", x=np.array([{}], object))
    with pytest.raises(InputError, match="pickled Python objects, which could run code"):
        read_npz(tmp_path / "b.npz")


def test_damaged_and_missing_files_are_named(tmp_path: Path) -> None:
    """Truncated, empty, missing, a single array and plain text."""
    write_npz(tmp_path / "a.npz", {"x": np.zeros(1000)})
    whole = (tmp_path / "a.npz").read_bytes()
    for name, content in (("cut.npz", whole[:500]), ("empty.npz", b""), ("text.npz", b"score,member\n")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=name):
            read_npz(tmp_path / name)
    np.save(tmp_path / "single.npy", np.zeros(3))
    with pytest.raises(InputError, match="single array"):
        read_npz(tmp_path / "single.npy")
    with pytest.raises(InputError, match="no such file"):
        read_npz(tmp_path / "none.npz")
    with pytest.raises(InputError, match="No such file"):
        read_text(tmp_path / "none.toml")
    (tmp_path / "latin.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="not UTF-8"):
        read_text(tmp_path / "latin.toml")
