"""An experiment on a training: what leaks is found, what does not is not accused, and no row is joined by its place."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dpaudit.audits.experiment.audit import audit_experiment
from dpaudit.audits.experiment.planted import plant_canaries
from dpaudit.audits.experiment.sealed import open_experiment
from dpaudit.audits.experiment.split import split_data
from dpaudit.data.member_choice import Coins
from dpaudit.runtime.errors import InputError
from tests.audits.experiment.small import experiment, predictions, table


@pytest.mark.long
def test_a_leak_is_found_and_nothing_else(tmp_path: Path) -> None:
    """Members answered far better contradict ε = 2; predictions that know nothing of them do not."""
    made = experiment(tmp_path)
    leaking = audit_experiment(made, predictions(made, leak=8.0), epsilon=2.0)
    assert leaking.comparisons[0].verdict == "contradicted"
    assert leaking.membership is not None
    assert leaking.membership.chosen == Coins(0.5)
    assert leaking.data.fingerprint == made.manifest.source_sha256
    assert made.manifest.inclusion_sha256[:12] in leaking.comparisons[0].sentence
    assert audit_experiment(made, predictions(made, leak=0.0), epsilon=2.0).comparisons[0].verdict == "consistent"


@pytest.mark.long
def test_order_and_number_of_files_do_not_matter(tmp_path: Path) -> None:
    """One file, two files, another order and a data frame give the very same bounds, where the model has one name."""
    made = experiment(tmp_path)
    whole = predictions(made, leak=3.0)
    whole.to_csv(tmp_path / "p.csv", index=False)
    whole[:200][["no", made.manifest.id, "yes"]].to_csv(tmp_path / "a.csv", index=False)
    whole[200:].to_parquet(tmp_path / "b.parquet")
    outputs = whole[["no", "yes"]].to_numpy()
    ids = whole[made.manifest.id].to_numpy(str)
    np.savez(tmp_path / "p.npz", outputs=outputs, classes=np.array(["no", "yes"]), dpaudit_id=ids)
    given: list[Any] = [
        whole.sort_values("yes"),
        tmp_path / "p.csv",
        [tmp_path / "b.parquet", tmp_path / "a.csv"],
        tmp_path / "p.npz",
    ]
    found = [audit_experiment(tmp_path / "e", each, epsilon=1.0, name="m").membership for each in given]
    measured = {tuple((one.auc, one.bound.epsilon) for one in each.attacks if one.bound) for each in found if each}
    assert len(measured) == 1


@pytest.mark.long
def test_users(tmp_path: Path) -> None:
    """Where users were included the bound is about users, and all records of a user lie on one side."""
    made = experiment(tmp_path, user="who")
    sides = [set(pd.read_csv(path)["who"]) for path in (made.train, made.heldout)]
    assert sides[0].isdisjoint(sides[1])
    result = audit_experiment(made, predictions(made, leak=8.0), epsilon=1.0)
    assert result.unit == "user"
    assert result.membership is not None
    assert result.membership.attacks[0].members == made.units_included == len(sides[0])
    assert result.comparisons[0].verdict == "contradicted"


@pytest.mark.parametrize("share", [0.3, 0.8])
@pytest.mark.long
def test_other_shares(share: float, tmp_path: Path) -> None:
    """The probability of inclusion is the one of the experiment, and the bound uses it."""
    table().to_csv(tmp_path / "d.csv", index=False)
    made = split_data(tmp_path / "d.csv", tmp_path / "e", share=share, seed=3)
    result = audit_experiment(made, predictions(made, leak=8.0), epsilon=1.0)
    assert result.membership is not None
    assert result.membership.chosen == Coins(share)
    assert result.comparisons[0].verdict == "contradicted"
    assert audit_experiment(made, predictions(made, leak=0.0), epsilon=1.0).comparisons[0].verdict == "consistent"


@pytest.mark.parametrize("name", ["loss", "score"])
@pytest.mark.long
def test_one_number_a_record(name: str, tmp_path: Path) -> None:
    """A column of losses is low for members and one of scores high: both are read by their name."""
    made = experiment(tmp_path)
    rng = np.random.default_rng(1)
    score = rng.normal(size=len(made.ids)) + 6 * made.included
    given = pd.DataFrame({made.manifest.id: made.ids, name: -score if name == "loss" else score})
    result = audit_experiment(made, given, epsilon=1.0)
    assert result.membership is not None
    assert result.membership.attacks[0].auc > 0.9
    assert result.comparisons[0].verdict == "contradicted"


def test_labels_of_the_predictions_and_slices(tmp_path: Path) -> None:
    """Predictions may bring labels of their own, and columns to slice by; further ones are left out by name."""
    made = experiment(tmp_path)
    assert made.labels is not None
    given = pd.DataFrame({made.manifest.id: made.ids})
    given["truth"] = (made.labels == "yes").astype(int)
    given["0"] = np.random.default_rng(0).random(len(given))
    given["1"] = 1 - given["0"]
    given["town"] = np.where(np.arange(len(given)) % 2, "here", "there")
    given["size"] = 2.5
    result = audit_experiment(made, given, label="truth", slices=["town"], drop=["size"])
    assert result.membership is not None
    slices = result.membership.attacks[0].slices
    assert slices is not None
    assert {part.value for part in slices.found if part.by == "town"} == {"here", "there"}


def changed(made: Any, name: str, change: Callable[[str], str]) -> None:
    path = made.folder / name
    path.write_text(change(path.read_text()))


@pytest.mark.long
def test_what_was_changed_is_refused(tmp_path: Path) -> None:
    """Inclusions, their probability, the training data: each in one line; data that are gone are said."""
    made = experiment(tmp_path)
    given = predictions(made, leak=0.0)
    for name, change, message in [
        ("inclusion.csv", lambda text: text.replace(",0,no", ",1,no", 1), r"inclusion.csv is not the file .* sealed"),
        ("experiment.json", lambda text: text.replace('"share": 0.5', '"share": 0.9'), "not those that share 0.9"),
        ("experiment.json", lambda text: text.replace('"seed": 1', '"seed": 2'), "and seed 2 of"),
        ("experiment.json", lambda text: text.replace('"seed"', '"sead"'), "sead: this key is not known"),
        ("train.csv", lambda text: text.replace("0", "1", 1), "train.csv was changed since"),
        ("heldout.csv", lambda text: "\n".join(text.splitlines()[:-1]), "heldout.csv was changed since"),
    ]:
        before = (made.folder / name).read_bytes()
        changed(made, name, change)
        with pytest.raises(InputError, match=message) as error:
            audit_experiment(made.folder, given)
        assert "\n" not in str(error.value)
        (made.folder / name).write_bytes(before)
    (made.folder / "train.csv").unlink()
    result = audit_experiment(made.folder, given, epsilon=1.0)
    assert "train.csv is no longer in the folder" in result.comparisons[0].sentence
    with pytest.raises(InputError, match=r"holds no experiment\.json"):
        open_experiment(tmp_path)


def test_inclusions_of_another_data_set(tmp_path: Path) -> None:
    """A sealed file that was put beside another manifest is refused, with its own manifest too if ids are others."""
    made = experiment(tmp_path)
    table(seed=5).to_csv(tmp_path / "other.csv", index=False)
    other = split_data(tmp_path / "other.csv", tmp_path / "o", seed=1)
    with pytest.raises(InputError, match="no id in predictions is one of this experiment"):
        audit_experiment(other, predictions(made, leak=0.0))
    shutil.copy(other.folder / "inclusion.csv", made.folder / "inclusion.csv")
    with pytest.raises(InputError, match="belongs to another experiment"):
        audit_experiment(made.folder, predictions(made, leak=0.0))
    again = split_data(tmp_path / "data.csv", tmp_path / "again", seed=2)  # the same data, other inclusions
    with pytest.raises(InputError, match="no id in predictions is one of this experiment"):
        audit_experiment(again, predictions(made, leak=0.0))


def test_rows_that_are_missing_or_too_many(tmp_path: Path) -> None:
    """Every audited record once: what is missing, repeated or unknown is refused with an example."""
    made = experiment(tmp_path, user="who")
    given = predictions(made, leak=0.0)
    first = made.ids[0]
    with pytest.raises(InputError, match=rf"lacks 1 of 600 audited records, such as {first}"):
        audit_experiment(made, given[given["dpaudit_id"] != first])
    assert made.users is not None
    without = given[~given["dpaudit_id"].isin(made.ids[made.users == made.users[0]])]
    users = np.unique(made.users).size
    with pytest.raises(InputError, match=rf"all records of 1 of {users} users, such as {made.users[0]}"):
        audit_experiment(made, without)
    with pytest.raises(InputError, match="600 row\\(s\\) too many"):
        audit_experiment(made, pd.concat([given, given]))
    strange = given.assign(dpaudit_id=given["dpaudit_id"].where(given["dpaudit_id"] != first, "x-1"))
    with pytest.raises(InputError, match="lacks 1 of 600"):
        audit_experiment(made, strange)
    with pytest.raises(InputError, match="1 id\\(s\\) that this experiment does not know, such as 'x-1'"):
        audit_experiment(made, pd.concat([given, strange[strange["dpaudit_id"] == "x-1"]]))
    with pytest.raises(InputError, match="no column 'dpaudit_id' with the ids"):
        audit_experiment(made, given.drop(columns="dpaudit_id"))
    with pytest.raises(InputError, match="lacks 1 of 600 values"):
        audit_experiment(made, given.assign(dpaudit_id=given["dpaudit_id"].where(given["dpaudit_id"] != first)))


def test_what_does_not_fit_together(tmp_path: Path) -> None:
    """Predictions and a model, neither, references without a model, no outputs, attacks on a single column."""
    made = experiment(tmp_path)
    given = predictions(made, leak=0.0)
    with pytest.raises(InputError, match="give either predictions"):
        audit_experiment(made)
    with pytest.raises(InputError, match="give either predictions"):
        audit_experiment(made, given, model=lambda x: x)
    with pytest.raises(InputError, match="no outputs beside 'dpaudit_id'"):
        audit_experiment(made, given[["dpaudit_id"]])
    with pytest.raises(InputError, match="leave --attack and --slice out"):
        audit_experiment(made, given[["dpaudit_id"]].assign(loss=1.0), attacks=["loss"])
    np.savez(tmp_path / "wide.npz", outputs=np.zeros((600, 2)), dpaudit_id=made.ids, hot=np.zeros((600, 2)))
    with pytest.raises(InputError, match=r"array 'hot' has shape \(600, 2\); beside outputs there is one value"):
        audit_experiment(made, tmp_path / "wide.npz")
    np.savez(tmp_path / "none.npz", outputs=np.zeros((600, 2)))
    with pytest.raises(InputError, match="no array 'dpaudit_id'; it has outputs"):
        audit_experiment(made, tmp_path / "none.npz")
    given.to_csv(tmp_path / "p.txt")
    with pytest.raises(InputError, match=r"must end in \.csv"):
        audit_experiment(made, tmp_path / "p.txt")


@pytest.mark.long
def test_a_model_that_was_trained_on_all_is_said(tmp_path: Path) -> None:
    """Labels without any reason, all of them known: a forest answers half of them, so the result doubts it.

    A model that answers no better than it should is not doubted.
    """
    made = experiment(tmp_path, records=1000)
    assert made.labels is not None
    given = pd.DataFrame({"dpaudit_id": made.ids, "yes": np.where(made.labels == "yes", 0.99, 0.01)})
    given["no"] = 1 - given["yes"]
    given["yes"] += np.random.default_rng(0).normal(0, 1e-4, len(given))
    result = audit_experiment(made, given, epsilon=1.0)
    assert result.comparisons[0].verdict == "consistent"
    assert "see that heldout.csv was not trained on" in result.comparisons[0].sentence
    assert "see that" not in audit_experiment(made, predictions(made, leak=0.0), epsilon=1.0).comparisons[0].sentence


@pytest.mark.long
def test_canaries(tmp_path: Path) -> None:
    """Canaries are judged, and other rows of the predictions are left out."""
    rng = np.random.default_rng(0)
    frame = table(900)
    frame["label"] = rng.choice(["a", "b", "c", "d"], 900)
    frame.to_csv(tmp_path / "d.csv", index=False)
    made = plant_canaries(tmp_path / "d.csv", tmp_path / "e", kind="mislabelled", count=400, seed=1)
    assert made.labels is not None
    ids = np.concatenate([made.ids, [f"x-{number}" for number in range(50)]])
    p = np.full((450, 4), 0.25)
    truth = np.searchsorted(["a", "b", "c", "d"], made.labels)
    p[:400][made.included, truth[made.included]] = 5.0
    p += 0.01 * rng.random(p.shape)
    p /= p.sum(axis=1, keepdims=True)
    given = pd.DataFrame(p, columns=["a", "b", "c", "d"]).assign(dpaudit_id=ids)
    result = audit_experiment(made, given, epsilon=1.0)
    assert result.comparisons[0].verdict == "contradicted"
    assert result.data.records == 400
    assert "50 rows of predictions are no canaries" in result.comparisons[0].sentence


def test_a_model_that_knows_held_out_canaries_is_refused(tmp_path: Path) -> None:
    """A wrong label drawn among four is guessed rightly by one in three: all of them right is no guess."""
    rng = np.random.default_rng(0)
    frame = table(900).assign(label=rng.choice(["a", "b", "c", "d", "e"], 900))
    frame.to_csv(tmp_path / "d.csv", index=False)
    made = plant_canaries(tmp_path / "d.csv", tmp_path / "e", kind="mislabelled", count=200, seed=1)
    assert made.labels is not None
    p = np.full((200, 5), 0.1)
    p[np.arange(200), np.searchsorted(["a", "b", "c", "d", "e"], made.labels)] = 0.6
    given = pd.DataFrame(p + 0.001 * rng.random(p.shape), columns=list("abcde"))
    given = given.div(given.sum(axis=1), axis=0).assign(dpaudit_id=made.ids)
    with pytest.raises(InputError, match=r"trained on the held-out canaries too\. Train it on train\.csv alone"):
        audit_experiment(made, given)


@pytest.mark.long
def test_wrong_labels_of_two_classes_are_only_said(tmp_path: Path) -> None:
    """Of two classes the wrong one is no draw: a model that knows it for held-out canaries is doubted, not refused."""
    frame = table(900)
    frame.to_csv(tmp_path / "d.csv", index=False)
    made = plant_canaries(tmp_path / "d.csv", tmp_path / "e", kind="mislabelled", count=200, seed=1)
    assert made.labels is not None
    sure = np.random.default_rng(0).uniform(0.6, 0.9, 200)
    for wrong, doubted in ((True, True), (False, False)):
        yes = np.where((made.labels == "yes") == wrong, sure, 1 - sure)
        given = pd.DataFrame({"dpaudit_id": made.ids, "yes": yes, "no": 1 - yes})
        sentence = audit_experiment(made, given, epsilon=1.0).comparisons[0].sentence
        assert ("held-out canaries with their wrong labels: see that heldout.csv" in sentence) is doubted
        assert "training records" not in sentence


@pytest.mark.long
def test_a_model_in_place_of_predictions(tmp_path: Path) -> None:
    """A function is asked about the records of both files, found by id; membership comes from the inclusions."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(500, 3)).astype(np.float32)
    np.savez(tmp_path / "d.npz", features=features, labels=rng.integers(0, 2, 500))
    made = split_data(tmp_path / "d.npz", tmp_path / "e", seed=1)
    known = {row.tobytes() for row in np.load(made.train)["features"]}

    def predict(asked: Any) -> Any:
        seen = np.array([row.tobytes() in known for row in asked])
        return np.where(seen[:, None], 6.0, 0.5) * rng.normal(size=(len(asked), 2))

    result = audit_experiment(made, model=predict, attacks=["confidence"], epsilon=1.0)
    assert result.comparisons[0].verdict == "contradicted"
    frame = pd.DataFrame(features, columns=["a", "b", "c"]).assign(label=rng.integers(0, 2, 500))
    frame.to_csv(tmp_path / "d.csv", index=False)
    made = split_data(tmp_path / "d.csv", tmp_path / "f", seed=1)
    plain = audit_experiment(made, model=lambda asked: asked[:, :2], attacks=["loss"], epsilon=1.0)
    assert plain.comparisons[0].verdict == "consistent"
    made.train.unlink()
    with pytest.raises(InputError, match=r"train\.csv is gone"):
        audit_experiment(tmp_path / "f", model=lambda asked: asked)


def test_the_manifest_is_whole(tmp_path: Path) -> None:
    """What a reader needs to check an experiment by hand: share, seed, unit and four fingerprints."""
    made = experiment(tmp_path)
    said = json.loads((made.folder / "experiment.json").read_text())
    assert said["share"] == 0.5
    assert said["seed"] == 1
    assert said["unit"] == "record"
    assert [len(said[f"{name}_sha256"]) for name in ("source", "train", "heldout", "inclusion")] == [64] * 4
