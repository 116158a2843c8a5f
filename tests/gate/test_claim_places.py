"""The line of a claim is that of its table in the file."""

from pathlib import Path

import pytest

from dpaudit.gate.claim_places import claim_places
from dpaudit.gate.claims_file import claims_from, load_claims

ONE = 'id = "ID"\nkind = "ceiling"\nmetric = "auc"\nmax = 0.6\n'


def test_each_claim_has_the_line_of_its_table(tmp_path: Path) -> None:
    """Comments, blank lines, spaces and a comment behind the header make no difference."""
    path = tmp_path / "claims.toml"
    path.write_text(
        "# claims\n\n[[claim]]\n" + ONE.replace("ID", "a") + "\n[[ claim ]] # two\n" + ONE.replace("ID", "b")
    )
    places = [claim.place for claim in load_claims(path).claim]
    assert [place.line for place in places if place is not None] == [3, 9]
    assert {place.file for place in places if place is not None} == {path.as_posix()}


def test_in_a_pyproject_too(tmp_path: Path) -> None:
    """Under `[[tool.dpaudit.claim]]`."""
    path = tmp_path / "pyproject.toml"
    path.write_text('[project]\nname = "x"\n\n[[tool.dpaudit.claim]]\n' + ONE)
    (claim,) = load_claims(path).claim
    assert claim.place is not None
    assert claim.place.line == 4


@pytest.mark.parametrize("text", ['claim = [{id = "a"}, {id = "b"}]', 'note = """\n[[claim]]\n"""\nclaim = [{}, {}]'])
def test_claims_in_one_line_are_marked_at_the_start_of_the_file(text: str) -> None:
    """No line is guessed where the headers are not as many as the claims."""
    assert [place.line for place in claim_places(text, "claims.toml", 2)] == [1, 1]


def test_where_a_claim_stands_is_no_part_of_what_it_claims(tmp_path: Path) -> None:
    """It is no key of the file, and a claim that was not read from a file has none."""
    made = claims_from({"claim": [{"id": "a", "kind": "ceiling", "metric": "auc", "max": 0.6}]})
    assert made.claim[0].place is None
    assert "place" not in made.claim[0].model_dump()
