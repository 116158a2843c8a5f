"""A federated run on disk, for audits in another place: ``manifest.json`` and one NPZ file a round.

`TraceWriter` writes it from any server loop, `read_trace` reads it, `inspect_trace` holds it against its own claim.
Writing and reading need numpy only. The format is in docs/federated.md.
"""

from dpaudit.trace.inspect import TraceInspection, inspect_all, inspect_rounds, inspect_trace
from dpaudit.trace.manifest import DpClaim, Manifest
from dpaudit.trace.reader import Round, Trace, read_trace
from dpaudit.trace.server import ServerStep
from dpaudit.trace.writer import TraceWriter

__all__ = [
    "DpClaim",
    "Manifest",
    "Round",
    "ServerStep",
    "Trace",
    "TraceInspection",
    "TraceWriter",
    "inspect_all",
    "inspect_rounds",
    "inspect_trace",
    "read_trace",
]
