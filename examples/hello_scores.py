"""The shortest audit: an attack's scores, the truth, a claim. No TensorFlow."""

import numpy as np

import dpaudit

rng = np.random.default_rng(1)
member = rng.random(2000) < 0.5  # a fair coin decided about each record
scores = rng.normal(size=2000) + 2.5 * member  # higher = more likely a member

result = dpaudit.audit_scores(scores, member, epsilon=1.0, delta=1e-5, chosen_by="coin")
print(result.comparisons[0].sentence)
