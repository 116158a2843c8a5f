"""Membership inference: `Signals` in, one score per record out, higher = more likely a member. No TensorFlow."""
