"""Many models as one TensorFlow program: every parameter has a leading model axis."""
