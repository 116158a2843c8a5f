"""A wide residual network trained as the code of Carlini et al. (2022), arXiv 2112.03570, and RMIA's authors train it.

For a plan: trainer = "function" and train = "benchmarks.wide_resnet:train", see rmia_cifar10.toml. Depth 28, width 2
(Zagoruyko and Komodakis (2016), arXiv 1605.07146), 100 epochs in batches of 256, SGD with momentum 0.9, a learning rate
of 0.1·cos(7π/16 · progress) that rises from 0 over the first hundredth, weight decay 0.0005, images mirrored at random
and shifted by up to 4 pixels, and predictions by the moving average of the weights (0.999 a step).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

import dpaudit
from dpaudit.runtime.check import BoolArray
from dpaudit.runtime.tensorflow import keras, tf

Numbers = npt.NDArray[Any]
LEARNING_RATE, MOMENTUM, WEIGHT_DECAY, SHIFT = 0.1, 0.9, 5e-4, 4


@dataclass(frozen=True)
class Recipe:
    """What differs between the network of the table and one that a CPU trains in a minute."""

    depth: int = 28
    width: int = 2
    epochs: int = 100
    batch_size: int = 256
    average: float = 0.999


def train(dataset: dpaudit.Dataset, included: BoolArray, *, seed: int) -> Callable[[Numbers], Numbers]:
    """The network of the table, as the trainer ``function`` calls it."""
    return fit(dataset, included, Recipe(), seed=seed)


def small(dataset: dpaudit.Dataset, included: BoolArray, *, seed: int) -> Callable[[Numbers], Numbers]:
    """The same training of a network of 10 layers, for a dozen epochs: it shows that everything runs."""
    return fit(dataset, included, Recipe(depth=10, width=1, epochs=12, batch_size=32, average=0.99), seed=seed)


def fit(dataset: dpaudit.Dataset, included: BoolArray, recipe: Recipe, *, seed: int) -> Callable[[Numbers], Numbers]:
    """Train on the included records, and return the logits of the averaged network."""
    keras.utils.set_random_seed(seed)
    features, classes = dataset.features[included], dataset.classes[included]
    model = network(features.shape[1:], dataset.outputs, recipe)
    decayed = [weight for weight in model.trainable_weights if "kernel" in weight.name]
    velocity = [tf.Variable(tf.zeros_like(weight)) for weight in model.trainable_weights]
    average = [tf.Variable(tf.zeros_like(weight)) for weight in model.weights]

    @tf.function  # type: ignore[untyped-decorator, unused-ignore]  # TensorFlow has no types
    def step(images: Any, labels: Any, rate: Any) -> None:
        with tf.GradientTape() as tape:
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, model(images, training=True))
            decay = tf.add_n([tf.nn.l2_loss(weight) for weight in decayed])
            loss = tf.reduce_mean(losses) + WEIGHT_DECAY * decay
        gradients = tape.gradient(loss, model.trainable_weights)
        for weight, moving, gradient in zip(model.trainable_weights, velocity, gradients, strict=True):
            moving.assign(MOMENTUM * moving + gradient)
            weight.assign_sub(rate * moving)
        for mean, weight in zip(average, model.weights, strict=True):
            mean.assign(recipe.average * mean + (1 - recipe.average) * weight)

    steps = recipe.epochs * -(-len(features) // recipe.batch_size)
    for number, (images, labels) in enumerate(batches(features, classes, recipe, seed=seed)):
        progress = number / steps
        rate = LEARNING_RATE * np.cos(progress * 7 * np.pi / 16) * min(100 * progress, 1.0)
        step(tf.constant(images), tf.constant(labels), tf.constant(rate, tf.float32))
    whole = 1 - recipe.average**steps  # of an average that began at 0
    model.set_weights([mean.numpy() / whole for mean in average])
    return lambda asked: np.concatenate(
        [np.asarray(model(asked[at : at + 1000], training=False)) for at in range(0, len(asked), 1000)]
    )


def network(shape: tuple[int, ...], outputs: int, recipe: Recipe) -> Any:
    """Three groups of blocks of two convolutions behind batch normalisation, and the mean over the image."""
    layers = keras.layers
    norm = {"momentum": 0.9, "epsilon": 1e-5}

    def convolution(x: Any, filters: int, size: int, stride: int) -> Any:
        start = keras.initializers.HeNormal()
        return layers.Conv2D(filters, size, strides=stride, padding="same", use_bias=False, kernel_initializer=start)(x)

    inputs = keras.Input(shape)
    x = convolution(inputs, 16, 3, 1)
    for group in range(3):
        filters = 16 * recipe.width * 2**group
        for block in range((recipe.depth - 4) // 6):
            stride = 2 if group and not block else 1
            ready = layers.ReLU()(layers.BatchNormalization(**norm)(x))
            inner = layers.ReLU()(layers.BatchNormalization(**norm)(convolution(ready, filters, 3, stride)))
            beside = x if x.shape[-1] == filters and stride == 1 else convolution(ready, filters, 1, stride)
            x = beside + convolution(inner, filters, 3, 1)
    x = layers.GlobalAveragePooling2D()(layers.ReLU()(layers.BatchNormalization(**norm)(x)))
    return keras.Model(inputs, layers.Dense(outputs)(x))


def batches(features: Numbers, classes: Numbers, recipe: Recipe, *, seed: int) -> Iterator[tuple[Numbers, Numbers]]:
    """Batches in a new order each epoch, every image mirrored with probability 1/2 and shifted at random."""
    rng = np.random.default_rng(seed)
    height, width = features.shape[1:3]
    around = ((0, 0), (SHIFT, SHIFT), (SHIFT, SHIFT), (0, 0))
    for _ in range(recipe.epochs):
        order = rng.permutation(len(features))
        for at in range(0, len(order), recipe.batch_size):
            rows = order[at : at + recipe.batch_size]
            images = features[rows]
            mirrored = rng.random(len(rows)) < 0.5
            images = np.where(mirrored[:, None, None, None], images[:, :, ::-1], images)
            padded = np.pad(images, around, mode="reflect")
            windows = np.lib.stride_tricks.sliding_window_view(padded, (height, width), axis=(1, 2))  # type: ignore[call-overload]
            down, right = rng.integers(0, 2 * SHIFT + 1, (2, len(rows)))
            moved = windows[np.arange(len(rows)), down, right]  # (records, channels, height, width)
            yield np.moveaxis(moved, 1, -1), classes[rows]
