"""A supplier beside a hub: its pool and offer, and a site agent over a real Slurm."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.hub import Hub
from tests.slurm.cluster import SlurmCluster

from mosu.sandbox.environments import build_python_environment

SUPPLIER: Final = "Hall Two"
_GIB: Final = 1 << 30


@dataclass(frozen=True)
class Pool:
    """A pool at a hub: its agent's token, and its supplier's."""

    id: str
    token: str
    supplier_token: str


@dataclass
class Site:
    """The supplier's machine: its agent may be killed and started again."""

    folder: Path
    cluster: SlurmCluster
    env: Mapping[str, str]
    pool: "Pool"
    hub_url: str
    table: str = ""
    """More of the settings: `[slurm]`."""
    agent: subprocess.Popen[bytes] | None = None
    claims: dict[str, int] = field(default_factory=dict)
    """Which Slurm job had each attempt, as `note_claims` saw it: the agent forgets what the hub has settled."""

    def note_claims(self) -> None:
        for claim in (self.folder / "state" / "attempts").glob("*/claim"):
            with suppress(OSError, ValueError):
                self.claims[claim.parent.name] = int(claim.read_text())

    def start(self) -> None:
        """Start the agent, as the settings file has it now."""
        self.write_settings()
        with (self.folder / "agent.log").open("ab") as log:
            self.agent = subprocess.Popen(
                [sys.executable, "-m", "mosu.cli.main", "agent", "run", str(self.folder / "agent.toml")],
                env={
                    **os.environ,
                    **self.env,
                    **self.cluster.env,
                    "PYTHONPATH": os.environ.get("PYTHONPATH", "src"),
                },
                stderr=log,
            )

    def kill(self) -> None:
        """As a power cut would; jobs stay."""
        if self.agent is not None:
            self.agent.send_signal(signal.SIGKILL)
            self.agent.wait()

    def stop(self) -> None:
        if self.agent is not None and self.agent.poll() is None:
            ended(self.agent)

    def write_settings(self) -> None:
        environment = build_python_environment(self.folder / "environments", packages=[])
        token_file = self.folder / "pool.token"
        token_file.write_text(self.pool.token)
        token_file.chmod(0o600)
        (self.folder / "agent.toml").write_text(
            f'hub_url = "{self.hub_url}"\ntoken_file = "{token_file}"\nengine = "slurm"\n'
            f'state_dir = "{self.folder}/state"\nenvironments = ["{environment.root}"]\n'
            f"disk_bytes = {200 * _GIB}\n{self.table}"
        )


def ended(agent: "subprocess.Popen[bytes]") -> None:
    """Stopped in order, or killed if it takes its time; what runs stays."""
    agent.terminate()
    try:
        agent.wait(60)
    except subprocess.TimeoutExpired:
        agent.kill()
        agent.wait()


@contextmanager
def site_in(
    folder: Path,
    hub: Hub,
    cluster: SlurmCluster,
    *,
    env: Mapping[str, str] | None = None,
    hub_url: str = "",
    table: str = "",
    unit_price: str = "3.60",
) -> Iterator[Site]:
    """A pool that sells the cluster's cores, its agent running and registered."""
    folder.mkdir(mode=0o755)
    pool = put_on_the_shelf(hub, unit_price=unit_price)
    site = Site(folder, cluster, env or {}, pool, hub_url or hub.url, table)
    site.start()
    try:
        yield site
    finally:
        site.stop()


def put_on_the_shelf(hub: Hub, *, supplier: str = SUPPLIER, unit_price: str = "3.60") -> Pool:
    """Make a supplier, a pool and an offer of its cores."""
    email = f"ops@{supplier.lower().replace(' ', '-')}.example"
    token = hub.bootstrap(email=email, organisation=supplier, capabilities=("supplier",))["token"]
    pool = _post(hub, token, "/pools", "name=hall", "region=shanghai")
    _post(
        hub,
        token,
        "/offers",
        *(
            "shelf=compute",
            f"subject_id={pool['pool']['id']}",
            "region=shanghai",
            "max_units:=64",
            "wall_s_max:=86400",
        ),
        f'title:={{"zh": "{supplier} CPU", "en": "{supplier} CPU"}}',
        f'prices:=[{{"meter": "core_second", "unit": "core_hour", "unit_price": "{unit_price}"}}]',
    )
    return Pool(pool["pool"]["id"], pool["token"], token)


def _post(hub: Hub, token: str, path: str, *fields: str) -> dict[str, Any]:
    done = hub.mosu("api", "post", path, *fields, token=token)
    assert done.returncode == 0, done.stderr + done.stdout  # noqa: S101 - a benchmark's own world
    found: dict[str, Any] = json.loads(done.stdout)
    return found
