"""Audits of language models from the log-probabilities of tokens."""
