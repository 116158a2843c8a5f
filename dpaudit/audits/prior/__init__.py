"""``[prior]``: which of several candidates a gradient came from."""
