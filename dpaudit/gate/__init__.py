"""Results against claims, and results beside each other."""
