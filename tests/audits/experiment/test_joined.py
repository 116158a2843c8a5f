"""Inclusions are joined by id: any order of rows gives the rows of the experiment, each with its own inclusion."""

from pathlib import Path

import numpy as np

from dpaudit.audits.experiment.joined import join_inclusions
from dpaudit.audits.experiment.planted import plant_canaries
from tests.audits.experiment.small import experiment, table


def test_rows_point_to_the_records_of_the_experiment(tmp_path: Path) -> None:
    """Row ``rows[i]`` of what was given is record i, whatever was shuffled; labels and users go along."""
    made = experiment(tmp_path, user="who")
    order = np.random.default_rng(0).permutation(len(made.ids))
    found = join_inclusions(made, made.ids[order], "here")
    assert (made.ids[order][found.rows] == made.ids).all()
    assert (found.member == made.included).all()
    assert found.users is not None
    assert made.users is not None
    assert (found.users == made.users).all()
    assert found.others == 0


def test_other_rows_beside_canaries_are_counted(tmp_path: Path) -> None:
    """Records that are always trained on may be among the rows."""
    table().to_csv(tmp_path / "d.csv", index=False)
    made = plant_canaries(tmp_path / "d.csv", tmp_path / "e", kind="blank", count=20, seed=1)
    given = np.concatenate([["a", "b"], made.ids[::-1]])
    found = join_inclusions(made, given, "here")
    assert found.others == 2
    assert (given[found.rows] == made.ids).all()
