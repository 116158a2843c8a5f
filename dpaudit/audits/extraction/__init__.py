"""``[extraction]``: which texts, or canaries, can be sampled from a language model of a plan."""
