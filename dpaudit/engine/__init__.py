"""Many copies of one Keras model as one TensorFlow program: every parameter has a leading axis, the models.

``Network`` reads a model, ``train`` trains its copies, ``clipped_sum`` is the DP-SGD gradient. See docs/engine.md.
"""
