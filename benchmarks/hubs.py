"""Hubs for benchmarks: a real `mosu up` in a folder on a disk, with people who may buy."""

# ruff: noqa: PLC0415 - Django is set up first, then imported
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from uuid import UUID

from tests.hub import Hub, running_hub

from mosu.runtime.commands import use_hub
from mosu.runtime.config import Config, load_config

PRICE_PER_CORE_HOUR: Final = "72.00"
"""Ten cents a second: what a second costs shows on the receipt."""
FIT_S_MAX: Final = 300.0

_PROGRAMME: Final = """
id: bench
version: 1
title: {zh: 测试用券, en: Voucher of a benchmark}
kind: compute_voucher
mode: checkout
source: Made up for a benchmark.
funders:
  - {name: Nobody, share: "1"}
rate: "0.30"
pool: "100000.00"
cap_per_order: "0.50"
cap_per_organisation_year: "{cap}"
validity_days: 30
shelves: [compute]
spend_kinds: [card_hours, core_hours]
unrelated_parties: true
eligibility:
  - id: resident
    when: "'resident' in organisation.capabilities"
    reason: {zh: 须为入驻单位, en: Only residents of the hub may have it}
"""


@dataclass(frozen=True, slots=True)
class Buyer:
    """An organisation with money, and its token."""

    organisation_id: UUID
    token: str


@contextmanager
def folder_on_disk(prefix: str) -> Iterator[Path]:
    """A folder for a hub, removed unless an error leaves it to be looked at. Not in /tmp, which may be memory."""
    folder = Path(tempfile.mkdtemp(prefix=f"mosu-{prefix}-", dir="/var/tmp"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def hub_in(folder: Path, *, env: Mapping[str, str] | None = None) -> Iterator[Hub]:
    """A started hub whose data lie in `folder`, kept when it stops."""
    home = folder / "hub"
    home.mkdir(mode=0o755, exist_ok=True)
    with running_hub(data_dir=home, env=env) as hub:
        yield hub


def join(hub: Hub) -> Config:
    """Make this process one of the hub's, as `mosu demo` does: Django set up, connected as the application."""
    config = load_config(data_dir=hub.data_dir, port=int(hub.url.rsplit(":", 1)[1]))
    use_hub(config)
    return config


def make_buyers(
    *, vouchers: Sequence[str | None], deposit: str = "100000.00", year_cap: str = "1000.00"
) -> list[Buyer]:
    """Resident organisations with a deposit, and a voucher over the amount where one is named. After `join`."""
    from django.db import connections

    from mosu.kernel.money import micros_of
    from mosu.ledger.services import confirm_deposit, propose_deposit
    from mosu.platform.actors import HubRole
    from mosu.platform.models import User
    from mosu.platform.queries import actor_for_user
    from mosu.platform.services import bootstrap
    from mosu.subsidies.services import issue_voucher, propose_programme, release_programme, release_voucher

    now = datetime.now(UTC)
    run = secrets.token_hex(3)
    maker_id = bootstrap(
        email=f"maker-{run}@bench.example",
        organisation_name=f"Makers {run}",
        now=now,
        hub_roles=[HubRole.OPERATOR],
    ).user_id
    checker_id = bootstrap(
        email=f"checker-{run}@bench.example",
        organisation_name=f"Checkers {run}",
        now=now,
        hub_roles=[HubRole.CHECKER],
    ).user_id
    maker = actor_for_user(User.objects.get(id=maker_id))
    checker = actor_for_user(User.objects.get(id=checker_id))
    text = _PROGRAMME.replace("{cap}", year_cap).replace("id: bench", f"id: bench-{run}")
    version = propose_programme(actor=maker, text=text, source="bench.yaml", now=now)
    release_programme(actor=checker, version_id=version.id, now=now)
    buyers = []
    for number, amount in enumerate(vouchers, 1):
        made = bootstrap(
            email=f"buyer{number}-{run}@bench.example",
            organisation_name=f"Buyer {number} {run}",
            capabilities=["resident"],
            now=now,
        )
        paid = propose_deposit(
            actor=maker,
            organisation_id=made.organisation_id,
            amount_micros=micros_of(deposit),
            bank_reference=f"BENCH-{run}-{number}",
            now=now,
        )
        confirm_deposit(actor=checker, deposit_id=paid.id, now=now)
        if amount is not None:
            voucher = issue_voucher(
                actor=maker,
                organisation_id=made.organisation_id,
                programme_id=version.programme_id,
                amount_micros=micros_of(amount),
                now=now,
            )
            release_voucher(actor=checker, voucher_id=voucher.id, now=now)
        buyers.append(Buyer(organisation_id=made.organisation_id, token=made.token))
    connections.close_all()  # the server may be killed before this process asks it again
    return buyers


def price_local_pool() -> None:
    """Sell this machine's cores at `PRICE_PER_CORE_HOUR`, once it has passed its health test. After `join`."""
    from mosu.compute.models import Node
    from mosu.compute.services import ensure_local_pool
    from mosu.compute.states import Fitness
    from mosu.kernel.money import micros_of
    from mosu.market.models import Offer
    from mosu.market.services import PriceSpec, set_price
    from mosu.platform.actors import SYSTEM

    now = datetime.now(UTC)
    pool_id, _ = ensure_local_pool(now=now)
    set_price(
        actor=SYSTEM,
        offer_id=Offer.objects.get(subject_id=pool_id, shelf="compute").id,
        price=PriceSpec(
            meter="core_second", unit="core_hour", unit_price_micros=micros_of(PRICE_PER_CORE_HOUR)
        ),
        now=now,
        confirmed=True,
    )
    end = time.monotonic() + FIT_S_MAX
    while not Node.objects.filter(pool_id=pool_id, fitness=Fitness.FIT).exists():
        if time.monotonic() > end:
            raise RuntimeError(f"this machine passed no health test within {FIT_S_MAX:.0f} s")
        time.sleep(0.2)
