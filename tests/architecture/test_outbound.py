"""Nothing but `platform/outbound` calls out: no other module of the hub can open a connection to an address it was given.

What speaks to the hub from elsewhere (client, site agent) does, and the runtime looks at this machine's own ports.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

SOURCE = Path(__file__).parents[2] / "src" / "mosu"
NETWORK = frozenset(
    {
        "aiohttp", "ftplib", "http.client", "httpcore", "httpx", "imaplib", "paramiko", "poplib", "requests", "smtplib",
        "socket", "ssl", "telnetlib", "urllib.request", "urllib3", "websockets", "xmlrpc.client",
    }
)  # fmt: skip
CALLS_OUT = {"platform/outbound.py": {"httpcore", "httpx", "socket", "ssl"}}
SPEAKS_TO_THE_HUB = {
    "client/logs.py": {"httpx"},
    "client/relay.py": {"socket", "websockets"},
    "wire/opening.py": {"websockets"},  # opens what the two beside it ask for
    "wire/websocket.py": {"websockets"},  # masks
    "client/sdk.py": {"httpx"},
    "client/transport.py": {"httpx", "urllib.request"},  # the latter for which proxies the environment names
    "site_agent/hub.py": {"httpx"},
    "site_agent/tunnel.py": {"socket", "websockets"},
}
REACHES_A_SANDBOX = {  # by a Unix socket of its own, and inside by its own loopback alone
    "sandbox/bubblewrap.py": {"socket"},
    "sandbox/dial_socket.py": {"socket"},
    "sandbox/dialler.py": {"socket"},
    "sandbox/reaper.py": {"socket"},
    "site_agent/engines/dialling.py": {"socket"},
    "site_agent/engines/kubernetes/engine.py": {"socket"},  # by the server that the agent serves
    "site_agent/engines/kubernetes/forwarding.py": {"socket", "websockets"},
    "site_agent/engines/local.py": {"socket"},
    "site_agent/engines/protocol.py": {"socket"},
    "site_agent/engines/ray/engine.py": {"socket"},
    "site_agent/engines/ray/leg.py": {"socket"},  # and to its agent, where the session's own file says
    "site_agent/engines/ray/legs.py": {"socket"},  # listens for those; asks the kernel for its own address
    "site_agent/engines/ray/meeting.py": {"socket"},  # in a folder of its own
    "site_agent/engines/ray/payload.py": {"socket"},  # a pair, for who is met
    "site_agent/engines/ray/proof.py": {"socket"},  # on a connection that is there
    "site_agent/engines/slurm/engine.py": {"socket"},  # by a leg on its node
    "site_agent/engines/slurm/legs.py": {"socket"},
    "site_agent/leg.py": {"socket"},
    "site_agent/supervisor.py": {"socket"},
}
LOOKS_AT_THIS_MACHINE = {
    "cli/forwarding.py": {"socket"},  # local ports that lead to a run's, and what is accepted there
    "cli/piping.py": {"socket"},  # a pair of sockets, between ssh's pipes and the relay
    "runtime/config.py": {"socket"},  # whether the hub's port is free
    "runtime/doctor.py": {"socket"},  # the same
    "compute/relay/proxy_websocket.py": {
        "websockets"
    },  # what is said in a stream of a tunnel: it opens nothing
    "runtime/relay.py": {"socket"},  # where it listens
    "runtime/relay_protocols.py": {
        "socket",
        "websockets",
    },  # names for what came in, and for what TCP says of it
    "runtime/hub.py": {"http.client"},  # whether the hub that it started answers
    "site_agent/engines/slurm/payload.py": {"socket"},  # the addresses of the nodes that Slurm gave a job
    "runtime/supervisor.py": {"socket"},  # a pair of sockets, to be woken by signals
    "site_agent/engines/kubernetes/access.py": {"ssl"},  # the scheduler that the agent serves
    "site_agent/engines/kubernetes/api.py": {"httpx"},
    "site_agent/engines/ray/api.py": {"httpx"},
    "site_agent/detection/engines.py": {"httpx"},  # the scheduler beside the agent, as its supplier set it up
}
OPENING = frozenset(
    {"connect", "connect_ex", "create_connection", "open_connection", "start_tls", "urlopen", "sock_connect"}
)


NAMED_ALIKE = frozenset({"services.open_connection", "self._engine.connect", "self._app.connect"})
"""Ours: a row, and an engine's way into a sandbox; and a request of a WebSocket's, which is only made."""


def _imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{name.name}" for name in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
            yield from (str(one.value) for one in node.args if isinstance(one, ast.Constant))


def _of_the_network(source: str) -> set[str]:
    names = set(_imported(ast.parse(source)))
    return {
        module for module in NETWORK if any(name == module or name.startswith(f"{module}.") for name in names)
    }


def _opening(source: str) -> list[str]:
    """Calls that open a connection, but those to the hub's own database."""
    return [
        ast.unparse(node.func)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in OPENING
        and not ast.unparse(node.func.value).startswith("psycopg")
        and ast.unparse(node.func) not in NAMED_ALIKE
    ]


def _sources() -> dict[str, str]:
    return {str(path.relative_to(SOURCE)): path.read_text(encoding="utf-8") for path in SOURCE.rglob("*.py")}


def test_nothing_else_imports_what_calls_out() -> None:
    found = {path: used for path, source in _sources().items() if (used := _of_the_network(source))}
    assert found == CALLS_OUT | SPEAKS_TO_THE_HUB | REACHES_A_SANDBOX | LOOKS_AT_THIS_MACHINE


def test_nothing_else_opens_a_connection() -> None:
    found = {
        path: calls
        for path, source in _sources().items()
        if path not in CALLS_OUT | SPEAKS_TO_THE_HUB | REACHES_A_SANDBOX and (calls := _opening(source))
    }
    assert found == {}


def test_the_search_finds_what_it_looks_for() -> None:
    for source, module in (
        ("import httpx", "httpx"),
        ("from urllib import request", "urllib.request"),
        ("from urllib.request import urlopen as get", "urllib.request"),
        ("def f():\n    from http.client import HTTPConnection", "http.client"),
        ("import importlib\nimportlib.import_module('requests')", "requests"),
    ):
        assert _of_the_network(source) == {module}
    assert _of_the_network("from urllib.parse import urlsplit\nfrom http import HTTPStatus") == set()
    assert _opening("async def f(): await asyncio.open_connection('a', 1)") == ["asyncio.open_connection"]
    assert _opening("psycopg.connect(dsn)") == []
