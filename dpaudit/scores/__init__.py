"""From a model's outputs to scores, ROC curves, intervals and slices. NumPy only."""
