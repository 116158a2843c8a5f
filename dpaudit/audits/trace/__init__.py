"""``[trace]``: a recorded federation."""
