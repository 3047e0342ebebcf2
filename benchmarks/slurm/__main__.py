"""`python -m benchmarks.slurm`: parts of a hub, its link and a real Slurm die during many runs; then it is counted.

Exit 0 only if every law held. Needs root and `tools/install-slurm.sh`.
"""

# ruff: noqa: T201 - a command that prints
import argparse
import json
import random
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import psycopg
from tests.hub import Hub
from tests.slurm.cluster import SlurmCluster, running_slurm

from benchmarks.chaos.counts import Count
from benchmarks.chaos.killer import Killer
from benchmarks.chaos.witness import install_witness
from benchmarks.hubs import folder_on_disk, hub_in, join, make_buyers
from benchmarks.slurm.link import BadLink
from benchmarks.slurm.site import SUPPLIER, Site, site_in
from mosu.client import Client, ClientError
from mosu.kernel.ids import typeid

PARTS: Final = ("slurmctld", "slurmdbd", "n1", "n2", "agent", "web", "postgres")
SHOPPERS: Final = 4
QUIET_S_MAX: Final = 600.0
"""For what never comes, not for what is slow."""
_BOOKS_S_MAX: Final = 120.0
_TASK: Final = """
resources: {{cpus: {cpus}, memory: 1+, disk_size: 1}}
run: 'echo begun; sleep {seconds}; echo ended'
mosu: {{wall_limit: 120s, suppliers: [{supplier}]}}
"""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.slurm", description=__doc__)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args(arguments)
    with ExitStack() as stack:
        folder = stack.enter_context(folder_on_disk("slurm-chaos"))
        cluster = stack.enter_context(running_slurm())
        found = _chaos(folder, cluster, runs=asked.runs, seed=asked.seed)
        _print(found)
        if asked.json:
            asked.json.write_text(json.dumps(found, indent=2, default=str) + "\n")
        return 0 if found["ok"] else 1


def _chaos(folder: Path, cluster: SlurmCluster, *, runs: int, seed: int) -> dict[str, Any]:
    witness = install_witness(folder)
    with ExitStack() as stack:
        hub = stack.enter_context(hub_in(folder))
        config = join(hub)
        owner_dsn = config.owner_dsn()
        (buyer,) = make_buyers(vouchers=[None])
        link = stack.enter_context(BadLink(hub.url, bad=0.15, seed=seed))
        site = stack.enter_context(
            site_in(folder / "site", hub, cluster, env={"MOSU_BWRAP": str(witness.starter)}, hub_url=link.url)
        )
        over = threading.Event()
        stack.callback(over.set)
        threading.Thread(target=_noting, args=(site, over), daemon=True).start()
        began = time.monotonic()
        killer = _PartKiller(cluster, site, hub, seed=seed)
        ordered = _Orders(hub.url, buyer.token, runs=runs, seed=seed)
        ordered.wait_for_pool()
        killer.start()
        ordered.place(killer.went_round)
        _wait_until_quiet(owner_dsn, until=time.monotonic() + QUIET_S_MAX)
        killer.stop()
        link.bad = 0.0
        _wait_until_quiet(owner_dsn, until=time.monotonic() + QUIET_S_MAX)
        attempts = _attempts(owner_dsn, site, cluster)
        laws = _laws(attempts, runs=runs, starts=witness.starts())
        spared = tuple(set(PARTS) - set(killer.kills))
        laws.append(Count("each part was killed", len(PARTS), (*spared, *killer.faults)))
        return {
            "ok": all(law.holds for law in laws),
            "runs": runs,
            "seed": seed,
            "seconds": round(time.monotonic() - began, 1),
            "kills": dict(sorted(killer.kills.items())),
            "link": dict(sorted(link.faults.items())),
            "attempts": dict(sorted(Counter(one["state"] for one in attempts).items())),
            "quarantined_s": sum(one["claimed"] - one["accepted"] for one in attempts),
            "laws": [{"law": law.what, "checked": law.checked, "broken": list(law.broken)} for law in laws],
        }


