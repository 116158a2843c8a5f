"""``dpaudit doctor``."""

from typing import Annotated

import typer

from dpaudit.cli.options import Backend, Json


def doctor(
    json: Json = False,
    backend: Backend = "loky",
    probe: Annotated[bool, typer.Option(help="Also import TensorFlow and TensorFlow Privacy.")] = True,
) -> None:
    """Check this machine, or the workers of a cluster: versions, cores, memory, and what is missing.

    Each missing part is shown with the command that installs it. Exit 4 when the workers of the cluster given by
    --backend cannot run tasks.
    """
    from rich.table import Table

    from dpaudit.runtime.doctor import examine, examine_cluster
    from dpaudit.runtime.errors import AuditFailed
    from dpaudit.runtime.terminal import console, print_json

    cluster = examine_cluster(backend)
    checks = [*examine(probe=probe), *cluster]
    if json:
        print_json([check.__dict__ for check in checks])
    else:
        table = Table("", "what", "found", "how to fix it", box=None)
        for check in checks:
            table.add_row("ok" if check.ok else "--", check.what, check.found, check.mend)
        console().print(table)
    if not all(check.ok for check in cluster):
        raise AuditFailed(f"the workers of {backend} are not ready for tasks.")
