"""`python -m benchmarks [NAME...] [--json FILE] [--smoke]`: the figures that mosu is held to, beside their bars.

No NAME means all. `--smoke` runs everything with tiny counts, to see that it runs; its figures say nothing.
"""

# ruff: noqa: T201 - a command that prints
import argparse
import json
import math
import os
import pickle
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from typing import Final

from tests.hub import Hub

from benchmarks import importing, ledger, notebook, pages, placing, traffic
from benchmarks.accepting import accepted
from benchmarks.answering import json_answers
from benchmarks.bars import Figure, machine, table
from benchmarks.closing import closed
from benchmarks.connecting import connected, replaced
from benchmarks.firstrun import first_run
from benchmarks.hubs import Buyer, hub_in, join, make_buyers, price_local_pool
from benchmarks.idling import idle, idle_agent, settled
from benchmarks.keystrokes import echoed
from benchmarks.listing import listed
from benchmarks.offers import keep_alive
from benchmarks.running import lease_and_log
from benchmarks.seeded.hub import Seeded, seed, verified
from benchmarks.serving import served
from benchmarks.shelf import quoted, searched
from benchmarks.slurm.queueing import through_mosu_and_bare
from benchmarks.starting import help_shown, up
from benchmarks.using import taken
from mosu.client import Client
from mosu.runtime.config import Config
from mosu.wire.ssh import SSHD

