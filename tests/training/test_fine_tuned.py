"""Start weights from a file: models begin with them, frozen layers keep their bits, what does not fit is refused."""

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dpaudit.data.dataset import Dataset
from dpaudit.engine.adapter import Adapter
from dpaudit.runtime.errors import InputError
from dpaudit.training.architecture import Mlp
from dpaudit.training.decoder import Decoder
from dpaudit.training.dp_sgd import DpSgd
from dpaudit.training.fine_tuned import FineTuned
from dpaudit.training.reference_models.store import describe_value
from dpaudit.training.sgd import Sgd
from dpaudit.training.start_weights import read_safetensors

pytestmark = pytest.mark.tf
SMALL = Mlp((4,))
SHAPE = ((3,), 2)
NAMES = ("dense_0/kernel", "dense_0/bias", "head/kernel", "head/bias")
SIZES = ((3, 4), (4,), (4, 2), (2,))


def arrays(seed: int = 1) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=size).astype(np.float32) for name, size in zip(NAMES, SIZES, strict=True)}


def write_npz(path: Path, given: dict[str, Any]) -> Path:
    """As a run stores a model."""
    np.savez(path, **{f"weights/{i:03d}:{name}:0": value for i, (name, value) in enumerate(given.items())})
    return path


def write_safetensors(path: Path, given: dict[str, Any], dtype: str = "F32") -> Path:
    """By the description of the format, which is 8 bytes, a table and the bytes of all arrays."""
    table, data = {}, b""
    for name, value in given.items():
        table[name] = {
            "dtype": dtype,
            "shape": list(value.shape),
            "data_offsets": [len(data), len(data) + value.nbytes],
        }
        data += value.tobytes()
    header = json.dumps({"__metadata__": {"format": "np"}, **table}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + data)
    return path


@pytest.fixture
def start(tmp_path: Path) -> str:
    return str(write_npz(tmp_path / "start.npz", arrays()))


def records(count: int = 24) -> Dataset:
    rng = np.random.default_rng(2)
    return Dataset("records", rng.normal(size=(count, 3)).astype(np.float32), rng.integers(0, 2, count))


def saved(path: Path, suffix: str) -> Path:
    """The same weights in every form."""
    given = arrays()
    if suffix == ".npz":
        return write_npz(path / "a.npz", given)
    if suffix == ".safetensors":
        return write_safetensors(path / "a.safetensors", given)
    model = SMALL(*SHAPE)
    model.set_weights(list(given.values()))
    file = path / f"a{suffix}"
    (model.save if suffix == ".keras" else model.save_weights)(file)
    return file


@pytest.mark.parametrize("suffix", [".npz", ".safetensors", ".keras", ".weights.h5"])
def test_every_model_starts_from_the_file(tmp_path: Path, suffix: str) -> None:
    """Each form of a file gives a Keras model, and every copy of the engine, the same bits."""
    tuned = FineTuned(SMALL, str(saved(tmp_path, suffix)))
    network = tuned.network(*SHAPE)
    parameters = network.initial(seed=4, models=range(2))
    for wanted, own, copies in zip(arrays().values(), tuned(*SHAPE).get_weights(), parameters, strict=True):
        np.testing.assert_array_equal(own, wanted)
        np.testing.assert_array_equal(copies, np.stack([wanted] * 2))


def test_half_precision_is_read(tmp_path: Path) -> None:
    """F16 as numpy reads it; BF16 is the upper half of a float32, so that one cut to 16 bits comes back exactly."""
    whole = arrays()["head/kernel"]
    half = write_safetensors(tmp_path / "h.safetensors", {"a": whole.astype(np.float16)}, "F16")
    np.testing.assert_array_equal(read_safetensors(half)["a"], whole.astype(np.float16).astype(np.float32))
    bits = (whole.view(np.uint32) >> 16).astype(np.uint16)
    brain = write_safetensors(tmp_path / "b.safetensors", {"a": bits}, "BF16")
    np.testing.assert_array_equal(read_safetensors(brain)["a"], (whole.view(np.uint32) & 0xFFFF0000).view(np.float32))


