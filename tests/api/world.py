"""A hub with one row of most kinds, and the people who call its API."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from importlib import resources
from typing import Any

from django.utils import timezone

from mosu.compute.models import Node
from mosu.kernel.ids import typeid, uuid7
from mosu.ledger.services import propose_deposit
from mosu.market.models import Offer
from mosu.platform.actors import HubRole
from mosu.platform.models import ApiToken, HubMembership, Membership, User
from mosu.platform.queries import actor_for_user
from mosu.subsidies.services import apply_for_voucher, issue_voucher, propose_programme, release_programme
from tests.compute import world as compute
from tests.compute.world import make_organisation, make_world


@dataclass(frozen=True)
class Personas:
    """`headers` of each persona; `ids` of rows by the name of the parameter that takes them."""

    headers: Mapping[str, dict[str, str]]
    ids: Mapping[str, str]

    def known(self, values: Any) -> Any:
        """`values` with the ids of rows that exist."""
        if not isinstance(values, dict):
            return values
        return {name: self.ids.get(name, value) for name, value in values.items()}


def make_personas() -> Personas:
    now = timezone.now()
    world = make_world(now=now)
    headers: dict[str, dict[str, str]] = {
        "nobody": {},
        "agent": {"Authorization": f"Bearer {world.token}"},
    }
    people = {}
    for who, roles in (("owner", []), ("staff", list(HubRole)), ("maker", [HubRole.OPERATOR])):
        user = User.objects.create_user(email=f"{who}@example.org")
        organisation = make_organisation(who) if roles else world.buyer
        Membership.objects.create(organisation=organisation, user=user, role="owner", created_at=now)
        for role in roles:
            HubMembership.objects.create(user=user, role=role, created_at=now)
        secret = f"mosu_{uuid7().hex}"
        token = ApiToken.objects.create(
            user=user,
            organisation=None if roles else organisation,
            name="t",
            secret_sha256=hashlib.sha256(secret.encode()).hexdigest(),
            scopes=["read", "buy", "manage"],
            created_at=now,
            expires_at=now + timedelta(days=365),
        )
        headers[who] = {"Authorization": f"Bearer {secret}"}
        people[who] = actor_for_user(user, organisation_id=organisation.id)
        ids_of_token = token.public_id
    text = (resources.files("mosu.subsidies") / "programmes" / "compute_refund_capital.yaml").read_text(
        "utf-8"
    )
    version = propose_programme(actor=people["maker"], text=text, source="p.yaml", now=now)
    release_programme(actor=people["staff"], version_id=version.id, now=now)
    asked = {
        "organisation_id": world.buyer.id,
        "programme_id": version.programme_id,
        "amount_micros": 5_000_000,
        "now": now,
    }
    voucher = issue_voucher(actor=people["maker"], **asked)
    application = apply_for_voucher(actor=people["owner"], note="", **asked)
    deposit = propose_deposit(
        actor=people["maker"],
        organisation_id=world.buyer.id,
        amount_micros=1_000_000,
        bank_reference="REF-1",
        now=now,
    )
    run, attempt = compute.started(world, now=now)
    quoted = compute.quote(world, compute.task_of(), now=now).quotes[0]
    return Personas(
        headers=headers,
        ids={
            "organisation_id": world.buyer.public_id,
            "project_id": world.project.public_id,
            "programme_id": version.programme.public_id,
            "voucher_id": voucher.public_id,
            "application_id": application.public_id,
            "deposit_id": deposit.public_id,
            "pool_id": typeid("pool", world.pool_id),
            "node_id": Node.objects.get().public_id,
            "offer_id": Offer.objects.get().public_id,
            "run_id": run.public_id,
            "attempt_id": attempt.public_id,
            "order_id": typeid("order", run.order_id),
            "quote_id": quoted.public_id,
            "token_id": ids_of_token,
        },
    )
