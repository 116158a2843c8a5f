"""Trainers: how a model comes from records. TensorFlow is imported by the trainers that use it, not by this package."""