class _PartKiller(threading.Thread):
    """Kills one part after the other, each at least once, and starts again what does not start by itself."""

    def __init__(self, cluster: SlurmCluster, site: Site, hub: Hub, *, seed: int) -> None:
        super().__init__(name="part killer", daemon=True)
        self._cluster, self._site, self._hub = cluster, site, hub
        self._hub_killer = Killer(hub.data_dir, seed=seed)
        self._choice = random.Random(seed)  # noqa: S311
        self._stopping = threading.Event()
        self.went_round = threading.Event()
        """Each part was killed once, or none will be any more."""
        self.kills: Counter[str] = Counter()
        self.faults: list[str] = []
        """Why it went on no longer."""

    def run(self) -> None:
        try:
            self._go_round()
        except Exception as fault:  # noqa: BLE001 - told as a law that was broken
            self.faults.append(repr(fault))
        finally:
            self.went_round.set()

    def _go_round(self) -> None:
        first = self._choice.sample(PARTS, len(PARTS))
        while not self._stopping.wait(self._choice.uniform(1, 5)):
            part = first.pop() if first else self._choice.choice(PARTS)
            self._kill(part, away_s=self._choice.uniform(0.5, 4))
            self.kills[part] += 1
            if not first:
                self.went_round.set()
            while not _is_ready(self._hub) and not self._stopping.wait(0.5):
                pass  # a hub that is killed while it starts never serves anybody

    def stop(self) -> None:
        self._stopping.set()
        self.join()

    def _kill(self, part: str, *, away_s: float) -> None:
        if part == "agent":
            self._site.kill()
            time.sleep(away_s)
            self._site.start()
        elif part in {"web", "postgres"}:
            self._hub_killer.kill_part(part)
        else:
            if part == "slurmctld":
                # What it had not written down it would forget, as a real one would; that has its own test.
                self._cluster.remember()
            self._cluster.stop(part)
            time.sleep(away_s)
            self._cluster.start(part)


def _is_ready(hub: Hub) -> bool:
    try:
        with urllib.request.urlopen(f"{hub.url}/readyz", timeout=5) as answer:  # noqa: S310 - our own
            return bool(answer.status == 200)
    except OSError:
        return False


class _Orders:
    """So many orders, placed by some shoppers who try again until each is acknowledged."""

    def __init__(self, url: str, token: str, *, runs: int, seed: int) -> None:
        choice = random.Random(seed)  # noqa: S311
        self._url, self._token = url, token
        self._left = [(choice.randint(1, 2), round(choice.uniform(0.5, 6), 1)) for _ in range(runs)]
        self._guard = threading.Lock()

    def wait_for_pool(self) -> None:
        with Client(self._url, self._token) as client:
            until = time.monotonic() + QUIET_S_MAX
            while not self._quotes(client, 1, 1.0):
                if time.monotonic() > until:
                    raise RuntimeError("the pool never came on the shelf")
                time.sleep(0.5)

    def place(self, went_round: threading.Event) -> None:
        """Place all; the last quarter only when everything was killed once."""
        shoppers = [
            threading.Thread(target=self._shop, args=(went_round,), daemon=True) for _ in range(SHOPPERS)
        ]
        for one in shoppers:
            one.start()
        for one in shoppers:
            one.join()

    def _shop(self, went_round: threading.Event) -> None:
        held_back = len(self._left) // 4
        with Client(self._url, self._token) as client:
            while True:
                with self._guard:
                    if not self._left:
                        return
                    cpus, seconds = self._left.pop()
                    late = len(self._left) < held_back
                if late:
                    went_round.wait(QUIET_S_MAX)
                while not self._placed(client, cpus, seconds):
                    time.sleep(0.5)

    def _placed(self, client: Client, cpus: int, seconds: float) -> bool:
        quotes = self._quotes(client, cpus, seconds)
        if not quotes:
            return False
        for _ in range(600):
            try:
                client.accept(quotes[0], idempotency_key=f"chaos-{quotes[0]}")
            except ClientError as error:
                if getattr(error, "status", 0) in {409, 410}:
                    return False  # somebody else was quicker
                time.sleep(0.5)  # the same again: the key makes it once
            else:
                return True
        return False

    def _quotes(self, client: Client, cpus: int, seconds: float) -> list[str]:
        text = _TASK.format(cpus=cpus, seconds=seconds, supplier=SUPPLIER)
        try:
            return [quote.id for quote in client.make_quotes(text, vouchers="none").quotes]
        except ClientError:
            return []


def _noting(site: Site, stopping: threading.Event) -> None:
    while not stopping.wait(0.2):
        site.note_claims()


def _wait_until_quiet(owner_dsn: str, *, until: float) -> None:
    query = "select count(*) from market_order where state not in ('settled', 'cancelled')"
    while time.monotonic() < until:
        try:
            with psycopg.connect(owner_dsn, connect_timeout=5) as connection:
                row = connection.execute(query).fetchone()
                if row is not None and row[0] == 0:
                    return
        except psycopg.OperationalError:
            pass  # it may be coming up from the last kill
        time.sleep(0.5)


