"""The parts of a report that belong to one experiment: figures, and a template of the same name."""
