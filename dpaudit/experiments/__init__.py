"""One file or folder per table a plan can hold.

Each has ``Settings`` (what the plan's table holds) and ``run(settings, audit)``, which returns what `dpaudit.results`
keeps of that table.
"""
