"""ONNX files: what they take, what their outputs are, which output is which class, what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dpaudit.audits.attack import attack_model
from dpaudit.data.dataset import Dataset
from dpaudit.runtime.errors import InputError, MissingDependency
from dpaudit.training.given_model import EXPORT, load_given
from dpaudit.training.onnx_model import OnnxModel, load_onnx

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
helper, numbers = onnx.helper, onnx.TensorProto

RNG = np.random.default_rng(0)
X = RNG.normal(size=(600, 3)).astype(np.float32)
WEIGHTS = RNG.normal(size=(3, 3)).astype(np.float32)
Y = (X @ WEIGHTS + RNG.normal(size=(600, 3))).argmax(axis=1)
IN, OUT = slice(0, 300), slice(300, 600)


def value(name: str, kind: int, *shape: int | str | None) -> Any:
    return helper.make_tensor_value_info(name, kind, list(shape))


def write(path: Path, nodes: list[Any], inputs: list[Any], outputs: list[Any], *domains: str) -> Path:
    weights = onnx.numpy_helper.from_array(WEIGHTS, "weights")
    graph = helper.make_graph(nodes, "model", inputs, outputs, [weights])
    sets = [helper.make_opsetid(domain, version) for domain, version in (("", 17), *((one, 3) for one in domains))]
    path.write_bytes(helper.make_model(graph, opset_imports=sets, ir_version=8).SerializeToString())
    return path


def linear(path: Path, *, last: str | None = None, batch: int | str = "N", further: tuple[Any, ...] = ()) -> Path:
    """Outputs X @ WEIGHTS, or their softmax; ``further`` are nodes and outputs behind them."""
    nodes = [
        helper.make_node("MatMul", ["x", "weights"], ["raw"]),
        helper.make_node(last or "Identity", ["raw"], ["y"]),
    ]
    more, outputs = further or ([], [])
    return write(
        path,
        nodes + more,
        [value("x", numbers.FLOAT, batch, 3)],
        [value("y", numbers.FLOAT, batch, 3), *outputs],
        "ai.onnx.ml",
    )


def auc(result: Any) -> float:
    return float(result.membership.attacks[0].auc)


def attack(model: object, labels: Any = Y, **more: Any) -> Any:
    return attack_model(model, (X[IN], labels[IN]), (X[OUT], labels[OUT]), attacks=["loss"], **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("last", [None, "Softmax"])
@pytest.mark.parametrize("batch", ["N", 7])
def test_it_is_attacked_like_the_same_function(tmp_path: Path, last: str | None, batch: int | str) -> None:
    """Logits and probabilities, any batch size and a fixed one that 600 does not divide by: AUC as by numpy."""
    got = attack(str(linear(tmp_path / "m.onnx", last=last, batch=batch)))
    assert auc(got) == pytest.approx(auc(attack(lambda x: x @ WEIGHTS)), abs=1e-6)
    assert got.models[0].trainer == "given model, ONNX"
    said = [note for note in got.membership.caveats if "takes 7 records" in note]
    assert bool(said) == (batch == 7)
    assert got.models[0].utility.train == pytest.approx(((X @ WEIGHTS).argmax(axis=1) == Y)[IN].mean())


def test_half_precision_is_taken(tmp_path: Path) -> None:
    """Inputs and outputs of float16 give the AUC of numpy to three digits of the outputs."""
    nodes = [
        helper.make_node("Cast", ["x"], ["full"], to=numbers.FLOAT),
        helper.make_node("MatMul", ["full", "weights"], ["raw"]),
        helper.make_node("Cast", ["raw"], ["y"], to=numbers.FLOAT16),
    ]
    half = [value("x", numbers.FLOAT16, "N", 3)], [value("y", numbers.FLOAT16, "N", 3)]
    path = write(tmp_path / "half.onnx", nodes, *half)
    assert auc(attack(str(path))) == pytest.approx(auc(attack(lambda x: x @ WEIGHTS)), abs=2e-3)


NAMES = np.array(["tall red", "blue", "c 3"])  # in no order


def named(path: Path, how: str) -> Path:
    """A model of three classes with names, as scikit-learn's exporter writes them."""
    label = [
        helper.make_node("ArgMax", ["raw"], ["top"], axis=1, keepdims=0),
        helper.make_node(
            "LabelEncoder", ["top"], ["label"], domain="ai.onnx.ml", keys_int64s=[0, 1, 2], values_strings=list(NAMES)
        ),
    ]
    outputs = [value("label", numbers.STRING, "N")]
    if how == "tensor":
        return linear(path, last="Softmax", further=(label, outputs))
    table = helper.make_node("ZipMap", ["y"], ["map"], domain="ai.onnx.ml", classlabels_strings=list(NAMES))
    kind = helper.make_sequence_type_proto(
        helper.make_map_type_proto(numbers.STRING, helper.make_tensor_type_proto(numbers.FLOAT, []))
    )
    nodes = [helper.make_node("MatMul", ["x", "weights"], ["raw"]), helper.make_node("Softmax", ["raw"], ["y"])]
    outs = [*outputs, helper.make_value_info("map", kind)]
    return write(path, [*nodes, *label, table], [value("x", numbers.FLOAT, "N", 3)], outs, "ai.onnx.ml")


