"""The ledger's doors, through HTTP."""

import hashlib
import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from django.db import DataError, transaction
from django.test import Client, override_settings
from django.urls import path
from django.utils import timezone
from ninja import NinjaAPI
from tests.conftest import NOW, FreshDatabase
from tests.ledger.people import make_organisation

from mosu.kernel.ids import uuid7
from mosu.ledger import services
from mosu.ledger.api import routers
from mosu.ledger.models import Deposit
from mosu.platform.actors import HubRole, Role
from mosu.platform.models import ApiToken, HubMembership, Membership, Organisation, User
from mosu.platform.problems import install

api = NinjaAPI(urls_namespace="ledger-test", docs_url=None)
install(api)
for prefix, router in routers:
    api.add_router(prefix, router)
urlpatterns = [path("api/v1/", api.urls)]


class Caller:
    """Someone with a token."""

    def __init__(
        self, name: str, *, organisation: Organisation | None = None, hub_role: HubRole | None = None
    ):
        user = User.objects.create_user(f"{name}@example.org")
        if organisation:
            Membership.objects.create(organisation=organisation, user=user, role=Role.VIEWER, created_at=NOW)
        if hub_role:
            HubMembership.objects.create(user=user, role=hub_role, created_at=NOW)
        secret = f"mosu_{name}"
        ApiToken.objects.create(
            user=user,
            name=name,
            secret_sha256=hashlib.sha256(secret.encode()).hexdigest(),
            scopes=["read", "buy", "manage"],
            created_at=NOW,
            expires_at=timezone.now() + timedelta(days=1),
        )
        self.headers = {"Authorization": f"Bearer {secret}"}

    def get(self, address: str) -> Any:
        return Client().get(f"/api/v1{address}", headers=self.headers)

    def post(self, address: str, body: Any = None) -> Any:
        return Client().post(f"/api/v1{address}", json.dumps(body), "application/json", headers=self.headers)


class World:
    def __init__(self) -> None:
        with transaction.atomic():
            self.organisation = make_organisation("Ours")
            self.other = make_organisation("Theirs")
            self.member = Caller("member", organisation=self.organisation)
            self.stranger = Caller("stranger", organisation=self.other)
            self.operator = Caller("operator", hub_role=HubRole.OPERATOR)
            self.checker = Caller("checker", hub_role=HubRole.CHECKER)

    def deposit(self, reference: str, amount: str = "12.80") -> str:
        body = {
            "organisation_id": self.organisation.public_id,
            "amount": amount,
            "bank_reference": reference,
        }
        answer = self.operator.post("/deposits", body)
        assert answer.status_code == 201, answer.content
        made: str = answer.json()["id"]
        return made

    def account(self) -> UUID:
        return services.account_id(kind="balance", owner_id=self.organisation.id, currency="CNY")


@pytest.fixture
def world(fresh_db: FreshDatabase) -> Iterator[World]:
    with override_settings(ROOT_URLCONF=__name__):
        yield World()


def test_from_deposit_to_statement(world: World) -> None:
    empty = world.member.get("/balance").json()
    assert empty == {
        "currency": "CNY",
        "balance": "0.00",
        "held": "0.00",
        "available": "0.00",
        "accounts": [],
    }
    for number in range(3):
        deposit = world.deposit(f"ref {number}")
        confirmed = world.checker.post(f"/deposits/{deposit}/confirm")
        assert (confirmed.status_code, confirmed.json()["state"]) == (200, "confirmed")
    services.place_hold(
        key="h", account_id=world.account(), amount_micros=8_400_000, subject_id=world.account(), now=NOW
    )
    found = world.member.get("/balance").json()
    (account,) = found.pop("accounts")
    assert found == {"currency": "CNY", "balance": "38.40", "held": "8.40", "available": "30.00"}
    assert account["kind"] == "balance"
    first = world.member.get(f"/statement?account={account['id']}&limit=2").json()
    assert [(line["amount"], line["balance_after"], line["memo"]) for line in first["items"]] == [
        ("12.80", "38.40", "ref 2"),
        ("12.80", "25.60", "ref 1"),
    ]
    last = world.member.get(f"/statement?account={account['id']}&cursor={first['next']}").json()
    assert ([line["memo"] for line in last["items"]], last["next"]) == (["ref 0"], None)


