"""The door for a trained model: what goes in, what comes out, and what is refused."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dpaudit.audits.attack import attack_model
from dpaudit.audits.predictions import attack_predictions, audit_predictions
from dpaudit.audits.references import References
from dpaudit.data.dataset import Dataset
from dpaudit.data.given import Given
from dpaudit.data.queries import Noise
from dpaudit.results.result import result_from_json
from dpaudit.runtime.errors import InputError
from dpaudit.training.trainer import TrainedModel

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(600, 3)).astype(np.float32), RNG.integers(0, 2, 600)
MEMBERS, OTHERS, FURTHER = (X[:200], Y[:200]), (X[200:400], Y[200:400]), (X[400:], Y[400:])


class Memory:
    """A trainer in plain Python: sure of what it has seen, by a margin with noise of its own."""

    def mechanism(self, records: int) -> None:
        return None

    def restore(self, weights: object, dataset: Dataset) -> TrainedModel:
        raise NotImplementedError

    def __call__(self, dataset: Dataset, included: np.ndarray, *, seed: int) -> TrainedModel:  # type: ignore[type-arg]
        seen = {row.tobytes() for row in dataset.features[included]}
        label = {row.tobytes(): int(y) for row, y in zip(dataset.features, dataset.labels, strict=True)}

        def predict(features: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
            rng = np.random.default_rng(seed)
            margin = np.array([1.0 * (row.tobytes() in seen) for row in features]) + rng.normal(0, 1, len(features))
            sign = np.array([2 * label.get(row.tobytes(), 0) - 1 for row in features])
            return np.stack([0 * margin, margin * sign], axis=1)

        return TrainedModel(predict, {})


class Rounded(Memory):
    """The same, which knows a record again from a copy with little noise."""

    def __call__(self, dataset: Dataset, included: np.ndarray, *, seed: int) -> TrainedModel:  # type: ignore[type-arg]
        model = super().__call__(replace(dataset, features=dataset.features.round(2)), included, seed=seed)
        return TrainedModel(lambda features: model.predict(features.round(2)), {})


def target() -> TrainedModel:
    return Memory()(Dataset("all", X, Y), np.arange(600) < 200, seed=99)


def test_a_function_is_enough() -> None:
    """The loss attack's AUC on margins N(1, 1) against N(0, 1) is Φ(1/√2) = 0.760, within four standard errors."""
    result = attack_model(target().predict, MEMBERS, OTHERS, seed=1)
    assert result.membership is not None
    loss = next(one for one in result.membership.attacks if one.attack == "loss")
    assert abs(loss.auc - 0.760) < 4 * loss.auc_standard_error
    skipped = {one.attack: one.reason for one in result.membership.skipped}
    assert "population" in skipped["attack-p"]
    assert "reference" in skipped["lira"]
    assert {one.by for one in loss.slices.found} == {"class", "loss", "classified"}  # type: ignore[union-attr]
    assert result_from_json(result.json(), where="memory") == result


