"""Every page that a browser can open, with who opens it and at which address: `python -m tests.journeys.street`.

Run beside a started hub, in its environment: gives it a made-up past (the benchmarks' one, small), then asks each page of
the doors for each person, and prints what answers as JSON. Nobody lists pages: a new one is found the day it comes.
"""

# ruff: noqa: PLC0415 - Django is set up before these are called
import io
import json
import logging
import os
import re
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

ORGANISATIONS, ORDERS, OFFERS = 205, 300, 300
WHERE = {
    "MOSU_RELAY_URL": "http://127.0.0.1:1",
    "MOSU_APPS_HOST": "apps.localhost",
    "MOSU_SSH_ADDRESS": "localhost:2200",
}
"""What the started hub has at other ports: the pages that there are for it."""
FRAMEWORK = r"/(api|static|admin)/|.*\^"
"""Doors that are no pages of ours: answers for programs, Django's read-only tables, addresses with a secret in them."""


@dataclass(frozen=True)
class Person:
    """Somebody with a session; `cookie` is empty for who has none."""

    name: str
    cookie: str


@dataclass(frozen=True)
class Street:
    """`opened`: by the path of each door, the addresses that answer with a whole page, by the person's name. `others`:
    paths that answer otherwise, with what they answer; those that take forms alone are left out."""

    cookie_name: str
    people: list[Person]
    opened: dict[str, dict[str, str]]
    others: dict[str, dict[str, str]]


def main() -> int:
    from mosu.runtime.commands import use_hub
    from mosu.runtime.config import load_config

    config = load_config()
    os.environ |= WHERE
    use_hub(config)
    from benchmarks.seeded.hub import seed

    seeded = seed(
        config.owner_dsn(),
        now=datetime.now(UTC),
        organisations=ORGANISATIONS,
        orders=ORDERS,
        offers=OFFERS,
    )
    logging.getLogger("django.request").setLevel(logging.CRITICAL)  # many addresses are tried in vain
    secret = _what_else_there_is(seeded)
    json.dump(asdict(_walked(seeded, secret)), sys.stdout, ensure_ascii=False)
    return 0


def _what_else_there_is(seeded: Any) -> str:
    """Rows of the kinds that the made-up past has none of; the secret of an open invitation."""
    from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
    from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret

    from mosu.market.services import close_month
    from mosu.platform.actors import Role
    from mosu.platform.models import Membership, User
    from mosu.platform.queries import actor_for_user
    from mosu.platform.services import invite
    from mosu.store.documents import add_document
    from mosu.subsidies.models import Redemption
    from mosu.subsidies.services import submit_claim

    now = datetime.now(UTC)
    resident, owner = seeded.resident.id, actor_for_user(User.objects.get(id=seeded.resident.owner_id))
    _, link = invite(
        actor=owner, organisation_id=resident, email="guest@seeded.example", role=Role.VIEWER, now=now
    )
    paper = io.BytesIO(b"%PDF-1.7\n%%EOF\n")
    add_document(actor=owner, organisation_id=resident, name="licence.pdf", file=paper, now=now)
    due = Redemption.objects.filter(state="due").order_by("-id").first()
    assert due is not None, "the made-up past has no refund that is due"
    holder = Membership.objects.get(organisation_id=due.voucher.organisation_id, role="owner")
    claims = actor_for_user(holder.user)
    submit_claim(actor=claims, order_id=due.order_id, evidence=["0" * 64], now=now)
    last_month = (now.replace(day=1) - timedelta(days=1)).date().replace(day=1)
    operator = actor_for_user(User.objects.get(id=seeded.people.operator_id))
    close_month(actor=operator, month=last_month, now=now)
    _a_credit_note(operator, resident, now=now)
    _a_volume(seeded, now=now)
    _an_endpoint(seeded, now=now)
    _an_offer_by_the_block(seeded.supplier_id, now=now)
    User.objects.update(language="")  # the browser's then
    guarded = User.objects.get(id=seeded.resident.developer_id)
    TOTP.activate(guarded, generate_totp_secret())
    RecoveryCodes.activate(guarded)
    return link.rsplit("/", 1)[1]


def _a_credit_note(operator: Any, organisation_id: Any, *, now: datetime) -> None:
    """One that waits for its second person, on a receipt of the month that was closed."""
    from mosu.market.models import BorneBy, Receipt
    from mosu.market.services import MonthOpen, MoreThanPaid, propose_credit_note

    for receipt in Receipt.objects.filter(organisation_id=organisation_id).order_by("id"):
        try:
            propose_credit_note(
                actor=operator,
                receipt_id=receipt.id,
                amount_micros=10_000,
                borne_by=BorneBy.HUB,
                why="停电",
                now=now,
            )
        except (MonthOpen, MoreThanPaid):
            continue
        return
    raise AssertionError("the made-up past has no receipt of last month that was paid here")


