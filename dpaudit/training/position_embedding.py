"""A Keras layer: one vector for each position of a sequence."""

from typing import Any

from dpaudit.runtime.tensorflow import keras, tf

SPREAD = 0.02  # standard deviation of initial embeddings (Radford et al. 2019)


@keras.utils.register_keras_serializable("dpaudit")
class PositionEmbedding(keras.layers.Layer):  # type: ignore[misc]  # Keras has no types
    """A table of shape (positions, channels) for every example, to be added to a sequence of that shape.

    >>> PositionEmbedding()(tf.zeros([2, 3, 4])).shape.as_list()
    [2, 3, 4]
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.initializer = keras.initializers.RandomNormal(stddev=SPREAD)

    def build(self, input_shape: Any) -> None:
        """Make the table."""
        self.position_embeddings = self.add_weight(
            name="position_embeddings", shape=tuple(input_shape[1:]), initializer=self.initializer
        )
        super().build(input_shape)

    def call(self, inputs: Any) -> Any:
        """The table, once for each example of ``inputs`` (examples, positions, channels)."""
        return tf.broadcast_to(self.position_embeddings, tf.shape(inputs))

    def get_config(self) -> dict[str, Any]:
        """Name and number format; a copy of the layer has them too."""
        return dict(super().get_config())
