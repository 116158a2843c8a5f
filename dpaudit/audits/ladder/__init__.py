"""``[ladder]``: checks of a mechanism and audits with canaries, the cheapest first."""
