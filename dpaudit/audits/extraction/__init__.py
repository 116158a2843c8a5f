"""``[extraction]``: which texts, or canaries, a language model of a plan gives away when it is sampled from."""
