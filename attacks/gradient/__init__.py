"""Gradient leakage: what a gradient, an update, a trace or a released model reveals about the data."""