def test_slices_by_columns_of_files(tmp_path: Path) -> None:
    """A column of words is no feature, one of numbers is; both slice members and others as they stand in the files."""
    for name, part in (("in", slice(0, 200)), ("out", slice(200, 400))):
        frame = pd.DataFrame(X[part], columns=["a", "b", "c"])
        frame["town"], frame["label"] = np.array(["here", "there"])[np.arange(200) % 2], Y[part]
        frame.iloc[:150].to_csv(tmp_path / f"{name}.csv", index=False)
    seen = []

    def predict(features: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
        seen.append(features.shape)
        return np.stack([features[:, 0], -features[:, 0]], axis=1)

    files = tmp_path / "in.csv", tmp_path / "out.csv"
    result = attack_model(predict, *files, attacks=["loss"], slices=["town", "a"])
    assert seen[0] == (300, 3)
    assert result.membership is not None
    slices = result.membership.attacks[0].slices
    assert slices is not None
    towns = {part.value: (part.members, part.nonmembers) for part in slices.found if part.by == "town"}
    assert towns == {"here": (75, 75), "there": (75, 75)}
    assert sum(part.members for part in slices.found if part.by == "a") == 150
    with pytest.raises(InputError, match="members have no column 'town'"):
        attack_model(predict, MEMBERS, OTHERS, slices=["town"])


def test_references_serve_the_attacks_that_need_them() -> None:
    """With further data and a trainer every default attack but those on the records' own terms runs."""
    references = References(Memory(), FURTHER, models=8, records=250)
    result = attack_model(target().predict, MEMBERS, OTHERS, references=references, seed=1)
    assert result.membership is not None
    found = {one.attack: one for one in result.membership.attacks}
    assert result.membership.references == 8
    assert found["auto"].version == "base/1"
    assert found["rmia"].auc > 0.7
    assert [one.attack for one in result.membership.skipped] == ["quantile"]  # 100 records are too few for it


@pytest.mark.parametrize("further", [None, FURTHER])
def test_queries_serve_the_attacks_over_several(further: Given | None) -> None:
    """With copies of the records every attack over queries runs, population or none; without any it is refused."""
    attacks = ["ranges", "label-only", "multi-signal-lira"]
    references = References(Rounded(), further, models=8)
    model = Rounded()(Dataset("all", X, Y), np.arange(600) < 200, seed=99).predict
    result = attack_model(
        model, MEMBERS, OTHERS, references=references, attacks=attacks, queries=[Noise(1e-6, copies=2)]
    )
    assert result.membership is not None
    found = {one.attack: one.auc for one in result.membership.attacks}
    assert list(found) == attacks
    assert min(found.values()) > 0.6
    with pytest.raises(InputError, match="needs queries"):
        attack_model(model, MEMBERS, OTHERS, references=references, attacks=["ranges"])


def test_further_data_alone_are_a_population() -> None:
    """Without a recipe nothing is trained, and Attack-P runs."""
    result = attack_model(
        target().predict, MEMBERS, OTHERS, references=References(data=FURTHER), attacks=["attack-p"], seed=1
    )
    assert result.membership is not None
    assert [one.attack for one in result.membership.attacks] == ["attack-p"]


@pytest.mark.long
def test_a_claim_is_judged() -> None:
    """A model that knows its members by heart contradicts a claim of ε = 0.5."""
    outputs = np.where(np.arange(400)[:, None] < 200, [[9.0, 0.0]], [[1.0, 0.0]])
    zeros = np.zeros(200, int)
    result = attack_predictions(
        (outputs[:200], zeros), (outputs[200:], zeros), kind="logits", attacks=["loss"], epsilon=0.5, chosen_by="coin"
    )
    assert result.comparisons[0].verdict == "contradicted"


@pytest.mark.parametrize(
    ("task", "outputs", "labels"),
    [
        ("binary", RNG.normal(size=(40, 1)), RNG.integers(0, 2, 40)),
        ("multilabel", RNG.normal(size=(40, 3)), RNG.integers(0, 2, (40, 3))),
        ("regression", RNG.normal(size=(40, 2)), RNG.normal(size=(40, 2))),
    ],
)
def test_every_task_has_a_door(task, outputs, labels) -> None:  # type: ignore[no-untyped-def]
    """Binary, multi-label and regression predictions are attacked; what does not apply is named."""
    result = attack_predictions(
        (outputs[:20], labels[:20]), (outputs[20:], labels[20:]), task=task, kind="logits", name=task
    )
    assert result.membership is not None
    assert result.membership.attacks[0].attack == "loss"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"nonmembers": MEMBERS}, "must be disjoint, but share 200"),
        ({"nonmembers": (X[200:, :2], Y[200:])}, "same shape"),
        ({"model": lambda x: np.zeros((3, 2))}, "one row for each of 400 records"),
        ({"model": lambda x: np.full((len(x), 2), np.nan)}, "NaN"),
        ({"attacks": ["lira"]}, "reference"),
        ({"attacks": ["los"]}, "Did you mean 'loss'"),
        ({"references": References(data=OTHERS)}, "must be disjoint"),
        ({"references": References({"trainer": "sgd"})}, "needs a model file"),
    ],
)
def test_bad_input_is_one_clear_line(arguments, message) -> None:  # type: ignore[no-untyped-def]
    """Overlaps, shapes, outputs and names are refused with what is wrong."""
    given = {"model": target().predict, "members": MEMBERS, "nonmembers": OTHERS, **arguments}
    with pytest.raises(InputError, match=message):
        attack_model(given.pop("model"), given.pop("members"), given.pop("nonmembers"), **given)


def test_references_are_checked_before_anything_is_trained() -> None:
    """An odd number cannot come in pairs; references without recipe and data are nothing."""
    with pytest.raises(InputError, match="even number from 4 on, got 5"):
        References(Memory(), models=5)
    with pytest.raises(InputError, match="a recipe to train models with"):
        References()