@pytest.mark.parametrize("how", ["tensor", "map"])
def test_outputs_are_classes_by_name(tmp_path: Path, how: str) -> None:
    """Class names that are in no order, in the keys of a map or only in the model's answers: the AUC of numpy."""
    words = NAMES[Y]
    got = attack(str(named(tmp_path / "m.onnx", how)), words)
    assert auc(got) == pytest.approx(auc(attack(lambda x: x @ WEIGHTS)), abs=1e-6)
    assert got.models[0].utility.train == pytest.approx(((X @ WEIGHTS).argmax(axis=1) == Y)[IN].mean())


@pytest.mark.parametrize("how", ["tensor", "map"])
def test_a_label_that_the_model_lacks_is_refused(tmp_path: Path, how: str) -> None:
    """A class of the records that is none of the model's: one line names it."""
    words = np.where(np.arange(600) % 50 == 0, "green", NAMES[Y])
    with pytest.raises(InputError, match=r"has no class 'green'|which output of .* is which class is not known"):
        attack(str(named(tmp_path / "m.onnx", how)), words)


def mixed(path: Path) -> Path:
    """Inputs of words, whole numbers and fractions, a column each: score = code of town + kids + age for class 1."""
    nodes = [
        helper.make_node(
            "LabelEncoder",
            ["home_town"],
            ["town"],
            domain="ai.onnx.ml",
            keys_strings=["Oslo", "New York"],
            values_floats=[-1.0, 1.0],
        ),
        helper.make_node("Cast", ["kids"], ["count"], to=numbers.FLOAT),
        helper.make_node("Sum", ["town", "count", "age"], ["one"]),
        helper.make_node("Neg", ["one"], ["zero"]),
        helper.make_node("Concat", ["zero", "one"], ["y"], axis=1),
    ]
    inputs = [
        value("age", numbers.FLOAT, "N", 1),
        value("home_town", numbers.STRING, "N", 1),
        value("kids", numbers.INT64, "N", 1),
    ]
    return write(path, nodes, inputs, [value("y", numbers.FLOAT, "N", 2)], "ai.onnx.ml")


def people() -> pd.DataFrame:
    rng = np.random.default_rng(3)
    table: pd.DataFrame = pd.DataFrame(
        {
            "kids": rng.integers(0, 4, 400),
            "home town": rng.choice(["Oslo", "New York"], 400),
            "age": rng.normal(size=400).round(4),
            "label": rng.integers(0, 2, 400),
            "group": rng.choice(["a", "b"], 400),
        }
    )
    return table


