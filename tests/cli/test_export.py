"""``dpaudit export`` writes what the result holds, and LaTeX that LaTeX reads."""

from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from dpaudit import audit_scores
from dpaudit.cli import app
from dpaudit.reports.export import as_latex
from dpaudit.runtime.errors import InputError


def exported(folder: Path, *words: str) -> list[str]:
    """Names of the files that are written."""
    done = CliRunner().invoke(app, ["export", str(folder), *words], catch_exceptions=False)
    return sorted(Path(line).name for line in done.output.split())


def test_csv_is_the_table(tmp_path: Path) -> None:
    """Every digit of it, one file for each table that has rows."""
    result = audit_scores([3.0, 1.0, 2.0, 0.5], [1, 0, 1, 0], epsilon=1.0, chosen_by="coin")
    result.save(tmp_path)
    assert exported(tmp_path) == ["attacks.csv", "bounds.csv", "models.csv", "scores.csv"]
    read = pd.read_csv(tmp_path / "tables" / "scores.csv")
    assert read.equals(result.frame("scores"))
    assert exported(tmp_path, "--latex", "--markdown", "--table", "models") == ["models.md", "models.tex"]


def test_what_cannot_be_written_is_said(tmp_path: Path) -> None:
    """A table without rows, a name that is none, and scores in LaTeX."""
    audit_scores([3.0, 1.0, 2.0, 0.5], [1, 0, 1, 0]).save(tmp_path)
    for words, said in (
        (["--table", "slices"], "measured nothing"),
        (["--table", "slicez"], "Did you mean 'slices'"),
        (["--table", "scores", "--latex"], "as CSV only"),
    ):
        with pytest.raises(InputError, match=said):
            exported(tmp_path, *words)


def test_latex_escapes_what_it_would_read() -> None:
    """A name with every special character is text."""
    text = as_latex(pd.DataFrame({"model_name": ["50% & $x_1$ #{~}"]}))
    assert r"50\% \& \$x\_1\$ \#\{\textasciitilde \}" in text
    assert r"model\_name" in text
