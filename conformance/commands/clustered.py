"""`--cluster ADDRESS`: of the commands whose work can be done on other machines."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from distributed import Client

cluster = click.option(
    "--cluster",
    "address",
    metavar="ADDRESS",
    default="",
    help="Do the work on the Dask cluster whose scheduler is there, such as tcp://host:8786, not in processes here.",
)


@contextmanager
def client_of(address: str) -> Iterator[Client | None]:
    """None where no cluster is asked for. Whatever it refuses is bad usage."""
    if not address:
        yield None
        return
    from conformance.verdict.cluster import ClusterError, connected

    try:
        with connected(address) as client:
            yield client
    except ClusterError as error:
        raise click.UsageError(str(error)) from None
