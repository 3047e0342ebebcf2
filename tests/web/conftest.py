"""People at their browsers, before a shelf with one live offer: what a page shows is real rows of a real database."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from mosu.compute.models import Run
from mosu.compute.services import create_pool
from mosu.kernel.ids import uuid7
from mosu.market.models import Order, Receipt
from mosu.market.services import OfferSpec, PriceSpec, create_offer
from mosu.platform.actors import SYSTEM, HubRole, Role
from mosu.platform.models import HubMembership, Membership, Organisation, User
from tests.compute import world as compute

PASSWORD = "a long enough password"


def page(response: Any) -> str:
    """What a browser gets."""
    text: str = response.content.decode()
    return text


def queries(client: Client, path: str) -> int:
    """How often a page asks the database."""
    client.get(path)  # what is cached per process is cached now
    with CaptureQueriesContext(connection) as captured:
        assert client.get(path).status_code == 200
    return len(captured)


@dataclass
class Hub:
    """The buyer's organisation is `world.buyer`; `now` is the machine's time, as pages use it."""

    world: compute.World
    now: datetime

    def user(
        self, *, role: Role | None = None, at: Organisation | None = None, hub: HubRole | None = None
    ) -> User:
        user = User.objects.create_user(email=f"{uuid7().hex}@example.org", password=PASSWORD)
        if role is not None:
            organisation = at or self.world.buyer
            Membership.objects.create(organisation=organisation, user=user, role=role, created_at=self.now)
        if hub is not None:
            HubMembership.objects.create(user=user, role=hub, created_at=self.now)
        return user

    def client(self, user: User | None = None, *, language: str = "en", strict: bool = False) -> Client:
        client = Client(headers={"Accept-Language": language}, enforce_csrf_checks=strict)
        if user is not None:
            client.force_login(user)
        return client

    def run(self) -> Run:
        return compute.buy(self.world, now=self.now)

    def settled(self) -> Receipt:
        """A receipt of a run that ended well."""
        run, attempt = compute.started(self.world, now=self.now)
        compute.use(self.world, attempt, 1, since=self.now, now=self.now)
        compute.report(self.world, attempt, now=self.now)
        return Receipt.objects.get(order_id=run.order_id)

    def order_of(self, run: Run) -> Order:
        return Order.objects.get(id=run.order_id)

    def offer(self, title: str, **attributes: str) -> None:
        """A further offer, of a pool without an agent."""
        supplier = compute.make_organisation("supplier", capabilities=["supplier"])
        pool, _ = create_pool(
            actor=SYSTEM, organisation_id=supplier.id, name="pool", region="here", now=self.now
        )
        spec = OfferSpec(
            supplier_id=supplier.id,
            shelf="compute",
            subject_id=pool.id,
            title_zh=title,
            title_en=title,
            max_units=8,
            wall_s_max=86_400,
            prices=[PriceSpec("card_second", "card_hour", 12_800_000)],
            attributes={"region": "here", **attributes},
        )
        create_offer(actor=SYSTEM, spec=spec, now=self.now)


@pytest.fixture
def hub(db: None, settings: Any) -> Hub:
    settings.MOSU_ENCRYPTION_KEY = Fernet.generate_key().decode()
    now = timezone.now()
    return Hub(compute.make_world(now=now, cores=64), now)


@pytest.fixture
def committed_hub(fresh_db: Any, settings: Any) -> Hub:
    """A hub whose rows are committed: its catalogue is kept between requests, as in a running hub."""
    settings.MOSU_ENCRYPTION_KEY = Fernet.generate_key().decode()
    now = timezone.now()
    return Hub(compute.make_world(now=now, cores=64), now)


@pytest.fixture
def owner(hub: Hub) -> Client:
    return hub.client(hub.user(role=Role.OWNER))


@pytest.fixture
def as_seen_by(hub: Hub) -> Callable[[str], Client]:
    """A client of: anonymous, owner, viewer, auditor, or stranger (owner of another organisation)."""

    def client(who: str) -> Client:
        if who == "anonymous":
            return hub.client()
        if who == "auditor":
            return hub.client(hub.user(hub=HubRole.AUDITOR))
        if who == "stranger":
            return hub.client(hub.user(role=Role.OWNER, at=compute.make_organisation("other")))
        return hub.client(hub.user(role=Role(who)))

    return client
