"""Gradient leakage: what a gradient, an update, a trace or a released model gives away about the data."""
