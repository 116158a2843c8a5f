"""Tables of pandas as files: CSV with every digit, LaTeX and Markdown for readers."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from dpaudit.reports.gate import cell
from dpaudit.runtime.files import write_text

if TYPE_CHECKING:
    import pandas as pd


def as_csv(table: "pd.DataFrame") -> str:
    """Every digit, missing values empty.

    >>> import pandas as pd
    >>> as_csv(pd.DataFrame({"model": ["m"], "auc": [0.5], "epsilon": [None]}))
    'model,auc,epsilon\\nm,0.5,\\n'
    """
    text: str = table.to_csv(index=False, lineterminator="\n")
    return text


def as_latex(table: "pd.DataFrame") -> str:
    """A ``tabular`` of the package booktabs: four digits, numbers to the right, every special character escaped.

    >>> import pandas as pd
    >>> print(as_latex(pd.DataFrame({"best_attack": ["a_b"], "auc": [0.51239]})))
    \\begin{tabular}{lr}
    \\toprule
    best\\_attack & auc \\\\
    \\midrule
    a\\_b & 0.5124 \\\\
    \\bottomrule
    \\end{tabular}
    <BLANKLINE>
    """
    kinds = "".join("r" if column.dtype.kind in "iuf" else "l" for _, column in table.items())
    text: str = table.astype(object).map(_text).to_latex(index=False, escape=True, column_format=kinds)
    return text


def as_markdown(table: "pd.DataFrame") -> str:
    """A table of Markdown with four digits.

    >>> import pandas as pd
    >>> print(as_markdown(pd.DataFrame({"model": ["a|b"], "auc": [0.51239]})), end="")
    | model | auc |
    | --- | ---: |
    | a\\|b | 0.5124 |
    """
    marks = ["---:" if column.dtype.kind in "iuf" else "---" for _, column in table.items()]
    rows = [[cell(str(name)) for name in table.columns], marks]
    rows += [[cell(_text(value)) or " " for value in row] for row in table.itertuples(index=False, name=None)]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


FORMS = {"csv": as_csv, "tex": as_latex, "md": as_markdown}


def write_table(table: "pd.DataFrame", folder: Path, name: str, forms: tuple[str, ...]) -> list[Path]:
    """Write ``name.csv``, ``name.tex`` and ``name.md``, as many of them as are asked for."""
    paths = []
    for form in forms:
        path = folder / f"{name}.{form}"
        write_text(path, FORMS[form](table))
        paths.append(path)
    return paths


def _text(value: Any) -> str:
    if value is None or value != value:  # a missing value
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
