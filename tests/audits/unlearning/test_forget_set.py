"""Which records are to be forgotten: drawn, or named in a file, and every other file is refused in one line."""

from pathlib import Path

import numpy as np
import pytest

from dpaudit.audits.unlearning.forget_set import choose_forget_set
from dpaudit.runtime.errors import InputError
from tests.audits.unlearning.test_run import audit_of


def named(folder: Path, text: str) -> str:
    path = folder / "forget.txt"
    path.write_text(text)
    return str(path)


def test_drawn_records_are_training_records_and_the_others_stay(tmp_path: Path) -> None:
    """Together they are the training records of the model under audit, each once."""
    audit = audit_of(tmp_path)
    chosen = choose_forget_set(12, audit)
    members = audit.dataset.take(audit.member)
    assert len(chosen.names) == 12
    assert set(chosen.names) <= set(members.source_rows)
    np.testing.assert_array_equal(np.sort(chosen.records.features, axis=0), np.sort(members.features, axis=0))
    assert len(chosen.population) == len(audit.population)


def test_named_records_come_from_anywhere_in_the_source(tmp_path: Path) -> None:
    """A member, a non-member and one of the population: first, in the order of the file, with labels."""
    audit = audit_of(tmp_path)
    rows = audit.dataset.source_rows
    wanted = [audit.population.source_rows[3], rows[~audit.member][0], rows[audit.member][0]]
    chosen = choose_forget_set(named(tmp_path, "\n".join(map(str, wanted)) + "\n"), audit)
    assert chosen.names.tolist() == wanted
    np.testing.assert_array_equal(chosen.records.features[0], audit.population.features[3])
    assert chosen.records.labels[1] == audit.dataset.labels[~audit.member][0]
    assert len(chosen.records) == audit.member.sum() + 2
    assert wanted[0] not in chosen.population.source_rows


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "must name at least 2 records, one row number on each line; it names 0"),
        ("7\n", "it names 1"),
        ("1\nfive\n", "line 2 of .* must be the row number of a record, from 0 on, got 'five'"),
        ("1\n-2\n", "got '-2'"),
        ("1\n2\n\n1\n", "names record 1 twice, on lines 1 and 4"),
        ("1\n500\n", "names record 500, which clouds does not have: its 120 records are rows 0 to 119"),
        ("1\n99999999999999999999\n", "line 2"),
        ("\n".join(map(str, range(120))), "names every training record; forget fewer"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, text: str, match: str) -> None:
    """Empty, no numbers, twice, unknown, or everything: the line says which."""
    with pytest.raises(InputError, match=match):
        choose_forget_set(named(tmp_path, text), audit_of(tmp_path))


def test_a_file_that_is_missing_and_more_records_than_there_are(tmp_path: Path) -> None:
    """Neither is taken for an empty set."""
    audit = audit_of(tmp_path)
    with pytest.raises(InputError, match="No such file"):
        choose_forget_set(str(tmp_path / "none.txt"), audit)
    with pytest.raises(InputError, match="training records leaves none to train on"):
        choose_forget_set(int(audit.member.sum()), audit)


def test_no_record_of_the_population_may_be_left(tmp_path: Path) -> None:
    """The accuracy of the models is measured there."""
    audit = audit_of(tmp_path)
    text = "\n".join(map(str, audit.population.source_rows))
    with pytest.raises(InputError, match="names every record of the population"):
        choose_forget_set(named(tmp_path, text), audit)
