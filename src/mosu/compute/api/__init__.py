"""The compute shelf's operations of `/api/v1`, one file for each subject."""

from typing import Final

from mosu.compute.api import (
    blocks,
    certificates,
    endpoints,
    guests,
    nodes,
    pools,
    runs,
    sharing,
    tickets,
    volumes,
)

routers: Final = [
    ("", runs.router),
    ("", blocks.router),
    ("", pools.router),
    ("", nodes.router),
    ("", sharing.router),
    ("", tickets.router),
    ("", certificates.router),
    ("", volumes.router),
    ("", guests.router),
    ("", endpoints.router),
]
