"""Data sets, their loaders, and masks of who was trained on."""
