"""``[gradient]``: what an attacker who sees one gradient draws from it."""
