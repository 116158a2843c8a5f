"""The command line: ``dpaudit``."""
