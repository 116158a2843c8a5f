"""Attacks: membership inference (numpy only) and gradient leakage."""
