"""What a resident has: vouchers, programmes, deposits, notices."""

import io
from typing import Any

from mosu.ledger.services import confirm_deposit, propose_deposit
from mosu.platform.actors import Actor, Role
from mosu.platform.queries import actor_for_user
from mosu.platform.services import notify
from mosu.store.documents import add_document
from mosu.store.models import Document
from mosu.subsidies.models import ProgrammeVersion, Voucher
from tests.platform.factories import make_staff
from tests.subsidies.factories import YUAN, checker, make_voucher, maker, released
from tests.web.conftest import Hub

PDF = b"%PDF-1.7\n" + b"x" * 2000 + b"\n%%EOF\n"


def actor_at(hub: Hub, role: Role = Role.OWNER) -> Actor:
    return actor_for_user(hub.user(role=role))


def programme(hub: Hub, **fields: Any) -> ProgrammeVersion:
    return released(now=hub.now, **fields)


def voucher(hub: Hub, amount: int = 100, **fields: Any) -> Voucher:
    return make_voucher(programme(hub, **fields), hub.world.buyer.id, amount, now=hub.now)


def deposit(hub: Hub, reference: str, *, yuan: int = 10) -> None:
    row = propose_deposit(
        actor=maker(),
        organisation_id=hub.world.buyer.id,
        amount_micros=yuan * YUAN,
        bank_reference=reference,
        now=hub.now,
    )
    confirm_deposit(actor=checker(), deposit_id=row.id, now=hub.now)


def document(hub: Hub, actor: Actor, name: str = "licence.pdf", more: bytes = b"") -> Document:
    return add_document(
        actor=actor,
        organisation_id=hub.world.buyer.id,
        name=name,
        file=io.BytesIO(PDF + more),
        now=hub.now,
    )


def tell(hub: Hub, user_id: Any, title: str, *, link: str = "", kind: str = "deposit.confirmed") -> None:
    text = {"zh": f"通知 {title}", "en": f"Notice {title}"}
    notify(user_ids=[user_id], kind=kind, title=text, body=text, link=link, now=hub.now)


__all__ = ["PDF", "actor_at", "deposit", "document", "make_staff", "programme", "tell", "voucher"]