@pytest.mark.tf
def test_a_keras_file_with_a_recipe(tmp_path: Path) -> None:
    """The file's optimizer and learning rate are taken over; the references leak what the target leaks."""
    from dpaudit.runtime.tensorflow import keras
    from dpaudit.training.load_model import load_model
    from dpaudit.training.trainer_of_file import trainer_from

    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(32, "relu"), keras.layers.Dense(2, "softmax")])
    model.compile(keras.optimizers.Adam(0.02), "sparse_categorical_crossentropy")
    model.fit(*MEMBERS, epochs=30, verbose=0)
    model.save(tmp_path / "model.keras")
    recipe = {"trainer": "sgd", "epochs": 30, "batch_size": 32}
    trainer = trainer_from(
        recipe, load_model(tmp_path / "model.keras").settled(MEMBERS[0], task="multiclass"), "multiclass"
    )
    assert (trainer.optimizer, trainer.learning_rate) == ("adam", 0.02)  # type: ignore[attr-defined]
    result = attack_model(
        tmp_path / "model.keras", MEMBERS, OTHERS, references=References(recipe, models=4), attacks=["loss", "base"]
    )
    assert result.membership is not None
    assert result.models[0].utility is not None
    assert result.models[0].trainer.startswith("given model, Keras ")
    assert result.membership.attacks[1].auc > 0.5


def sides(shift: float) -> tuple[tuple[np.ndarray, np.ndarray], ...]:  # type: ignore[type-arg]
    """Members and non-members that differ as data by a shift of one feature."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=(1200, 3)).astype(np.float32)
    x[600:, 0] += shift
    y = rng.integers(0, 2, 1200)
    return (x[:600], y[:600]), (x[600:], y[600:])


@pytest.mark.parametrize(("shift", "verdict"), [(0.0, "consistent"), (1.0, "no verdict")])
@pytest.mark.long
def test_sides_that_differ_as_data_get_no_verdict(shift: float, verdict: str) -> None:
    """A model that leaks nothing but answers by a shifted feature: as data the sides differ, and no bound counts. Of
    sides that do not, one in a thousand is taken for such."""

    def predict(features: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
        return np.stack([features[:, 0], -features[:, 0]], axis=1)

    result = attack_model(predict, *sides(shift), attacks=["entropy"], epsilon=1.0)
    assert result.membership is not None
    assert result.membership.blind is not None
    assert result.membership.duplicates is not None
    assert result.membership.blind.differs is (verdict == "no verdict")
    assert (result.membership.attacks[0].bound is None) is (verdict == "no verdict")
    assert result.comparisons[0].verdict == verdict
    rows = np.concatenate([side[0] for side in sides(shift)])
    labels = np.concatenate([side[1] for side in sides(shift)])
    same = audit_predictions(
        predict(rows), labels, np.arange(1200) < 600, attacks=["entropy"], features=rows, epsilon=1.0
    )
    assert same.comparisons[0].verdict == verdict


@pytest.mark.long
def test_predictions_have_one_door_under_two_names() -> None:
    """The same predictions give the same result, whether they come in one array or in two."""
    rng = np.random.default_rng(0)
    outputs, labels = rng.normal(size=(400, 3)), rng.integers(0, 3, 400)
    more = {"kind": "logits", "epsilon": 1.0, "seed": 4}
    two = attack_predictions((outputs[:300], labels[:300]), (outputs[300:], labels[300:]), **more)  # type: ignore[arg-type]
    one = audit_predictions(outputs, labels, np.arange(400) < 300, attacks=(), **more)  # type: ignore[arg-type]
    assert one.membership == two.membership
    assert one.comparisons == two.comparisons
    assert one.models[0].utility is not None
    assert one.models[0].utility.test == pytest.approx((outputs[300:].argmax(axis=1) == labels[300:]).mean())


def test_a_single_sigmoid_is_told_its_task() -> None:
    """One column of probabilities: the message names the task, with which it goes."""
    p, labels = np.random.default_rng(0).random((100, 1)), np.tile([0, 1], 50)
    with pytest.raises(InputError, match="task 'binary' or 'regression'"):
        audit_predictions(p, labels, np.arange(100) < 50, kind="probabilities")
    result = audit_predictions(p, labels, np.arange(100) < 50, kind="probabilities", task="binary")
    assert result.membership is not None


def test_users_of_records_are_users_of_a_model(tmp_path: Path) -> None:
    """A column of users is no feature and gives one score a user; an attack that is told the truth of some records is
    judged on users of whom it knows none."""
    seen = []

    def predict(features: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
        seen.append(features.shape)
        return np.stack([features[:, 0], -features[:, 0]], axis=1)

    for name, part in (("in", slice(0, 300)), ("out", slice(300, 600))):
        frame = pd.DataFrame(X[part], columns=["a", "b", "c"]).assign(label=Y[part])
        frame["who"] = np.arange(part.start, part.stop) // 3
        frame.to_csv(tmp_path / f"{name}.csv", index=False)
    result = attack_model(predict, tmp_path / "in.csv", tmp_path / "out.csv", attacks=["loss"], users="who")
    assert seen[0] == (600, 3)
    assert result.membership is not None
    (loss,) = result.membership.attacks
    assert (loss.members, loss.nonmembers, loss.slices) == (100, 100, None)
    assert loss.bound is not None
    assert loss.bound.unit == "user"
    with pytest.raises(InputError, match="slices are of records"):
        attack_model(predict, tmp_path / "in.csv", tmp_path / "out.csv", users="who", slices=["a"])
    with pytest.raises(InputError, match="members have no column 'who'"):
        attack_model(predict, MEMBERS, OTHERS, users="who")
    outputs = predict(X)
    told = audit_predictions(
        outputs, Y, np.arange(600) < 300, attacks=["classifier-on-target"], users=np.arange(600) // 3
    )
    assert told.membership is not None
    assert told.membership.attacks[0].members + told.membership.attacks[0].nonmembers < 200


class Wide(Memory):
    """A trainer that keeps how many classes it was asked for, of models with four outputs."""

    def __init__(self) -> None:
        self.asked: set[int] = set()

    def __call__(self, dataset: Dataset, included: np.ndarray, *, seed: int) -> TrainedModel:  # type: ignore[type-arg]
        self.asked.add(dataset.outputs)
        return TrainedModel(four_outputs, {})


def four_outputs(features: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
    return np.random.default_rng(len(features)).normal(size=(len(features), 4))


@pytest.mark.parametrize("where", ["members", "non-members", "reference data", "the model alone"])
def test_references_have_the_classes_of_all_records(where: str) -> None:
    """The only record of class 3 lies on one side, or nowhere but in the model's outputs: references have four."""
    parts = {"members": MEMBERS, "non-members": OTHERS, "reference data": FURTHER}
    if where in parts:
        features, labels = parts[where]
        parts[where] = features, np.array([3, *labels[1:]])
    recipe = Wide()
    references = References(recipe, parts["reference data"], models=4)
    attack_model(four_outputs, parts["members"], parts["non-members"], references=references, attacks=["loss"])
    assert recipe.asked == {4}


