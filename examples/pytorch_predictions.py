"""Audit a PyTorch model through a file of its predictions, so that neither side needs the other's framework.

Where the model lives, toss the coins, train on the records whose coin fell heads, and save what it says about all::

    member = np.random.default_rng(seed).random(len(dataset)) < 0.5
    ...                                              # train on Subset(dataset, np.flatnonzero(member))
    model.eval()
    with torch.no_grad():
        logits = torch.cat([model(x) for x, _ in loader])       # loader must not shuffle
    np.savez("predictions.npz", outputs=logits.numpy(), labels=labels, member=member)

Then, anywhere: python pytorch_predictions.py predictions.npz
"""

import sys

import numpy as np

import dpaudit

with np.load(sys.argv[1], allow_pickle=False) as saved:
    predictions = saved["outputs"], saved["labels"], saved["member"]
    result = dpaudit.audit_predictions(*predictions, epsilon=2.0, delta=1e-5, chosen_by="coin")
print(result.comparisons[0].sentence)