@pytest.mark.parametrize("trainer", [Sgd, DpSgd])
def test_frozen_layers_keep_their_bits(start: str, trainer: Any) -> None:
    """After training, by Keras and with noise on the engine, a frozen layer is the file's, and the other is not."""
    noise = {"noise_multiplier": 1.0, "compiled": False} if trainer is DpSgd else {}
    made = trainer(FineTuned(SMALL, start, frozen=("dense_0",)), epochs=1, batch_size=8, **noise)
    weights = list(made(records(), np.ones(24, bool), seed=3).weights.items())
    by_name = {name.partition(":")[2].partition(":")[0]: value for name, value in weights}
    for name, wanted in arrays().items():
        assert np.array_equal(by_name[name], wanted) == name.startswith("dense_0")


def test_frozen_layers_are_neither_clipped_nor_noised(start: str) -> None:
    """A norm of an example is that of the trained layers alone: with the head alone, of its kernel and bias."""
    from dpaudit.engine.gradients import per_example_norms
    from dpaudit.engine.losses import per_example_loss

    network = FineTuned(SMALL, start, frozen=("dense_0",)).network(*SHAPE)
    data = records()
    parameters = network.initial(seed=1, models=[0])
    norms = per_example_norms(
        network, parameters, data.features, data.labels[None], loss=lambda o, t: per_example_loss("multiclass", o, t)
    )
    weights = arrays()
    hidden = np.maximum(data.features @ weights["dense_0/kernel"] + weights["dense_0/bias"], 0)
    logits = hidden @ weights["head/kernel"] + weights["head/bias"]
    slope = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True) - np.eye(2)[data.labels]
    by_hand = np.sqrt(((hidden**2).sum(axis=1) + 1) * (slope**2).sum(axis=1))
    np.testing.assert_allclose(norms[0], by_hand, rtol=1e-4)


@pytest.mark.parametrize("trainer", [Sgd, DpSgd])
def test_a_model_with_adapters_is_stored_merged(start: str, trainer: Any, tmp_path: Path) -> None:
    """Its weights are those of the architecture, with which it is restored, and with which another run may start."""
    made = trainer(FineTuned(SMALL, start, adapter=Adapter(2)), epochs=2, batch_size=8)
    data = records()
    model = made(data, np.ones(24, bool), seed=3)
    np.testing.assert_allclose(
        made.restore(model.weights, data).predict(data.features), model.predict(data.features), atol=1e-5
    )
    again = {name.partition(":")[2].partition(":")[0]: value for name, value in model.weights.items()}
    assert tuple(again) == NAMES
    np.testing.assert_array_equal(again["head/bias"], arrays()["head/bias"])
    assert not np.array_equal(again["head/kernel"], arrays()["head/kernel"])
    following = FineTuned(SMALL, str(write_npz(tmp_path / "next.npz", again)))
    np.testing.assert_array_equal(following(*SHAPE).get_weights()[2], again["head/kernel"])


def test_another_file_is_another_architecture(tmp_path: Path) -> None:
    """What is stored under a hash of the trainer depends on the content of the file, not on its name alone."""
    path = tmp_path / "start.npz"
    tuned = FineTuned(SMALL, str(write_npz(path, arrays(1))))
    before = describe_value(tuned)
    assert before == describe_value(tuned) != describe_value(FineTuned(SMALL, str(path), adapter=Adapter(1)))
    write_npz(path, arrays(2))
    assert before != describe_value(tuned)


def changed(**values: Any) -> dict[str, Any]:
    return {**arrays(), **{name.replace("_of_", "/"): value for name, value in values.items()}}


