"""What a table holds, before anything is planned."""

from pathlib import Path

import numpy as np
import pandas as pd

from dpaudit.data.look import look


def test_a_column_with_thousands_of_records_of_each_value_is_a_feature_and_no_user(tmp_path: Path) -> None:
    """12 kinds of household of 1,000 records each are words; 600 households of 20 records each are users."""
    kinds = pd.DataFrame({"household": np.arange(12_000) % 12, "outcome": np.arange(12_000) % 2})
    kinds["household"] = "kind " + kinds["household"].astype(str)
    kinds.to_csv(tmp_path / "kinds.csv", index=False)
    found = look(tmp_path / "kinds.csv", "outcome")
    assert found.user is None
    assert found.columns["household"].startswith("words, 12 different")
    households = kinds.assign(household=[f"h{row % 600}" for row in range(12_000)], age=np.arange(12_000) % 90)
    households.to_csv(tmp_path / "households.csv", index=False)
    assert look(tmp_path / "households.csv", "outcome").user == "household"
