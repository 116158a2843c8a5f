"""One file or folder per table a plan can hold.

Each has ``Settings`` (what the plan's table holds), ``Outcome`` (what ``result.json`` holds) and
``run(settings, audit) -> Outcome``. An outcome knows its lower bounds by model (``bounds(model)``) and its findings.
"""