def test_inputs_are_columns_by_name(tmp_path: Path) -> None:
    """Words, whole numbers and fractions, in another order than the model's inputs: outputs as computed by hand."""
    table = people()
    table[:200].to_csv(tmp_path / "in.csv", index=False)
    table[200:].to_parquet(tmp_path / "out.parquet", index=False)
    got = attack_model(
        mixed(tmp_path / "m.onnx"), tmp_path / "in.csv", tmp_path / "out.parquet", attacks=["loss"], slices=["group"]
    )
    score = np.where(table["home town"] == "Oslo", -1.0, 1.0) + table["kids"] + table["age"]
    inside, outside = np.split(np.where(table["label"] == 1, score, -score), 2)
    expected = ((inside[:, None] > outside).mean() + (inside[:, None] >= outside).mean()) / 2
    assert auc(got) == pytest.approx(expected, abs=1e-4)
    assert got.membership is not None
    assert {part.by for part in got.membership.attacks[0].slices.found} >= {"group"}  # type: ignore[union-attr]
    assert not any("named like no input" in note for note in got.membership.caveats)


def test_what_looks_at_the_records_sees_words(tmp_path: Path) -> None:
    """Words become numbers in the order of reading, which tells members apart: a look at the data sees words."""
    model = load_onnx(mixed(tmp_path / "m.onnx"))
    table = people().drop(columns=["group"])
    read = model.inputs.dataset((table.drop(columns=["label"]), table["label"]), "members", "multiclass")
    shown = model.inputs.readable(read.features)
    assert shown.iloc[:, 1].tolist() == table["home town"].tolist()
    assert list(model.inputs.arrays(read.features)) == ["age", "home_town", "kids"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop(columns="age"), "nothing named like input 'age'"),
        (lambda t: t.assign(age="old"), "'age' holds words"),
        (lambda t: t.assign(kids=t["kids"] + 0.5), "'kids' of the model takes whole numbers"),
        (lambda t: t.assign(**{"home town": [None, *t["home town"][1:]]}), "'home_town' of .* lacks values"),
    ],
)
def test_columns_that_do_not_fit_are_named(tmp_path: Path, change: Any, message: str) -> None:
    """A missing column, words for numbers, fractions for whole numbers, a gap among words: one line each."""
    table = change(people().drop(columns="group"))
    table[:200].to_csv(tmp_path / "in.csv", index=False)
    table[200:].to_csv(tmp_path / "out.csv", index=False)
    with pytest.raises(InputError, match=message):
        attack_model(mixed(tmp_path / "m.onnx"), tmp_path / "in.csv", tmp_path / "out.csv")


def test_arrays_by_name(tmp_path: Path) -> None:
    """Two inputs of numbers from an NPZ file with an array each, and from a dict: the AUC of numpy."""
    nodes = [
        helper.make_node("Concat", ["left", "right"], ["x"], axis=1),
        helper.make_node("MatMul", ["x", "weights"], ["y"]),
    ]
    inputs = [value("left", numbers.FLOAT, "N", 2), value("right", numbers.DOUBLE, "N", 1)]
    nodes.insert(0, helper.make_node("Cast", ["right"], ["r"], to=numbers.FLOAT))
    nodes[1] = helper.make_node("Concat", ["left", "r"], ["x"], axis=1)
    path = write(tmp_path / "two.onnx", nodes, inputs, [value("y", numbers.FLOAT, "N", 3)])
    np.savez(tmp_path / "in.npz", left=X[IN, :2], right=X[IN, 2:], labels=Y[IN])
    other = {"left": X[OUT, :2], "right": X[OUT, 2:]}, Y[OUT]
    got = attack_model(path, tmp_path / "in.npz", other, attacks=["loss"])  # type: ignore[arg-type]  # a table of arrays
    assert auc(got) == pytest.approx(auc(attack(lambda x: x @ WEIGHTS)), abs=1e-6)
    with pytest.raises(InputError, match=r"2 inputs \(left, right\)"):
        attack(path)


