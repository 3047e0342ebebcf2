"""One task file, unchanged, on the local engine, on a real Slurm and on a real Ray: what a user sees.

As root, after `make test-engines`, `python -m tests.engines.one_task` writes docs/reference/one-task.md.
"""

import hashlib
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from benchmarks.hubs import join, make_buyers, price_local_pool
from benchmarks.slurm.site import ended, put_on_the_shelf, site_in
from tests.hub import Hub, running_hub
from tests.ray.head import RayHead, running_ray
from tests.site_agent.lab import until
from tests.slurm.cluster import SlurmCluster, running_slurm

from mosu.sandbox.environments import build_python_environment

TASK: Final = """\
name: letters
workdir: work
num_nodes: 1
resources: {cpus: 1, memory: 1+, disk_size: 1}
envs: {SENTENCE: "one order, real at every layer"}
run: |
  echo "rank $SKYPILOT_NODE_RANK of $SKYPILOT_NUM_NODES"
  mkdir out
  python count.py "$SENTENCE" > out/letters.txt
  tail -1 out/letters.txt
  sleep 2
mosu:
  wall_limit: 5m
  outputs: [out/letters.txt]
"""
COUNT: Final = """\
import collections, sys
letters = collections.Counter(sys.argv[1].replace(" ", ""))
for letter, count in sorted(letters.items(), key=lambda one: (one[1], one[0])):
    print(letter, count)
"""
COMMAND: Final = ("run", "--yes", "--lang", "en", "--out", "results", "task.yaml")
PAGE: Final = Path(__file__).parents[2] / "docs" / "reference" / "one-task.md"
TITLES: Final = {"local": "this machine", "slurm": "Slurm", "ray": "Ray"}
WALL_LIMIT_S: Final = 300
_PATIENCE_S: Final = 300.0


@dataclass(frozen=True)
class Ran:
    """What one engine made of it."""

    engine: str
    supplier: str
    printed: str
    """By `mosu run`."""
    letters: str
    """The output that came back."""
    books: str
    """What the engine's own accounting has of it, where it has one."""
    core_seconds: int
    """Billed."""
    task_sha256: str


def run_everywhere() -> list[Ran]:
    """On one hub: first its own machine, then a Slurm that is cheaper, then a Ray that is cheaper still."""
    with ExitStack() as stack:
        folder = Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="mosu-one-task-", dir="/var/tmp"))
        )
        folder.chmod(0o755)
        hub = stack.enter_context(running_hub())
        join(hub)
        price_local_pool()
        (buyer,) = make_buyers(vouchers=[None])
        desk = _Desk(folder / "desk", hub, buyer.token)
        found = [desk.ran("local", "The hub's trial pool", books=lambda _: "")]
        slurm = stack.enter_context(running_slurm())
        stack.enter_context(site_in(folder / "slurm", hub, slurm, unit_price="36.00"))
        found.append(desk.ran("slurm", "Hall Two", books=lambda attempt: _sacct(slurm, attempt)))
        ray = stack.enter_context(running_ray(cores=os.cpu_count() or 1))
        stack.enter_context(_ray_site(folder / "ray", hub, ray))
        found.append(desk.ran("ray", "Hall Three", books=lambda _: ""))
    return found


class _Desk:
    """Where the user sits: a folder with the task file, and the command."""

    def __init__(self, folder: Path, hub: Hub, token: str) -> None:
        self._folder, self._hub, self._token = folder, hub, token
        (folder / "work").mkdir(parents=True)
        (folder / "task.yaml").write_text(TASK)
        (folder / "work" / "count.py").write_text(COUNT)

    def ran(self, engine: str, supplier: str, *, books: Callable[[str], str]) -> Ran:
        """Run it once this supplier's is the best plan."""
        until(
            lambda: re.match(rf"1\. .*{supplier}", self._mosu("quote", "--lang", "en", "task.yaml").stdout),
            within_s=_PATIENCE_S,
            every_s=1.0,
            what=f"{supplier}'s is the best plan",
        )
        done = self._mosu(*COMMAND)
        assert done.returncode == 0, done.stdout + done.stderr
        attempt, usage = _latest_attempt()
        return Ran(
            engine=engine,
            supplier=supplier,
            printed=done.stdout,
            letters=(self._folder / "results" / "out" / "letters.txt").read_text(),
            books=books(attempt),
            core_seconds=usage,
            task_sha256=hashlib.sha256((self._folder / "task.yaml").read_bytes()).hexdigest(),
        )

    def _mosu(self, *words: str) -> subprocess.CompletedProcess[str]:
        return self._hub.mosu(*words, token=self._token, cwd=self._folder)


