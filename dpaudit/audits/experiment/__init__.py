"""A real experiment on somebody's own training: who was trained on is decided before it, and joined after it."""