def _a_volume(seeded: Any, *, now: datetime) -> None:
    """Of the resident's, in a pool of the supplier's that is heard of meanwhile."""
    from mosu.compute.models import Pool
    from mosu.compute.services import quote_volume
    from mosu.market.services import OfferSpec, PriceSpec, accept_quote, create_offer
    from mosu.platform.actors import SYSTEM
    from mosu.platform.models import Project, User
    from mosu.platform.queries import actor_for_user

    pools = Pool.objects.filter(organisation_id=seeded.supplier_id).order_by("id")
    pool_id = pools.values_list("id", flat=True)[0]
    pools.filter(id=pool_id).update(last_seen_at=now, sandbox_ok=True, volumes_gb=100, copies_volumes=True)
    offer = create_offer(
        actor=SYSTEM,
        spec=OfferSpec(
            supplier_id=seeded.supplier_id,
            shelf="storage",
            subject_id=pool_id,
            title_zh="存储卷",
            title_en="Volumes",
            max_units=100,
            wall_s_max=366 * 86_400,
            prices=[PriceSpec(meter="gb_second", unit="gb_month", per=2_592_000, unit_price_micros=300_000)],
            attributes={"mode": "on_demand", "kind": "storage"},
        ),
        now=now,
    )
    buyer = actor_for_user(User.objects.get(id=seeded.resident.developer_id))
    quote = quote_volume(
        actor=buyer,
        organisation_id=seeded.resident.id,
        project_id=Project.objects.filter(organisation_id=seeded.resident.id).order_by("id")[0].id,
        name="corpus",
        size_gb=10,
        days=30,
        choice="none",
        now=now,
        offer_id=offer.id,
    )
    accept_quote(actor=buyer, quote_id=quote.id, idempotency_key="volume", now=now)


def _an_endpoint(seeded: Any, *, now: datetime) -> None:
    """Of the resident's, with a key, a request and a minute; nobody asks there, so nothing runs."""
    from mosu.compute.models import LATENCY_MS, EndpointMinute, EndpointRequest
    from mosu.compute.services import make_endpoint, make_key
    from mosu.platform.models import Project, User
    from mosu.platform.queries import actor_for_user
    from mosu.wire.task import parse_task

    buyer = actor_for_user(User.objects.get(id=seeded.resident.developer_id))
    task = "run: python3 -m http.server 8000\nmosu: {kind: service, port: 8000, replicas: {min: 0, max: 2}}\n"
    made = make_endpoint(
        actor=buyer,
        organisation_id=seeded.resident.id,
        project_id=Project.objects.filter(organisation_id=seeded.resident.id).order_by("id")[0].id,
        name="chat",
        task=parse_task(task, source="chat"),
        workdir=(),
        idempotency_key="endpoint",
        now=now,
    )
    make_key(actor=buyer, endpoint_id=made.id, name="first", now=now)
    minute = now.replace(second=0, microsecond=0)
    counts = [3, 1, *[0] * (len(LATENCY_MS) - 1)]
    EndpointMinute.objects.create(
        endpoint=made, minute=minute, requests=5, refused=1, failed=0, in_flight_max=2, latencies=counts
    )
    EndpointRequest.objects.create(
        endpoint=made,
        at=now,
        method="POST",
        path="/v1/chat/completions",
        status=200,
        waited_ms=0,
        took_ms=12,
        bytes_in=90,
        bytes_out=400,
    )


def _an_offer_by_the_block(supplier_id: Any, *, now: datetime) -> None:
    """The newest of all, so that pages which name an offer are tried with it."""
    from mosu.market.blocks import BlockTerms, CancellationRule
    from mosu.market.models import Offer
    from mosu.market.services import OfferSpec, PriceSpec, create_offer
    from mosu.platform.actors import SYSTEM

    like = Offer.objects.filter(supplier_id=supplier_id, shelf="compute").order_by("id")[0]
    price = like.prices.order_by("-valid_from")[0]
    create_offer(
        actor=SYSTEM,
        spec=OfferSpec(
            supplier_id=supplier_id,
            shelf="compute",
            subject_id=like.subject_id,
            title_zh="整机预留",
            title_en="Whole machines by the block",
            max_units=like.max_units,
            wall_s_max=30 * 86_400,
            prices=[PriceSpec(meter=price.meter, unit=price.unit, unit_price_micros=price.unit_price_micros)],
            attributes={**like.attributes, "mode": "reserved"},
            block=BlockTerms(24, 60, (CancellationRule(72, 100), CancellationRule(24, 50)), 25),
        ),
        now=now,
    )