def _latest_attempt() -> tuple[str, int]:
    """Its name, by which the engine knows it, and the core-seconds that were billed."""
    from django.db import connections  # noqa: PLC0415 - Django is set up first, by `join`

    from mosu.compute.models import Attempt  # noqa: PLC0415
    from mosu.market.models import UsageRecord  # noqa: PLC0415

    attempt = Attempt.objects.order_by("-created_at").first()
    assert attempt is not None
    used = UsageRecord.objects.filter(order_line__order=attempt.run.order_id, meter="core_second")
    seconds = sum(used.values_list("quantity_accepted", flat=True))
    connections.close_all()
    return attempt.public_id, seconds


def _sacct(slurm: SlurmCluster, attempt: str) -> str:
    ask = (
        *("sacct", "-X", "-P", "-n", f"--name={attempt}", "--starttime=1970-01-01", "--endtime=now+1hour"),
        "--format=JobName,State,ElapsedRaw,AllocTRES",
    )
    until(lambda: slurm.ask(*ask).strip(), every_s=0.5, what="slurmdbd has it by its name")
    return slurm.ask(*ask).strip()


@contextmanager
def _ray_site(folder: Path, hub: Hub, ray: RayHead) -> Iterator[None]:
    """A supplier whose agent drives the Ray, cheaper than all others."""
    folder.mkdir(mode=0o755)
    environment = build_python_environment(folder / "shared" / "environments", packages=[])
    token_file = folder / "pool.token"
    token_file.write_text(put_on_the_shelf(hub, supplier="Hall Three", unit_price="18.00").token)
    token_file.chmod(0o600)
    settings = folder / "agent.toml"
    settings.write_text(
        f'hub_url = "{hub.url}"\ntoken_file = "{token_file}"\nengine = "ray"\nstate_dir = "{folder}/state"\n'
        f'environments = ["{environment.root}"]\ndisk_bytes = {200 << 30}\n'
        f'[ray]\nfolder = "{folder}/shared"\naddress = "{ray.address}"\n'
    )
    settings.chmod(0o600)
    with (folder / "agent.log").open("wb") as log:
        agent = subprocess.Popen(
            [sys.executable, "-m", "mosu.cli.main", "agent", "run", str(settings)], stderr=log
        )
    try:
        yield
    finally:
        ended(agent)


def page_of(found: Sequence[Ran]) -> str:
    """The page of the reference: the file, and what each engine made of it."""
    sections = []
    for one in found:
        books = (
            f"\nIn Slurm's own books (`sacct`: name, state, seconds, what it had):\n\n```text\n{one.books}\n```\n"
            if one.books
            else ""
        )
        sections.append(
            f"## On {TITLES[one.engine]}\n\n```text\n$ mosu {' '.join(COMMAND)}\n{one.printed.rstrip()}\n"
            f"$ cat results/out/letters.txt | tail -3\n{''.join(one.letters.splitlines(keepends=True)[-3:])}```\n"
            f"{books}\nBilled: {one.core_seconds} core-seconds.\n"
        )
    return (
        "# One task file, three engines\n\n"
        f"`task.yaml` (sha256 `{found[0].task_sha256[:16]}...`) and the command stay the same; the hub first has its own machine "
        "alone, then\na Slurm cluster that is cheaper, then a Ray cluster that is cheaper still, and buys where it is cheapest. "
        "A test runs all of it\n(`make test-engines`); this is what was printed, "
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {os.cpu_count()} cores, {platform.system()} {platform.machine()}.\n"
        "Written by `python -m tests.engines.one_task`.\n\n"
        f"```yaml\n{TASK}```\n\n" + "\n".join(sections)
    )


def main() -> None:
    """Write the page, or with a file's name what was found, as JSON."""
    found = run_everywhere()
    if sys.argv[1:]:
        Path(sys.argv[1]).write_text(json.dumps([asdict(one) for one in found]), encoding="utf-8")
    else:
        PAGE.write_text(page_of(found), encoding="utf-8")


if __name__ == "__main__":
    main()
