"""Attacks: membership inference (without TensorFlow) and gradient leakage."""
