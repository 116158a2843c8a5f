"""A small language model: a decoder of transformer blocks, as a Keras model that the stacked engine reads."""

from dataclasses import dataclass
from typing import Any

from dpaudit.runtime import check
from dpaudit.runtime.errors import InputError


@dataclass(frozen=True)
class Decoder:
    """A transformer that predicts the next token of a text.

    Blocks of causal attention and a dense layer of four times the width, each behind a layer normalisation (`Radford et
    al. (2019) <https://cdn.openai.com/better-language-models/language_models.pdf>`_).
    The number of positions and the vocabulary are those of the data. The head is not tied to the embedding. Layers are
    called ``embedding``, ``positions``, ``block_0_attention``, ``block_0_dense_up`` and ``block_0_dense_down`` with a
    ``_norm`` before each part, and ``head``.

    Args:
        width: channels of every position.
        layers: blocks.
        heads: of attention; they share the width out between them.

    >>> Decoder(width=48, heads=4)
    Decoder(width=48, layers=2, heads=4)
    """

    width: int = 64
    layers: int = 2
    heads: int = 4

    def __post_init__(self) -> None:
        for name in ("width", "layers", "heads"):
            check.integer(name, getattr(self, name), at_least=1)
        if self.width % self.heads:
            raise InputError(f"heads must divide width, got width {self.width} and {self.heads} heads.")

    def __call__(self, input_shape: tuple[int, ...], outputs: int) -> Any:
        """The model: tokens (positions,) -> logits of the token after each, (positions, vocabulary)."""
        from dpaudit.runtime.tensorflow import keras
        from dpaudit.training.position_embedding import SPREAD, PositionEmbedding

        if len(input_shape) != 1:
            raise InputError(f"a decoder needs tokens of shape (positions,), got {input_shape}; use text data.")
        layers = keras.layers
        tokens = keras.Input(input_shape)
        spread = keras.initializers.RandomNormal(stddev=SPREAD)
        embedded = layers.Embedding(outputs, self.width, embeddings_initializer=spread, name="embedding")(tokens)
        x = layers.Add()([embedded, PositionEmbedding(name="positions")(embedded)])
        for block in (f"block_{number}" for number in range(self.layers)):
            seen = layers.LayerNormalization(epsilon=1e-5, name=f"{block}_attention_norm")(x)
            attention = layers.MultiHeadAttention(self.heads, self.width // self.heads, name=f"{block}_attention")
            x = layers.Add()([x, attention(seen, seen, use_causal_mask=True)])
            seen = layers.LayerNormalization(epsilon=1e-5, name=f"{block}_dense_norm")(x)
            hidden = layers.Dense(4 * self.width, activation="gelu", name=f"{block}_dense_up")(seen)
            x = layers.Add()([x, layers.Dense(self.width, name=f"{block}_dense_down")(hidden)])
        seen = layers.LayerNormalization(epsilon=1e-5, name="head_norm")(x)
        return keras.Model(tokens, layers.Dense(outputs, name="head")(seen))