def test_other_shapes_are_refused(tmp_path: Path) -> None:
    """Records of another width, more than one output of scores, outputs of three axes: one line each."""
    path = linear(tmp_path / "m.onnx")
    with pytest.raises(InputError, match=r"takes records of shape \(3\), and members have \(2\)"):
        attack_model(path, (X[IN, :2], Y[IN]), (X[OUT, :2], Y[OUT]))
    two = linear(tmp_path / "two.onnx", further=([], [value("raw", numbers.FLOAT, "N", 3)]))
    with pytest.raises(InputError, match="2 outputs of one row of scores"):
        load_onnx(two)
    wide = write(
        tmp_path / "wide.onnx",
        [helper.make_node("MatMul", ["x", "weights"], ["y"])],
        [value("x", numbers.FLOAT, "N", 4, 3)],
        [value("y", numbers.FLOAT, "N", 4, 3)],
    )
    with pytest.raises(InputError, match="0 outputs of one row of scores"):
        load_onnx(wide)


def test_what_is_no_onnx_model_is_refused(tmp_path: Path) -> None:
    """No such file, other bytes, an operator of somebody's own: one line each, which names it."""
    with pytest.raises(InputError, match="no such file"):
        load_onnx(tmp_path / "none.onnx")
    (tmp_path / "junk.onnx").write_bytes(b"no model" * 99)
    with pytest.raises(InputError, match="cannot be read as an ONNX model"):
        load_onnx(tmp_path / "junk.onnx")
    own = write(
        tmp_path / "own.onnx",
        [helper.make_node("Leak", ["x"], ["y"], domain="my.ops")],
        [value("x", numbers.FLOAT, "N", 3)],
        [value("y", numbers.FLOAT, "N", 3)],
        "my.ops",
    )
    with pytest.raises(InputError, match=r"'Leak' of 'my\.ops', which is not part of ONNX"):
        load_onnx(own)


def test_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without ONNX Runtime the message holds the command that installs it."""
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(MissingDependency, match=r"pip install 'dpaudit\[onnx\]'"):
        load_onnx(linear(tmp_path / "m.onnx"))


def test_tasks_are_read_from_the_outputs(tmp_path: Path) -> None:
    """One output is one of two classes, several are classes, and where the model answers several labels, labels."""
    one = write(
        tmp_path / "one.onnx",
        [helper.make_node("ReduceSum", ["x"], ["y"], keepdims=1)],
        [value("x", numbers.FLOAT, "N", 3)],
        [value("y", numbers.FLOAT, "N", 1)],
    )
    signs = [
        helper.make_node("Sign", ["raw"], ["sign"]),
        helper.make_node("Cast", ["sign"], ["label"], to=numbers.INT64),
    ]
    several = linear(tmp_path / "several.onnx", further=(signs, [value("label", numbers.INT64, "N", 3)]))
    assert [load_onnx(path).task for path in (one, linear(tmp_path / "m.onnx"), several)] == [
        "binary", "multiclass", "multilabel",
    ]  # fmt: skip
    truth = (X > 0).astype(int)
    got = attack(several, truth)
    margin = np.where(truth == 1, X @ WEIGHTS, -(X @ WEIGHTS))
    loss = np.logaddexp(0, -margin).sum(axis=1)
    assert auc(got) == pytest.approx((loss[IN, None] < loss[OUT]).mean(), abs=1e-4)


def test_each_file_says_how_to_export() -> None:
    """A file of weights or of code is refused with the exporter's name; an unknown one with what is taken."""
    for suffix in EXPORT:
        with pytest.raises(InputError, match=r"is not loaded\. Export the model with .* and give --model model\.onnx"):
            load_given(Path(f"net{suffix.upper()}"))
    with pytest.raises(InputError, match=r"an ONNX model \(\.onnx\)"):
        load_given(Path("net.foo"))


def test_records_of_a_data_set_stay_as_they_are(tmp_path: Path) -> None:
    """A data set goes through unchanged for a model of one input of numbers."""
    model = load_given(linear(tmp_path / "m.onnx"))
    assert isinstance(model, OnnxModel)
    data = Dataset("given", X, Y)
    assert model.inputs.dataset(data, "members", "multiclass") is data