def _make_by_forms(seeded: Any, clients: dict[str, Any]) -> dict[str, str]:
    """What a page's own form makes; where each of the forms led."""
    from django.core.files.uploadedfile import SimpleUploadedFile

    from mosu.kernel.ids import typeid

    drawn = {"seed": "dice 4 2 6", "start": "2020-01-01", "end": "2099-01-01", "count": 10}
    rows = "key,title_en,accelerator,price\na,Machine,A100-80GB,21.5\nb,Broken,A100-80GB,0\n"
    offers = {
        "supplier": typeid("org", seeded.supplier_id),
        "file": SimpleUploadedFile("mine.csv", rows.encode()),
        "gone": "keep",
    }
    led = {}
    for who, path, form in (
        ("auditor", "/books/samples/", drawn),
        ("supplier owner", "/my-offers/imports/", offers),
        ("resident owner", "/compute/saved/", {"name": "Mine", "query": "accelerator=A100"}),
    ):
        answer = clients[who].post(path, form)
        assert answer.status_code == 302, f"{path}: {answer.status_code} {answer.content.decode()[-3000:]}"
        led[path] = answer["Location"]
    return led


def _walked(seeded: Any, secret: str) -> Street:
    from benchmarks.pages import Persona, personas, signed_in
    from django.conf import settings
    from django.test import Client

    resident = (seeded.resident.id, seeded.resident.developer_id)
    people = [
        *personas(seeded),
        Persona(
            "checker", signed_in(seeded.people.checker_id), (seeded.resident.id, seeded.people.checker_id)
        ),
        Persona("developer", signed_in(seeded.resident.developer_id), resident),
    ]
    clients = {person.name: Client(SERVER_NAME="localhost") for person in people}
    for person in people:
        if person.cookie:
            clients[person.name].cookies[settings.SESSION_COOKIE_NAME] = person.cookie
            _entered_the_password(clients[person.name])
    sample = _make_by_forms(seeded, clients)["/books/samples/"]
    opened: dict[str, dict[str, str]] = {}
    others: dict[str, dict[str, str]] = {}
    for door in _doors():
        if Client(SERVER_NAME="localhost").get(door.example).status_code == 405:
            continue
        for person in people:
            path = (
                sample
                if door.path == "/books/samples/{sample_id}/"
                else door.path.replace("{secret}", secret)
            )
            addresses = _addresses(path, person)
            address, how = _first_whole(clients[person.name], addresses)
            if address:
                opened.setdefault(door.path, {})[person.name] = address
            else:
                others.setdefault(door.path, {})[person.name] = how
    return Street(
        cookie_name=settings.SESSION_COOKIE_NAME,
        people=[Person(person.name, person.cookie) for person in people],
        opened=opened,
        others={path: how for path, how in others.items() if path not in opened},
    )


def _entered_the_password(client: Any) -> None:
    """As if just now: pages of the account's safety ask for it again otherwise."""
    session = client.session
    session["account_authentication_methods"] = [
        {"method": "password", "at": time.time() + 3600, "reauthenticated": True}
    ]
    session["account_authentication_methods_user"] = session["_auth_user_id"]
    session.save()


def _doors() -> list[Any]:
    from tests.architecture.doors import all_doors

    return [door for door in all_doors() if door.kind == "page" and not re.match(FRAMEWORK, door.path)]


def _first_whole(client: Any, addresses: Iterator[str]) -> tuple[str, str]:
    """The first address that answers with a whole page, else what the last one answered."""
    how = "no row to fill it with"
    for address in addresses:
        answer = client.get(address)
        kind = answer.headers.get("Content-Type", "")
        how = f"{answer.status_code} {kind}"
        if answer.status_code == 200 and kind.startswith("text/html") and b"</html>" in answer.content:
            return address, how
        if answer.status_code in (302, 403):
            break  # no row changes that
    return "", how


def _addresses(path: str, person: Any) -> Iterator[str]:
    from benchmarks.pages import addresses

    yield from addresses(re.sub(r"\{(?:\w+:)?(\w+)\}", r"<\1>", path), person)


if __name__ == "__main__":
    sys.exit(main())
