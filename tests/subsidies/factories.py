"""Small makers of programmes and vouchers."""

from datetime import datetime
from itertools import count
from typing import Any
from uuid import UUID, uuid4

from django.conf import settings
from tests.platform.factories import NOW, make_founder, make_staff

from mosu.ledger import services as ledger
from mosu.ledger.queries import balance_of
from mosu.platform.actors import Actor, HubRole
from mosu.subsidies import services
from mosu.subsidies.models import ProgrammeVersion, Voucher
from mosu.subsidies.services import Spend

YUAN = 1_000_000
_numbers = count(1)

PROGRAMME = """\
id: {id}
version: {version}
title: {{zh: 算力券, en: Compute voucher}}
kind: {kind}
mode: {mode}
source: a test
funders:
  - {{name: City, share: "0.7"}}
  - {{name: District, share: "0.3"}}
rate: "{rate}"
pool: "{pool}"
shelves: [compute]
spend_kinds: [core_hours]
validity_days: 30
unrelated_parties: true
{more}
"""


def programme_text(**fields: Any) -> str:
    defaults = {
        "id": f"p{next(_numbers)}",
        "version": 1,
        "kind": "compute_voucher",
        "mode": "checkout",
        "rate": "0.30",
        "pool": "1000",
        "more": "",
    }
    return PROGRAMME.format(**{**defaults, **fields})


def maker() -> Actor:
    return make_staff(HubRole.OPERATOR)


def checker() -> Actor:
    return make_staff(HubRole.CHECKER)


def released(*, now: datetime = NOW, **fields: Any) -> ProgrammeVersion:
    version = services.propose_programme(actor=maker(), text=programme_text(**fields), now=now)
    return services.release_programme(actor=checker(), version_id=version.id, now=now)


def make_voucher(
    version: ProgrammeVersion, organisation_id: UUID, amount: int = 100, *, now: datetime = NOW
) -> Voucher:
    """A released voucher of `amount` yuan."""
    voucher = services.issue_voucher(
        actor=maker(),
        organisation_id=organisation_id,
        programme_id=version.programme_id,
        amount_micros=amount * YUAN,
        now=now,
    )
    return services.release_voucher(actor=checker(), voucher_id=voucher.id, now=now)


def make_spend(organisation_id: UUID, yuan: int = 100, *, at: datetime = NOW, **fields: Any) -> Spend:
    defaults: dict[str, Any] = {
        "organisation_id": organisation_id,
        "supplier_id": uuid4(),
        "shelf": "compute",
        "kind": "core_hours",
        "charge_max_micros": yuan * YUAN,
        "region": "",
        "domestic": None,
        "accepted_at": at,
    }
    return Spend(**{**defaults, **fields})


def make_payee() -> UUID:
    return ledger.open_account(
        kind="payable", owner_id=uuid4(), currency=settings.HUB_CURRENCY, floor_micros=0
    )


def account(kind: str, owner_id: UUID) -> UUID:
    return ledger.account_id(kind=kind, owner_id=owner_id, currency=settings.HUB_CURRENCY)


def yuan_on(account_id: UUID) -> tuple[float, float]:
    """Balance and held, in yuan."""
    figures = balance_of(account_id)
    return figures.balance_micros / YUAN, figures.held_micros / YUAN


__all__ = ["NOW", "make_founder"]
