"""Membership inference: `Signals` in, one score per record out, higher = more likely a member. numpy only."""
