"""Which files count as the code of a function: what Python itself imports from beside it, and nothing else."""

import functools
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dpaudit.runtime.errors import InputError
from dpaudit.training.function import Function
from dpaudit.training.reference_models.code_fingerprint import code_digest, code_files
from tests.training.reference_models import pool_functions

FILES = {
    "pkg/__init__.py": "",
    "pkg/sub/__init__.py": "from .. import base",
    "pkg/sub/train.py": "import numpy\nimport shared.tools as t\nfrom . import near\nfrom ..other import name\n"
    "def train():\n    from pkg.sub.late import x\n",
    "pkg/sub/near.py": "",
    "pkg/sub/late.py": "import json\nx = 1",
    "pkg/base.py": "",
    "pkg/other/__init__.py": "from pkg.other.inner import *\nname = 1",
    "pkg/other/inner.py": "import pkg.sub.train",  # round in a circle
    "shared/tools.py": "",  # a namespace package
    "pkg/sub/unused.py": "",
    "broken.py": "import unused\nthis is no Python",
}
PRINT = """
import sys
sys.path.insert(0, sys.argv[1])
import pkg.sub.train
pkg.sub.train.train()
files = {name: str(getattr(module, "__file__", "")) for name, module in sys.modules.items()}
print(*sorted(name for name, file in files.items() if file.startswith(sys.argv[1])))
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder of modules."""
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_the_files_are_those_that_python_imports_from_beside_it(place: Path) -> None:
    """Python's own list of modules, after the import and the call, names the same."""
    words = [sys.executable, "-B", "-c", PRINT, str(place)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    found = code_files("pkg.sub.train", place / "pkg" / "sub" / "train.py")
    assert sorted(found) == done.stdout.split()
    assert found["pkg.sub"] == place / "pkg" / "sub" / "__init__.py"


def test_of_an_installed_package_only_its_own_modules(place: Path, tmp_path: Path) -> None:
    """What lies beside it there are other people's packages, whose versions tell them apart."""
    installed = tmp_path / "site-packages"
    installed.mkdir()
    for name in ("pkg", "shared"):
        (place / name).rename(installed / name)
    found = code_files("pkg.sub.train", installed / "pkg" / "sub" / "train.py")
    assert "pkg.sub.near" in found
    assert "shared.tools" not in found


def test_a_script_and_a_file_that_is_no_python(place: Path) -> None:
    """A script has the neighbours of its folder; a file that cannot be read counts, and imports nothing."""
    script = place / "script.py"
    script.write_text("try:\n    import broken\nexcept SyntaxError:\n    import shared.tools\n")
    assert sorted(code_files("__main__", script)) == ["broken", "script", "shared.tools"]


def test_any_of_the_files_changes_the_digest(place: Path) -> None:
    """One byte in one of them, and no byte in another."""

    def digest() -> str:
        code_digest.cache_clear()
        return code_digest("pkg.sub.train", place / "pkg" / "sub" / "train.py")

    before = digest()
    for name in FILES:
        with (place / name).open("a") as stream:
            stream.write("#")
        assert (digest() != before) == (name not in ("pkg/sub/unused.py", "broken.py")), name
        before = digest()


def made(scale: float) -> Any:
    """A function that holds a number."""
    return lambda dataset, included, *, seed: scale


def test_code_that_cannot_be_told_has_no_fingerprint(monkeypatch: pytest.MonkeyPatch) -> None:
    """A closure, and a function of no file; a partial is told by its arguments."""
    with pytest.raises(InputError, match=r"made.<locals>.<lambda> holds variables of the function that made it"):
        _ = Function(made(3.0)).fingerprint
    plain, part = Function(pool_functions.train), Function(functools.partial(pool_functions.train, seed=1))
    assert plain.fingerprint != part.fingerprint
    monkeypatch.delattr(pool_functions, "__file__")
    with pytest.raises(InputError, match="the code of train cannot be found"):
        _ = Function(pool_functions.train).fingerprint
