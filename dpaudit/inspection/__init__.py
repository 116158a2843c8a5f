"""Rungs 0 to 2 of the audit ladder: one file per check, a mechanism in, findings out."""
