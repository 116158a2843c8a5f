"""Which code a function runs, as far as it lies beside it: results that other code made are not used."""

import ast
import hashlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

INSTALLED = ("site-packages", "dist-packages")


# Once in a process: an edit after the import is not what this process runs.
@cache
def code_digest(module: str, file: Path) -> str:
    """SHA-256 of a module's file and of every file that it imports, directly or not, from beside itself.

    Beside itself is the folder from which ``import module`` takes its first name. `code_files` says what is left out.
    """
    total = hashlib.sha256()
    for name, path in sorted(code_files(module, file).items()):
        total.update(f"{name}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\0".encode())
    return total.hexdigest()


def code_files(module: str, file: Path) -> dict[str, Path]:
    """Files by module name: the module's own, and those that import statements reach in the folder it lies in.

    Import statements anywhere in a file count, in functions too. Not seen are: dpaudit itself and packages installed
    elsewhere (of an installed module's neighbours only its own package), imports by computed names, modules on other
    folders of the search path, and files that the code reads.
    """
    if module == "__main__":
        module = file.stem
    root = file.parents[module.count(".") + (file.name == "__init__.py")]
    own = module.partition(".")[0]
    alone = any(part in INSTALLED for part in root.parts)
    found: dict[str, Path] = {}
    waiting = list(_prefixes(module))
    while waiting:
        name = waiting.pop()
        top = name.partition(".")[0]
        path = file if name == module else _located(root, name)
        if path is None or name in found or top == "dpaudit" or (alone and top != own):
            continue
        found[name] = path
        package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        for imported in _imported(path, package):
            waiting += _prefixes(imported)
    return found


def _prefixes(name: str) -> Iterator[str]:
    """``a.b.c`` imports ``a`` and ``a.b`` too."""
    parts = name.split(".")
    return (".".join(parts[: end + 1]) for end in range(len(parts)))


def _located(root: Path, name: str) -> Path | None:
    folder = root.joinpath(*name.split("."))
    both = folder / "__init__.py", folder.with_name(f"{folder.name}.py")
    return next((path for path in both if path.is_file()), None)


def _imported(path: Path, package: str) -> Iterator[str]:
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):  # no Python: importing it fails before it imports anything
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")
                base = ".".join((*parents[: len(parents) - node.level + 1], *base.split("."))).strip(".")
            # What is imported from a package may be a module of it.
            yield from (name for name in (base, *(f"{base}.{alias.name}" for alias in node.names)) if base)
