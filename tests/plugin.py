"""How a pytest of its own is told of the plugin: not at all where dpaudit is installed with its entry point."""

from importlib.metadata import entry_points

INSTALLED = any(point.value == "dpaudit.testing" for point in entry_points(group="pytest11"))
LOAD = [] if INSTALLED else ["-p", "dpaudit.testing"]
