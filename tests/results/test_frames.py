"""Results as tables of pandas: the columns that are documented, and the numbers that the result holds."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from dpaudit import audit_predictions, audit_scores, load_result
from dpaudit.results.frames import COLUMNS
from dpaudit.results.record_scores import RecordScores, ScoresBeside
from dpaudit.results.result import Result
from dpaudit.runtime.errors import InputError
from tests.small_audits import gaussian_audit

EARLIER = Path(__file__).parent / "result_of_schema_1.json"


def predictions() -> Result:
    """An audit of logits whose members are surer."""
    rng = np.random.default_rng(1)
    labels, member = rng.integers(0, 3, 400), rng.random(400) < 0.5
    logits = rng.normal(size=(400, 3))
    logits[np.arange(400), labels] += 2.0 * member
    return audit_predictions(logits, labels, member, attacks=["loss", "entropy"], chosen_by="coin", epsilon=1.0)


@pytest.mark.parametrize("name", sorted(COLUMNS))
def test_columns_are_those_that_are_documented(name: str) -> None:
    """Of a result with every table, and of one with almost none, whose tables are empty but have their columns."""
    for result in (load_result(EARLIER), gaussian_audit(0.3, seed=1).model_copy(update={"membership": None})):
        if name == "scores" and result.membership is not None:
            continue  # results of then did not keep them
        columns = list(result.frame(name).columns)
        fixed = [column for column in columns if not column.startswith("tpr@fpr=")]
        assert fixed == [column for column in COLUMNS[name] if "RATE" not in column]


@pytest.mark.long
def test_an_unknown_table_is_answered_with_the_known_ones() -> None:
    """In one line, with the nearest."""
    with pytest.raises(InputError, match=r"'attacks', 'bounds', .* got 'attack'. Did you mean 'attacks'"):
        predictions().frame("attack")


def test_scores_of_records_give_the_auc_that_the_result_states() -> None:
    """scikit-learn's AUC over the table of scores is the attack's."""
    result = predictions()
    table = result.frame("scores")
    for row in result.frame("attacks").itertuples():
        part = table[table["attack"] == row.attack]
        assert len(part) == 400
        assert roc_auc_score(part["member"], part["score"]) == pytest.approx(row.auc, abs=1e-12)


def test_a_bound_says_which_attack_it_is_of() -> None:
    """One row for each attack, with the ε of that attack's own bound."""
    result = predictions()
    found = result.frame("bounds").set_index("attack")["epsilon"]
    assert result.membership is not None
    assert found.to_dict() == {a.attack: a.bound.epsilon for a in result.membership.attacks if a.bound is not None}
    assert len(found) == 2
    every = load_result(EARLIER)
    assert len(every.frame("bounds")) >= sum(len(every.bounds(model.name)) for model in every.models)


def test_users_have_one_score_each() -> None:
    """The mean over the records of a user, under the user's name."""
    scores = [4.0, 2.0, 1.0, 0.0, 5.0, 6.0]
    result = audit_scores(scores, [1, 1, 0, 0, 1, 0], users=["b", "b", "a", "a", "c", "d"], chosen_by="coin")
    table = result.frame("scores").set_index("record")
    assert table["score"].to_dict() == {"a": 0.5, "b": 3.0, "c": 5.0, "d": 6.0}
    assert table["member"].to_dict() == {"a": False, "b": True, "c": True, "d": False}


def test_a_saved_result_is_read_with_its_scores(tmp_path: Path) -> None:
    """Every table is the same after saving and loading, from the folder as from the file."""
    result = predictions()
    result.save(tmp_path / "a")
    for loaded in (load_result(tmp_path / "a"), load_result(tmp_path / "a" / "result.json")):
        assert loaded == result
        for name in COLUMNS:
            assert loaded.frame(name).equals(result.frame(name))
    assert (tmp_path / "a" / "report.html").exists()


@pytest.mark.long
def test_another_result_in_the_folder_is_kept(tmp_path: Path) -> None:
    """It is replaced only where that is asked for; the same result may be saved twice."""
    result = predictions()
    result.save(tmp_path)
    result.save(tmp_path)
    other = gaussian_audit(0.5, seed=2)
    with pytest.raises(InputError, match="holds another result"):
        other.save(tmp_path)
    assert load_result(tmp_path) == result
    other.save(tmp_path, overwrite=True)
    assert load_result(tmp_path).name == other.name
    with pytest.raises(InputError, match="is not there"):  # it keeps no scores, and must not show those of the first
        load_result(tmp_path).frame("scores")


@pytest.mark.long
def test_scores_of_another_result_are_refused(tmp_path: Path) -> None:
    """A file of scores that was moved beside another result is not taken for its own."""
    predictions().save(tmp_path / "a")
    audit_scores([3.0, 1.0, 2.0, 0.0], [1, 0, 1, 0]).save(tmp_path / "b")
    (tmp_path / "b" / "scores.npz").write_bytes((tmp_path / "a" / "scores.npz").read_bytes())
    with pytest.raises(InputError, match="of other attacks"):
        load_result(tmp_path / "b").frame("scores")


def test_arrays_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    """A file with an array missing or of another shape names it."""
    np.savez(tmp_path / "x.npz", record=np.arange(3), member=np.ones(3, bool), model=["m"], attack=["a"])
    with pytest.raises(InputError, match="no array 'score'"):
        RecordScores.read(tmp_path / "x.npz")
    held = RecordScores(np.arange(3), np.ones(3, bool), ("m",), ("a",), np.zeros((1, 4)), np.ones((1, 3), bool))
    held.write(tmp_path / "x.npz")
    with pytest.raises(InputError, match=r"shape \(1, 3\)"):
        RecordScores.read(tmp_path / "x.npz")
    assert not ScoresBeside(path=tmp_path / "nothing.npz").known