def test_others_see_nothing(world: World) -> None:
    world.checker.post(f"/deposits/{world.deposit('r')}/confirm")
    account = world.member.get("/balance").json()["accounts"][0]["id"]
    assert world.stranger.get(f"/statement?account={account}").status_code == 404
    assert world.stranger.get(f"/balance?organisation={world.organisation.public_id}").status_code == 403
    assert world.stranger.get("/deposits").json()["items"] == []
    assert len(world.member.get("/deposits").json()["items"]) == 1
    assert world.operator.get(f"/statement?account={account}").status_code == 200
    balance = world.operator.get(f"/balance?organisation={world.organisation.public_id}")
    assert balance.json()["balance"] == "12.80"


@pytest.mark.parametrize(
    ("address", "status"),
    [
        ("/statement?account=x", 404),
        ("/statement", 422),
        ("/balance?organisation=x", 404),
        ("/ledger/heads?cursor=x", 422),
    ],
)
def test_bad_questions(world: World, address: str, status: int) -> None:
    assert world.member.get(address).status_code == status


def test_a_hub_person_without_organisation_must_say_whose(world: World) -> None:
    assert world.operator.get("/balance").status_code == 422


def test_deposits_take_two_roles(world: World) -> None:
    body = {"organisation_id": world.organisation.public_id, "amount": "1.00", "bank_reference": "r"}
    assert world.member.post("/deposits", body).status_code == 403
    assert world.checker.post("/deposits", body).status_code == 403
    assert not Deposit.objects.exists()
    deposit = world.deposit("r")
    assert world.operator.post(f"/deposits/{deposit}/confirm").status_code == 403
    assert world.operator.post("/deposits", body).json()["type"] == "urn:mosu:bank_reference_known"
    rejected = world.checker.post(f"/deposits/{deposit}/reject", {"why": "typo"})
    assert rejected.json()["state"] == "rejected"
    assert world.checker.post(f"/deposits/{deposit}/confirm").json()["type"] == "urn:mosu:illegal_move"


@pytest.mark.parametrize("amount", ["0", "-5", "1.001", "1e3", "x"])
def test_bad_amounts(world: World, amount: str) -> None:
    body = {"organisation_id": world.organisation.public_id, "amount": amount, "bank_reference": "r"}
    assert world.operator.post("/deposits", body).status_code == 422
    assert not Deposit.objects.exists()


def test_anyone_sees_the_day_heads(world: World) -> None:
    earlier = timezone.now() - timedelta(days=3)
    post_one(now=earlier)
    services.seal_days(now=timezone.now())
    answer = Client().get("/api/v1/ledger/heads?limit=1")
    assert answer.status_code == 200
    (head,) = answer.json()["items"]
    assert (head["accounts"], len(head["sha256"])) == (2, 64)
    assert answer.json()["next"]
    assert Client().get("/api/v1/balance").status_code == 401


def test_a_day_to_come_is_not_sealed_on_anybodys_word(world: World) -> None:
    post_one(now=timezone.now())
    with pytest.raises(DataError, match="the day is not over"), transaction.atomic():
        services.seal_days(now=timezone.now() + timedelta(days=2))
    post_one(now=timezone.now())


def post_one(*, now: datetime) -> None:
    with transaction.atomic():
        bank, balance = (
            services.open_account(kind=kind, owner_id=services.HUB_ID, currency="CNY", floor_micros=floor)
            for kind, floor in (("bank", None), ("balance", 0))
        )
        moves = [services.Move(source=bank, destination=balance, amount_micros=1_000_000)]
        services.post_entry(key=uuid7().hex, kind="test", moves=moves, subject_id=uuid7(), now=now)