_SEEDED: Final = "MOSU_BENCH_SEEDED"
"""Tells the benchmarks' own processes of `--seeded`."""


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured."""

    helps: int = 10
    ledger_s: float = 5.0
    pools: int = 50
    one_pool_cores: int = 150
    runs: int = 15
    requests: int = 1000
    idle_s: float = 20.0
    offers: int = 100_000
    searches: int = 400
    usage_batches: int = 100
    organisations: int = 1_000
    orders: int = 100_000
    page_times: int = 20
    runs_listed: int = 50_000
    run_lists: int = 40
    traffic_s: float = 60.0
    slurm_jobs: int = 200
    seeds: int = 10
    lists: int = 6
    jobs_max: int | None = None
    decisions: int = 600
    notebooks: int = 9
    tunnel_requests: int = 5_000
    tunnel_megabytes: int = 512
    tunnel_idle: int = 500
    keystrokes: int = 500
    services: int = 9


SMOKE: Final = Size(
    helps=1,
    ledger_s=0.5,
    pools=3,
    one_pool_cores=16,
    runs=1,
    requests=50,
    idle_s=1.0,
    offers=500,
    searches=8,
    usage_batches=3,
    organisations=210,
    orders=300,
    page_times=2,
    runs_listed=300,
    run_lists=2,
    traffic_s=1.0,
    slurm_jobs=4,
    seeds=1,
    lists=1,
    jobs_max=2000,
    decisions=20,
    notebooks=1,
    tunnel_requests=100,
    tunnel_megabytes=4,
    tunnel_idle=5,
    keystrokes=10,
    services=1,
)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, epilog=f"Names: {', '.join(_BENCHMARKS)}."
    )
    parser.add_argument("names", nargs="*", choices=[[], *_BENCHMARKS], metavar="NAME")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--seeded", type=Path, help="keep the seeded hub of pages and traffic in this folder")
    asked = parser.parse_args(arguments)
    size = SMOKE if asked.smoke else Size()
    if asked.seeded:
        os.environ[_SEEDED] = str(asked.seeded.resolve())
    folder = Path(tempfile.mkdtemp(prefix="mosu-bench-", dir="/var/tmp"))
    folder.chmod(0o755)
    try:
        about = machine(folder)
        figures: list[Figure] = []
        for name in asked.names or _BENCHMARKS:
            print(f"... {name}", file=sys.stderr, flush=True)
            found = _apart(_BENCHMARKS[name], folder, size)
            figures += found
            for figure in found:
                print("   ", *figure.row(), file=sys.stderr, flush=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    about["load_after"] = os.getloadavg()[0]
    print(table([("machine", ""), *((name, str(value)) for name, value in about.items())]), end="\n\n")
    print(table([("what", "figure", "bar", "", "note"), *(figure.row() for figure in figures)]))
    if asked.json:
        facts = {"machine": about, "smoke": asked.smoke, "figures": [figure.as_json() for figure in figures]}
        asked.json.write_text(json.dumps(facts, indent=2, ensure_ascii=False) + "\n")
    return 0 if asked.smoke or all(figure.holds for figure in figures) else 1


def _help(folder: Path, size: Size) -> list[Figure]:
    return help_shown(times=size.helps)


def _up(folder: Path, size: Size) -> list[Figure]:
    return up(_made(folder / "up"))


def _ledger(folder: Path, size: Size) -> list[Figure]:
    return ledger.figures(seconds=size.ledger_s)


def _accept(folder: Path, size: Size) -> list[Figure]:
    def measure(hub: Hub, config: Config, buyers: Sequence[Buyer]) -> list[Figure]:
        return accepted(
            hub.url,
            buyers,
            owner_dsn=config.owner_dsn(),
            pools=size.pools,
            one_pool_cores=size.one_pool_cores,
        )

    return _on_a_hub(folder, measure, buyers=16)


def _placement(folder: Path, size: Size) -> list[Figure]:
    def measure(hub: Hub, config: Config, buyers: Sequence[Buyer]) -> list[Figure]:
        return placing.kept(buyers[0], decisions=size.decisions)

    kept = _on_a_hub(folder, measure, buyers=1)
    return [*placing.placed(seeds=size.seeds, lists=size.lists), *placing.lined_up(), *kept]


def _philly(folder: Path, size: Size) -> list[Figure]:
    return placing.queued(jobs_max=size.jobs_max)


def _lease(folder: Path, size: Size) -> list[Figure]:
    def measure(hub: Hub, config: Config, buyers: Sequence[Buyer]) -> list[Figure]:
        return lease_and_log(hub.url, buyers[0], owner_dsn=config.owner_dsn(), runs=size.runs)

    return _on_a_hub(folder, measure, buyers=1)


def _connect(folder: Path, size: Size) -> list[Figure]:
    def measure(hub: Hub, config: Config, buyers: Sequence[Buyer]) -> list[Figure]:
        return connected(
            hub,
            buyers[0],
            requests=size.tunnel_requests,
            megabytes=size.tunnel_megabytes,
            idle=size.tunnel_idle,
        )

    return _on_a_hub(folder, measure, buyers=1)


def _service(folder: Path, size: Size) -> list[Figure]:
    def measure(hub: Hub, config: Config, buyers: Sequence[Buyer]) -> list[Figure]:
        return replaced(hub, buyers[0], services=size.services)

    return _on_a_hub(folder, measure, buyers=1)


def _endpoint(folder: Path, size: Size) -> list[Figure]:
    def measure(hub: Hub, config: Config, buyers: Sequence[Buyer]) -> list[Figure]:
        return served(hub, buyers[0], requests=size.tunnel_requests)

    return _on_a_hub(folder, measure, buyers=1)


def _ssh(folder: Path, size: Size) -> list[Figure]:
    if shutil.which("ssh") is None or not os.access(SSHD, os.X_OK):
        return [Figure("ssh", math.nan, "", note="needs apt-get install openssh-client openssh-server")]

    def measure(hub: Hub, config: Config, buyers: Sequence[Buyer]) -> list[Figure]:
        return echoed(hub, buyers[0], keystrokes=size.keystrokes)

    return _on_a_hub(folder, measure, buyers=1)


def _notebook(folder: Path, size: Size) -> list[Figure]:
    def measure(hub: Hub, config: Config, buyers: Sequence[Buyer]) -> list[Figure]:
        if why_not := notebook.build(hub):
            return [Figure("a notebook", math.nan, "", note=why_not)]
        return notebook.opened(hub, buyers[0], hub.data_dir, times=size.notebooks)

    return _on_a_hub(folder, measure, buyers=1)


def _json(folder: Path, size: Size) -> list[Figure]:
    def measure(hub: Hub, config: Config, buyers: Sequence[Buyer]) -> list[Figure]:
        lease_and_log(hub.url, buyers[0], owner_dsn=config.owner_dsn(), runs=1)
        with Client(hub.url, buyers[0].token) as client:
            path = f"/api/v1/quotes/{client.orders().items[0].quote_id}"
        return json_answers(
            hub, config, path=path, token=buyers[0].token, web_pid=_web_pid(config), requests=size.requests
        )

    return _on_a_hub(folder, measure, buyers=1)


def _shelf(folder: Path, size: Size) -> list[Figure]:
    with hub_in(_fresh(folder)) as hub:
        config = join(hub)
        return searched(
            hub.url,
            owner_dsn=config.owner_dsn(),
            web_pid=_web_pid(config),
            offers=size.offers,
            requests=size.searches,
        )


def _quote(folder: Path, size: Size) -> list[Figure]:
    def measure(hub: Hub, config: Config, buyers: Sequence[Buyer]) -> list[Figure]:
        return quoted(
            hub.url, buyers[0], owner_dsn=config.owner_dsn(), offers=size.offers, requests=size.searches // 2
        )

    return _on_a_hub(folder, measure, buyers=1)


def _web_pid(config: Config) -> int:
    return int(json.loads(config.status_file.read_text())["parts"]["web"]["pid"])


def _import(folder: Path, size: Size) -> list[Figure]:
    with hub_in(_fresh(folder)) as hub:
        join(hub)
        return importing.figures(hub, folder, offers=size.offers)


def _usage(folder: Path, size: Size) -> list[Figure]:
    def measure(hub: Hub, config: Config, buyers: Sequence[Buyer]) -> list[Figure]:
        return taken(hub, buyers, owner_dsn=config.owner_dsn(), batches=size.usage_batches)

    return _on_a_hub(folder, measure, buyers=4)


def _close(folder: Path, size: Size) -> list[Figure]:
    with hub_in(_fresh(folder)) as hub:
        return closed(hub, join(hub), organisations=size.organisations, orders=size.orders)


def _runs(folder: Path, size: Size) -> list[Figure]:
    with hub_in(_fresh(folder)) as hub:
        dsn = join(hub).owner_dsn()
        return listed(hub, owner_dsn=dsn, runs=size.runs_listed, times=size.run_lists)


def _pages(folder: Path, size: Size) -> list[Figure]:
    figures = _apart(_seeded, folder, size)
    with hub_in(_kept(folder)) as hub:
        first = pages.after_a_start(hub.url)
        found, each = pages.measured(hub.url, _past(hub), times=size.page_times)
    print(table(pages.table_of(each)), end="\n\n")
    return [*figures, *first, *found]


def _traffic(folder: Path, size: Size) -> list[Figure]:
    figures = _apart(_seeded, folder, size)
    with hub_in(_kept(folder)) as hub:
        return [
            *figures,
            *traffic.borne(hub.url, pages.mixed_reads(hub.url, _past(hub)), seconds=size.traffic_s),
        ]


def _kept(folder: Path) -> Path:
    """Where the seeded hub lies: made by the first benchmark that reads it, or by an earlier run's (`--seeded`)."""
    kept = Path(os.environ.get(_SEEDED, folder / "seeded"))
    kept.mkdir(mode=0o755, exist_ok=True)
    return kept


