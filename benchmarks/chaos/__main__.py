"""`python -m benchmarks.chaos`: exit 0 only if every law held."""

# ruff: noqa: T201 - a command that prints
import argparse
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import psycopg
from tests.hub import last_words_of

from benchmarks.chaos.buyers import LATE_MAX, Market, Shopper, tickets
from benchmarks.chaos.counts import Count, count_all
from benchmarks.chaos.killer import PARTS, Killer
from benchmarks.chaos.witness import install_witness
from benchmarks.hubs import folder_on_disk, hub_in, join, make_buyers, price_local_pool

# Three with vouchers: ample, soon used up, and capped by the year before its amount; one without.
VOUCHERS: Final = ("100.00", "2.00", "100.00", None)
YEAR_CAP: Final = "3.00"
SHOPPERS: Final = 8
QUIET_S_MAX: Final = 900.0
"""How long after the last kill everything may take to end."""
ORDERS_PER_S: Final = 2 / 3


class Violated(Exception):
    """Something did not hold; the folder stays."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--orders", type=int, help="[default: two for three seconds]")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args(arguments)
    orders = asked.orders or round(asked.seconds * ORDERS_PER_S)
    with ExitStack() as stack:
        folder = stack.enter_context(folder_on_disk("chaos"))
        try:
            found = _chaos(folder, seconds=asked.seconds, seed=asked.seed, orders=orders)
        except BaseException:
            print(f"the hub's folder stays to be looked at: {folder}", file=sys.stderr)
            stack.pop_all()
            raise
        _print(found)
        if asked.json:
            asked.json.write_text(json.dumps(found, indent=2, default=str) + "\n")
        if found["ok"]:
            return 0
        print(last_words_of(folder / "hub"), file=sys.stderr)
        print(f"the hub's folder stays to be looked at: {folder}", file=sys.stderr)
        stack.pop_all()
        return 1


def _chaos(folder: Path, *, seconds: float, seed: int, orders: int) -> dict[str, Any]:
    witness = install_witness(folder)
    with hub_in(folder, env={"MOSU_BWRAP": str(witness.starter)}) as hub:
        config = join(hub)
        owner_dsn = config.owner_dsn()
        price_local_pool()
        witness.begin()  # the machine's health test is a job too, and no attempt of the hub's
        buyers = make_buyers(vouchers=VOUCHERS, year_cap=YEAR_CAP)
        print(f"{hub.url}: {orders} orders in {seconds:.0f} s, seed {seed}", flush=True)
        began = time.monotonic()
        market = Market(tickets(orders, seed=seed), url=hub.url, seed=seed, seconds=seconds)
        shoppers = [
            Shopper(market, buyers[number % len(buyers)], name=f"shopper {number}")
            for number in range(SHOPPERS)
        ]
        killer = Killer(hub.data_dir, seed=seed)
        killer.start()
        for shopper in shoppers:
            shopper.start()
        # Where parts come up slowly, the last of them may not have been killed yet when all have shopped.
        while any(shopper.is_alive() for shopper in shoppers) or not all_killed(killer.kills).holds:
            time.sleep(0.5)
            if time.monotonic() > began + LATE_MAX * seconds:
                break
        killer.stop()
        stopped = time.monotonic()
        for shopper in shoppers:
            shopper.join(timeout=max(0.0, stopped + QUIET_S_MAX - time.monotonic()))
        quiet_s = _wait_until_quiet(owner_dsn, until=stopped + QUIET_S_MAX) - stopped
        counts = count_all(owner_dsn=owner_dsn, starts=witness.starts(), acknowledged=market.acknowledged)
        counts.append(_ledger_verified())
        counts.append(all_placed(orders, placed=len(market.acknowledged), dropped=market.dropped))
        counts.append(all_killed(killer.kills))
        counts.append(
            Count("no answer that no fault excuses", len(market.acknowledged), tuple(market.faults))
        )
        return {
            "ok": all(count.holds for count in counts),
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "cores": os.cpu_count(),
            "seed": seed,
            "seconds": round(stopped - began, 1),
            "orders": len(market.acknowledged),
            "by_kind": _tally(one.kind for one in market.acknowledged),
            "kills": dict(sorted(killer.kills.items())),
            "calls_repeated": market.repeated,
            "refusals": dict(sorted(market.refusals.items())),
            "quiet_after_s": round(quiet_s, 1),
            "runs": _states(owner_dsn, "compute_run"),
            "attempts": _states(owner_dsn, "compute_attempt"),
            "jobs": _background(owner_dsn),
            "laws": [
                {"law": count.what, "checked": count.checked, "broken": list(count.broken)}
                for count in counts
            ],
        }


def _wait_until_quiet(owner_dsn: str, *, until: float) -> float:
    """When nothing ran, waited or was held any more; `until` if that did not come."""
    query = """select (select count(*) from market_order where state not in ('settled', 'cancelled'))
               + (select count(*) from compute_allocation where live)"""
    while time.monotonic() < until:
        try:
            with psycopg.connect(owner_dsn, connect_timeout=5) as connection:
                row = connection.execute(query).fetchone()
                if row is not None and row[0] == 0:
                    return time.monotonic()
        except psycopg.OperationalError:
            pass  # it may be coming up from the last kill
        time.sleep(0.5)
    return until


def _ledger_verified() -> Count:
    """The hub's own nightly check, too."""
    from mosu.ledger.services import verify  # noqa: PLC0415 - Django is set up by now

    found = verify(now=datetime.now(UTC))
    return Count("the ledger verifies itself", found.entries, tuple(found.problems))


def all_placed(asked: int, *, placed: int, dropped: int) -> Count:
    """Every order asked for was placed; what was not is told by why."""
    unanswered = asked - placed - dropped
    broken = [f"{dropped} were dropped as late"] if dropped else []
    broken += [f"{unanswered} were begun and never acknowledged"] if unanswered else []
    return Count("every order asked for was placed", asked, tuple(broken))


def all_killed(kills: Mapping[str, int]) -> Count:
    """A run in which something lived on shows nothing of it."""
    spared = tuple(f"{part} was never killed" for part in PARTS if not kills.get(part))
    return Count("web, worker, agent and PostgreSQL were each killed", sum(kills.values()), spared)


def _tally(words: Any) -> dict[str, int]:
    found: dict[str, int] = {}
    for word in words:
        found[word] = found.get(word, 0) + 1
    return dict(sorted(found.items()))


def _states(owner_dsn: str, table: str) -> dict[str, int]:
    query = f"select state, count(*) from {table} group by state order by 1"  # noqa: S608 - our own names
    with psycopg.connect(owner_dsn) as connection:
        return dict(connection.execute(query).fetchall())


def _background(owner_dsn: str) -> dict[str, int]:
    with psycopg.connect(owner_dsn) as connection:
        query = (
            "select task_name || ' ' || status::text, count(*) from procrastinate_jobs group by 1 order by 1"
        )
        return dict(connection.execute(query).fetchall())


def _print(found: dict[str, Any]) -> None:
    for name in ("orders", "by_kind", "kills", "calls_repeated", "refusals", "runs", "attempts", "jobs"):
        print(f"{name:<15} {found[name]}")
    print(f"{'all ended':<15} {found['quiet_after_s']} s after the last kill\n")
    for law in found["laws"]:
        told = "holds" if not law["broken"] else f"BROKEN {len(law['broken'])} times"
        print(f"{law['law']:<68} {law['checked']:>6}  {told}")
        for one in law["broken"][:5]:
            print(f"    {one}")


if __name__ == "__main__":
    sys.exit(main())
