"""What an audit found, as ``result.json`` holds it: one module for each table a plan can hold.

A result is read, drawn, compared and judged without what made it: nothing here trains, attacks or runs. A result knows
its lower bounds by model (``bounds(model)``) and its findings.
"""