_QUERY: Final = """
    select a.id, a.state, o.state, l.units, c.quantity, c.amount_micros,
        coalesce((select sum(quantity) from market_usagerecord u where u.order_line_id = l.id), 0),
        coalesce((select sum(quantity_accepted) from market_usagerecord u where u.order_line_id = l.id), 0)
    from compute_attempt a join compute_run r on r.id = a.run_id join market_order o on o.id = r.order_id
    join market_orderline l on l.order_id = o.id left join market_charge c on c.order_line_id = l.id order by a.id
"""


def _attempts(owner_dsn: str, site: Site, cluster: SlurmCluster) -> list[dict[str, Any]]:
    """Each attempt with what the hub has of it and what Slurm's books have, by job name."""
    books = _books(cluster)
    until = time.monotonic() + _BOOKS_S_MAX
    while time.monotonic() < until and not site.claims.keys() <= books.keys():
        time.sleep(0.5)  # slurmdbd may have a job's end before its name
        books = _books(cluster)
    with psycopg.connect(owner_dsn) as connection:
        rows = connection.execute(_QUERY).fetchall()
    found = []
    for attempt_id, state, order, units, quantity, micros, claimed, accepted in rows:
        name = typeid("attempt", attempt_id)
        jobs = books.get(name, [])
        # Of several the one that had the attempt; of a job that ran for a moment nobody may have seen the claim.
        mine = jobs if len(jobs) == 1 else [row for row in jobs if row[0] == str(site.claims.get(name))]
        found.append(
            {
                "name": name,
                "state": state,
                "order": order,
                "units": units,
                "charged": quantity,
                "micros": micros,
                "claimed": int(claimed),
                "accepted": int(accepted),
                "slurm": sum(int(row[2]) * units for row in mine),
                "jobs": jobs,
            }
        )
    return found


def _books(cluster: SlurmCluster) -> dict[str, list[list[str]]]:
    """Of each name, its jobs: id, state, seconds, TRES."""
    text = cluster.ask(
        *("sacct", "-X", "-P", "-n", "--duplicates", "--starttime=1970-01-01", "--endtime=now+1hour"),
        "--format=JobName,JobIDRaw,State,ElapsedRaw,AllocTRES",
    )
    found: dict[str, list[list[str]]] = {}
    for line in text.splitlines():
        name, *row = line.split("|")
        found.setdefault(name, []).append(row)
    return found


def _laws(attempts: list[dict[str, Any]], *, runs: int, starts: Counter[str]) -> list[Count]:
    ended = [one for one in attempts if one["state"] != "lost"]
    lost = [one for one in attempts if one["state"] == "lost"]
    settled = [one for one in attempts if one["order"] == "settled"]
    more = [f"{name}: {count}" for name, count in starts.items() if count > 1]
    few = [f"{len(settled)} of {runs}"] if len(settled) < runs else []
    return [
        Count("all runs were ordered and settled", runs, tuple(few)),
        Count("each attempt ran at most once", len(starts), tuple(more)),
        _law("usage is Slurm's, to the second", ended, lambda one: one["claimed"] == one["slurm"]),
        _law("what is charged was accepted as used", ended, lambda one: one["charged"] == one["accepted"]),
        _law("a charge is its price", ended, lambda one: one["micros"] == _price(one["charged"])),
        _law("what was lost costs nothing", lost, lambda one: not one["micros"]),
    ]


def _law(what: str, attempts: list[dict[str, Any]], holds: Callable[[dict[str, Any]], bool]) -> Count:
    return Count(what, len(attempts), tuple(str(one) for one in attempts if not holds(one)))


def _price(core_seconds: int) -> int:
    """At 3.60 a core-hour: 0.001 a core-second, rounded to the cent, half to even."""
    cents, rest = divmod(core_seconds, 10)
    return (cents + (rest > 5 or (rest == 5 and cents % 2 == 1))) * 10_000


def _print(found: dict[str, Any]) -> None:
    for name in ("runs", "seconds", "kills", "link", "attempts", "quarantined_s"):
        print(f"{name:<15} {found[name]}")
    for law in found["laws"]:
        told = "holds" if not law["broken"] else f"BROKEN {len(law['broken'])} times"
        print(f"{law['law']:<48} {law['checked']:>6}  {told}")
        for one in law["broken"][:5]:
            print(f"    {one}")


if __name__ == "__main__":
    sys.exit(main())
