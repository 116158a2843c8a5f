"""Audit a scikit-learn estimator: fit it on the records whose coin fell heads, hand over its probabilities."""

import numpy as np
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier

import dpaudit

features, labels = load_digits(return_X_y=True)
member = np.random.default_rng(1).random(len(labels)) < 0.5  # toss the coins before training
forest = RandomForestClassifier(n_estimators=50, random_state=1).fit(features[member], labels[member])

result = dpaudit.audit_predictions(
    forest.predict_proba(features),
    labels,
    member,
    kind="probabilities",
    epsilon=2.0,
    chosen_by="coin",
    features=features,  # to see whether members differ from the others as data
    name="random-forest",
)
print(result.comparisons[0].sentence)