NAN = np.full((4, 2), np.nan, np.float32)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            changed(head_of_kernel=np.zeros((4, 3), np.float32)),
            "'head/kernel' has shape \\(4, 3\\) in .*needs \\(4, 2\\)",
        ),
        (changed(head_of_kernel=NAN), "'head/kernel' of .* holds values that are not finite"),
        (changed(head_of_kernel=np.zeros((4, 2), np.int64)), "has dtype int64; it must be floating-point"),
        (changed(more_of_kernel=np.zeros(1)), "holds 'more/kernel', which the architecture does not have"),
        (
            {"head/kernel": np.zeros((4, 2))},
            "has no 'dense_0/kernel', which the architecture has with shape \\(3, 4\\)",
        ),
    ],
)
def test_weights_that_do_not_fit(tmp_path: Path, given: dict[str, Any], said: str) -> None:
    """Another shape, name or kind of number, and NaN, in one line that names the array."""
    path = write_npz(tmp_path / "start.npz", given)
    with pytest.raises(InputError, match=said) as error:
        FineTuned(SMALL, str(path))(*SHAPE)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [b"", b"\xff" * 16, struct.pack("<Q", 2) + b"[]", struct.pack("<Q", 6) + b'{"a":1'])
def test_no_safetensors_file(tmp_path: Path, content: bytes) -> None:
    """Cut or other bytes are refused in one line."""
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    with pytest.raises(InputError, match="is no safetensors file"):
        read_safetensors(path)


def test_integers_in_safetensors(tmp_path: Path) -> None:
    """A type that weights cannot have is named."""
    path = write_safetensors(tmp_path / "a.safetensors", {"a": np.zeros(2, np.int64)}, "I64")
    with pytest.raises(InputError, match=r"^start weights: 'a' of .* has dtype I64; known are F64, F32, F16, BF16"):
        read_safetensors(path)


@pytest.mark.parametrize("suffix", [".keras", ".weights.h5"])
@pytest.mark.parametrize("other", [Mlp((5,)), Mlp((4, 4)), Mlp(())])
def test_keras_files_of_other_architectures(tmp_path: Path, suffix: str, other: Mlp) -> None:
    """Other sizes, more layers or fewer are refused in one line."""
    with pytest.raises(InputError, match="start weights") as error:
        FineTuned(other, str(saved(tmp_path, suffix)))(*SHAPE)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "said"),
    [("absent.npz", "there is no file"), ("a.txt", "must end in .npz, .safetensors"), ("a.npz", "no weights of a run")],
)
def test_files_that_hold_no_start(tmp_path: Path, name: str, said: str) -> None:
    """A missing file, another ending, and an NPZ file of something else."""
    (tmp_path / "a.txt").write_text("x")
    np.savez(tmp_path / "a.npz", x=np.zeros(1))
    with pytest.raises(InputError, match=said):
        FineTuned(SMALL, str(tmp_path / name))(*SHAPE)


@pytest.mark.parametrize(
    ("frozen", "said"),
    [
        (("body",), "frozen: no layer with weights is called 'body'; there are 'dense_0', 'head'"),
        (("dense", "head"), "frozen names every layer with weights"),
    ],
)
def test_layers_to_freeze(start: str, frozen: tuple[str, ...], said: str) -> None:
    """A name that is not there, and nothing that is left to train."""
    with pytest.raises(InputError, match=said):
        FineTuned(SMALL, start, frozen)(*SHAPE)


def test_layers_of_a_decoder_are_frozen_by_the_beginning_of_their_names(tmp_path: Path) -> None:
    """``block_0`` freezes attention, dense layers and normalisations of the first block, and nothing else."""
    decoder, shape = Decoder(width=4, layers=2, heads=2), ((3,), 7)
    model = decoder(*shape)
    model.save_weights(tmp_path / "a.weights.h5")
    network = FineTuned(decoder, str(tmp_path / "a.weights.h5"), frozen=("embedding", "block_0")).network(*shape)
    frozen = {variable.name.partition("/")[0] for variable in network.variables if not variable.trainable}
    assert frozen == {"embedding", *(f"block_0_{part}" for part in
                      ("attention_norm", "attention", "dense_norm", "dense_up", "dense_down"))}  # fmt: skip
