"""Models of Keras 3 that hold one kind of layer or operation each, ended by a softmax of four classes."""

from collections.abc import Callable
from typing import Any

IMAGE, SERIES, VECTOR = (8, 8, 3), (5, 3), (6,)
WORDS = ("embedding", "masked lstm")  # these take whole numbers below nine


def models(K: Any) -> dict[str, Callable[[], Any]]:
    """Every model by name, made when it is called."""
    L, ops = K.layers, K.ops

    def sequential(shape: tuple[int, ...], *layers: Callable[[], Any]) -> Callable[[], Any]:
        return lambda: K.Sequential(
            [K.Input(shape), *(make() for make in layers), L.Flatten(), L.Dense(4, activation="softmax")]
        )

    def functional(shape: tuple[int, ...], body: Callable[[Any], Any]) -> Callable[[], Any]:
        def make() -> Any:
            inputs = K.Input(shape)
            return K.Model(inputs, L.Dense(4, "softmax")(L.Flatten()(body(inputs))))

        return make

    def inside(inner: Callable[[], Any], shape: tuple[int, ...], *, last: bool) -> Callable[[], Any]:
        def make() -> Any:
            inputs = K.Input(shape)
            outputs = inner()(inputs)
            return K.Model(inputs, outputs if last else L.Dense(4, "softmax")(outputs))

        return make

    def frozen() -> Any:
        base = K.Sequential([K.Input(IMAGE), L.Conv2D(2, 3), L.GlobalAveragePooling2D()])
        base.trainable = False
        return base

    words = lambda *layers: lambda: K.Sequential([K.Input((5,)), *(make() for make in layers), L.Dense(4, "softmax")])  # noqa: E731
    return {
        "random flip": sequential(IMAGE, lambda: L.RandomFlip()),
        "random rotation": sequential(IMAGE, lambda: L.RandomRotation(0.1)),
        "random zoom": sequential(IMAGE, lambda: L.RandomZoom(0.1)),
        "random translation": sequential(IMAGE, lambda: L.RandomTranslation(0.1, 0.1)),
        "random contrast": sequential(IMAGE, lambda: L.RandomContrast(0.1)),
        "random brightness": sequential(IMAGE, lambda: L.RandomBrightness(0.1)),
        "random crop": sequential(IMAGE, lambda: L.RandomCrop(6, 6), lambda: L.GlobalAveragePooling2D()),
        "resizing": sequential(IMAGE, lambda: L.Resizing(6, 6)),
        "center crop": sequential(IMAGE, lambda: L.CenterCrop(6, 6)),
        "rescaling": sequential(IMAGE, lambda: L.Rescaling(1 / 255)),
        "leaky relu": sequential(VECTOR, lambda: L.LeakyReLU()),
        "relu": sequential(VECTOR, lambda: L.ReLU()),
        "elu": sequential(VECTOR, lambda: L.ELU()),
        "prelu": sequential(VECTOR, lambda: L.PReLU()),
        "time distributed": sequential(SERIES, lambda: L.TimeDistributed(L.Dense(2))),
        "bidirectional": sequential(SERIES, lambda: L.Bidirectional(L.LSTM(2))),
        "lstm": sequential(SERIES, lambda: L.LSTM(2)),
        "gru": sequential(SERIES, lambda: L.GRU(2)),
        "simple rnn": sequential(SERIES, lambda: L.SimpleRNN(2)),
        "embedding": words(lambda: L.Embedding(9, 3), lambda: L.GlobalAveragePooling1D()),
        "masked lstm": words(lambda: L.Embedding(9, 3, mask_zero=True), lambda: L.LSTM(3)),
        "masking": sequential(SERIES, lambda: L.Masking(), lambda: L.LSTM(2)),
        "multi-head attention": functional((5, 4), lambda h: L.MultiHeadAttention(2, 2)(h, h)),
        "transfer": inside(frozen, IMAGE, last=False),
        "nested sequential": sequential(VECTOR, lambda: K.Sequential([L.Dense(3, "relu")])),
        "nested functional": inside(functional(VECTOR, lambda h: h), VECTOR, last=True),
        "x / 255": functional(IMAGE, lambda h: h / 255.0),
        "h + x": functional(VECTOR, lambda h: L.Dense(6)(h) + h),
        "keras.ops": functional(VECTOR, lambda h: ops.relu(ops.concatenate([h, ops.sin(h)], axis=-1))),
        "silu": functional(VECTOR, lambda h: K.activations.silu(L.Dense(3)(h))),
        "h[:, -1]": functional(SERIES, lambda h: L.LSTM(3, return_sequences=True)(h)[:, -1]),
        "mean": functional(SERIES, lambda h: ops.mean(h, axis=1)),
        "dense": sequential(VECTOR, lambda: L.Dense(3, "gelu")),
        "conv": sequential(IMAGE, lambda: L.Conv2D(2, 3)),
        "separable": sequential(IMAGE, lambda: L.SeparableConv2D(2, 3)),
        "depthwise": sequential(IMAGE, lambda: L.DepthwiseConv2D(3)),
        "conv transpose": sequential(IMAGE, lambda: L.Conv2DTranspose(2, 3)),
        "conv1d": sequential(SERIES, lambda: L.Conv1D(2, 2)),
        "batch norm": sequential(VECTOR, lambda: L.BatchNormalization()),
        "layer norm": sequential(VECTOR, lambda: L.LayerNormalization()),
        "group norm": sequential(IMAGE, lambda: L.GroupNormalization(3)),
        "rms norm": sequential(VECTOR, lambda: L.RMSNormalization()),
        "unit norm": sequential(VECTOR, lambda: L.UnitNormalization()),
        "spectral norm": sequential(VECTOR, lambda: L.SpectralNormalization(L.Dense(3))),
        "normalization": sequential(VECTOR, lambda: L.Normalization(mean=[0.5] * 6, variance=[2.0] * 6)),
        "max pool": sequential(IMAGE, lambda: L.MaxPooling2D()),
        "gaussian noise": sequential(VECTOR, lambda: L.GaussianNoise(0.1)),
        "dropout": sequential(VECTOR, lambda: L.Dropout(0.5)),
    }
