"""Federated averaging, with and without differential privacy for its users, as one program on the stacked engine.

`participation` says who takes part, `local` what a client does, `aggregation` what the server makes of the updates,
`compression` what is sent, `simulation` runs it round by round, `federation` has it ready to run, `trainer` is the
entry a plan names. See docs/federated.md.
"""
