"""Proof of the auditor itself: bounds measured on simulated mechanisms of known ε."""
