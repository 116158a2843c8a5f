"""Servers that a client may face: what they do to a model before they send it, one file each."""