def test_words_as_labels_of_a_model() -> None:
    """Words are classes in sorted order when there is one for each output, and the result says so; else refused."""
    words = np.array(["ant", "bee", "cat", "dog"])
    sides = [(x, words[np.arange(len(x)) % 4]) for x, _ in (MEMBERS, OTHERS)]
    result = attack_model(four_outputs, sides[0], sides[1], attacks=["loss"])
    numbers = [(x, np.arange(len(x)) % 4) for x, _ in (MEMBERS, OTHERS)]
    plain = attack_model(four_outputs, numbers[0], numbers[1], attacks=["loss"])
    assert result.membership is not None
    assert plain.membership is not None
    assert result.membership.attacks[0].auc == plain.membership.attacks[0].auc
    said = set(result.membership.caveats) - set(plain.membership.caveats)
    assert said == {"Labels are classes in sorted order: 0 = ant, 1 = bee, 2 = cat, 3 = dog."}
    fewer = [(x, words[np.arange(len(x)) % 3]) for x, _ in (MEMBERS, OTHERS)]
    with pytest.raises(InputError, match="4 outputs and the labels are ant, bee, cat: which output"):
        attack_model(four_outputs, fewer[0], fewer[1], attacks=["loss"])


def test_features_of_other_records_are_counted() -> None:
    """Records behind the predictions, one too many: the message has both numbers."""
    outputs = np.tile([0.4, 0.6], (40, 1)) + np.linspace(0, 0.1, 40)[:, None] * [-1, 1]
    with pytest.raises(InputError, match="features must be of the 40 records predicted, got 41"):
        audit_predictions(
            outputs, [0, 1] * 20, np.arange(40) < 20, kind="probabilities", features=np.zeros((41, 2)), attacks=["loss"]
        )