def _seeded(folder: Path, size: Size) -> list[Figure]:
    """What it took to make the hub with a past, whose ledger has verified it; nothing if it lies there already."""
    if _note(_kept(folder)).exists():
        return []
    with hub_in(_kept(folder)) as hub:
        made = seed(
            join(hub).owner_dsn(),
            now=datetime.now(UTC),
            organisations=size.organisations,
            orders=size.orders,
            offers=size.offers,
        )
        figures = [verified(made)]
        settled(hub)
    _note(_kept(folder)).write_bytes(pickle.dumps(made))
    return figures


def _past(hub: Hub) -> Seeded:
    """Who is on the seeded hub. This process joins it, and its agents were just heard."""
    keep_alive(join(hub).owner_dsn())
    made: Seeded = pickle.loads(_note(hub.data_dir.parent.parent).read_bytes())  # noqa: S301 - our own note
    return made


def _note(kept: Path) -> Path:
    return kept / "seeded.pickle"


def _apart(benchmark: Callable[[Path, Size], list[Figure]], folder: Path, size: Size) -> list[Figure]:
    """In a process of its own: Django reads its settings once."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as own:
        return own.submit(benchmark, folder, size).result()


def _firstrun(folder: Path, size: Size) -> list[Figure]:
    with hub_in(_fresh(folder)) as hub:
        join(hub)
        # Django is set up now; what stands on it can be imported.
        from mosu.runtime.demo.world import load_world  # noqa: PLC0415

        load_world(say=lambda _: None)
        return first_run(hub.url)


def _idle(folder: Path, size: Size) -> list[Figure]:
    with hub_in(_fresh(folder)) as hub:
        return idle(hub, seconds=size.idle_s)


def _agent(folder: Path, size: Size) -> list[Figure]:
    with hub_in(_fresh(folder)) as hub:
        config = join(hub)
        price_local_pool()
        pid = int(json.loads(config.status_file.read_text())["parts"]["agent"]["pid"])
        return idle_agent(pid, seconds=size.idle_s)


def _slurm(folder: Path, size: Size) -> list[Figure]:
    if shutil.which("sbatch") is None or os.geteuid() != 0:
        return [Figure("Slurm", math.nan, "", note="needs root and tools/install-slurm.sh")]
    return through_mosu_and_bare(_made(folder / "slurm"), jobs=size.slurm_jobs, alone=size.runs)


def _on_a_hub(
    folder: Path, measure: Callable[[Hub, Config, Sequence[Buyer]], list[Figure]], *, buyers: int
) -> list[Figure]:
    """What `measure` finds on a new hub with that many buyers, each with a balance and a voucher."""
    with hub_in(_fresh(folder)) as hub:
        config = join(hub)
        price_local_pool()
        return measure(hub, config, make_buyers(vouchers=["1000.00"] * buyers))


def _fresh(folder: Path) -> Path:
    """Where a benchmark's new hub lies: a copy of one that was set up, ever in one place, since a hub knows its own."""
    untouched, place = folder / "untouched", folder / "new"
    if not untouched.exists():
        with hub_in(_made(place)):
            pass
        place.rename(untouched)
    shutil.rmtree(place, ignore_errors=True)
    subprocess.run(["cp", "-a", untouched, place], check=True)
    return place


def _made(folder: Path) -> Path:
    folder.mkdir(mode=0o755)
    return folder


_BENCHMARKS: Final[dict[str, Callable[[Path, Size], list[Figure]]]] = {
    "help": _help,
    "up": _up,
    "ledger": _ledger,
    "accept": _accept,
    "placement": _placement,
    "philly": _philly,
    "lease": _lease,
    "json": _json,
    "shelf": _shelf,
    "quote": _quote,
    "import": _import,
    "usage": _usage,
    "close": _close,
    "runs": _runs,
    "pages": _pages,
    "traffic": _traffic,
    "firstrun": _firstrun,
    "idle": _idle,
    "agent": _agent,
    "slurm": _slurm,
    "connect": _connect,
    "service": _service,
    "endpoint": _endpoint,
    "ssh": _ssh,
    "notebook": _notebook,
}
