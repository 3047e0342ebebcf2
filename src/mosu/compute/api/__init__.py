"""The compute shelf's operations of `/api/v1`, one file for each subject."""

from typing import Final

from mosu.compute.api import blocks, certificates, endpoints, nodes, pools, runs, sharing, tickets

routers: Final = [
    ("", runs.router),
    ("", blocks.router),
    ("", pools.router),
    ("", nodes.router),
    ("", sharing.router),
    ("", tickets.router),
    ("", certificates.router),
    ("", endpoints.router),
]
