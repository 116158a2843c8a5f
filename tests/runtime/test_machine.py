"""What this machine has is said as it is now."""

import os
from pathlib import Path

import pytest

from dpaudit.runtime.machine import versions_of


def test_a_package_that_changes_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Versions are kept while the folders of packages are as they were, and no longer: installed, upgraded, removed."""
    monkeypatch.syspath_prepend(str(tmp_path))
    assert versions_of(["made-up"])["made-up"] == "not installed"
    for second, version in enumerate(("1.0", "2.0")):
        folder = tmp_path / f"made_up-{version}.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: made-up\nVersion: {version}\n")
        os.utime(tmp_path, (second, second))
        assert versions_of(["made-up"])["made-up"] == version
        (folder / "METADATA").unlink()
        folder.rmdir()
    os.utime(tmp_path, (9, 9))
    assert versions_of(["made-up"])["made-up"] == "not installed"
