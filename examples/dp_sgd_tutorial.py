"""TensorFlow Privacy's first example, a DP-SGD classifier, with an audit added in three lines."""

import numpy as np
from sklearn.datasets import load_digits

import dpaudit
from dpaudit.runtime.tensorflow import (  # so that 0.9 works with TensorFlow 2.15 to 2.21
    keras,
    tensorflow_privacy_module,
)

features, labels = load_digits(return_X_y=True)
features = (features / 16).astype(np.float32)
member = np.random.default_rng(1).random(len(labels)) < 0.5  # audit, line 1: a coin for each record, before training

model = keras.Sequential([keras.layers.Dense(32, activation="relu"), keras.layers.Dense(10)])
optimizers = tensorflow_privacy_module("privacy.optimizers.dp_optimizer_keras")
optimizer = optimizers.DPKerasSGDOptimizer(
    l2_norm_clip=1.0, noise_multiplier=1.1, num_microbatches=50, learning_rate=0.25
)
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="none")
model.compile(optimizer=optimizer, loss=loss, metrics=["accuracy"])
count = member.sum() // 50 * 50  # microbatches must divide the batch
model.fit(features[member][:count], labels[member][:count], epochs=2, batch_size=50, verbose=0)

logits = model.predict(features, verbose=0)
result = dpaudit.audit_predictions(logits, labels, member, epsilon=5.0, chosen_by="coin")  # line 2
print(result.comparisons[0].sentence)  # line 3
