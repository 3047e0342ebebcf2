"""The demo's small world: organisations, suppliers' offers, programmes, a deposit and a voucher.

Laid through the same services as in a real hub, by two persons where public money moves.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Any
from uuid import UUID

import yaml

from mosu.compute.services import create_pool, ensure_local_pool, ensure_local_volumes
from mosu.kernel.money import micros_of
from mosu.ledger.services import confirm_deposit, propose_deposit, verify
from mosu.market.models import Offer
from mosu.market.services import OfferSpec, PriceSpec, create_offer, set_price
from mosu.platform.actors import SYSTEM, Actor, HubRole
from mosu.platform.models import User
from mosu.platform.queries import actor_for_user
from mosu.platform.services import Bootstrapped, bootstrap
from mosu.subsidies.services import issue_voucher, propose_programme, release_programme, release_voucher

WORLD = Path(__file__).with_name("world.yaml")
CARDS_WALL_S_MAX = 30 * 86_400
OPERATOR, CHECKER, AUDITOR = (
    "operator@hub.demo.example",
    "checker@hub.demo.example",
    "auditor@hub.demo.example",
)


@dataclass(frozen=True, slots=True)
class World:
    """What was made: the startup's token, and who can sign in (e-mail, password, who it is)."""

    startup_token: str
    sign_ins: tuple[tuple[str, str, str], ...]


def load_world(*, say: Callable[[str], None]) -> World:
    """Fill an empty hub. Every name in it says that it is a demo's."""
    plan = yaml.safe_load(WORLD.read_text(encoding="utf-8"))
    now = datetime.now(UTC)
    sign_ins: list[tuple[str, str, str]] = []

    def person(email: str, organisation: str, **options: Any) -> Bootstrapped:
        made = bootstrap(email=email, organisation_name=organisation, now=now, **options)
        if made.password:
            sign_ins.append((email, made.password, organisation))
        return made

    operator = _actor(person(OPERATOR, "运营中心(演示)", capabilities=["operator"]).user_id)
    checker = _actor(person(CHECKER, "复核组(演示)", hub_roles=[HubRole.CHECKER]).user_id)
    person(AUDITOR, "审计组(演示)", hub_roles=[HubRole.AUDITOR])
    organisations = {
        key: person(one["email"], one["name"], kind=one["kind"], capabilities=one["capabilities"])
        for key, one in plan["organisations"].items()
    }
    startup = organisations["startup"]
    say(f"{len(organisations)} organisations, with an operator, a checker and an auditor")

    _stock_the_shelf(plan, person=person, now=now)
    say(f"{len(plan['suppliers']) + 1} suppliers' offers; this machine's own pool is live")

    programmes = _release_programmes(operator=operator, checker=checker, now=now)
    say(f"{len(programmes)} subsidy programmes, proposed by the operator, released by the checker")

    deposit = propose_deposit(
        actor=operator,
        organisation_id=startup.organisation_id,
        amount_micros=micros_of(plan["deposit"]),
        bank_reference="DEMO-0001",
        now=now,
    )
    confirm_deposit(actor=checker, deposit_id=deposit.id, now=now)
    voucher = issue_voucher(
        actor=operator,
        organisation_id=startup.organisation_id,
        programme_id=programmes["compute-voucher-city"],
        amount_micros=micros_of(plan["voucher"]),
        now=now,
    )
    release_voucher(actor=checker, voucher_id=voucher.id, now=now)
    say(
        f"{plan['organisations']['startup']['name']}: a deposit of {plan['deposit']} and a voucher of {plan['voucher']}"
    )
    return World(startup_token=startup.token, sign_ins=tuple(sign_ins))


def is_balanced() -> bool:
    """Whether the whole ledger, recomputed from its first entry, adds up."""
    return verify(now=datetime.now(UTC)).ok


def _actor(user_id: UUID) -> Actor:
    return actor_for_user(User.objects.get(id=user_id))


def _stock_the_shelf(plan: dict[str, Any], *, person: Callable[..., Bootstrapped], now: datetime) -> None:
    pool_id, _ = ensure_local_pool(now=now)
    ensure_local_volumes(pool_id=pool_id, now=now)
    local = Offer.objects.get(subject_id=pool_id, shelf="compute")
    price = micros_of(plan["local_price_per_core_hour"])
    set_price(
        actor=SYSTEM,
        offer_id=local.id,
        price=PriceSpec(meter="core_second", unit="core_hour", unit_price_micros=price),
        now=now,
        confirmed=True,  # a demo's minute costs what one sees on its receipt
    )
    for number, one in enumerate(plan["suppliers"], 1):
        supplier = person(f"sales@supplier{number}.demo.example", one["name"], capabilities=["supplier"])
        # No agent serves these pools, so their offers are shown and cannot be accepted.
        pool, _token = create_pool(
            actor=SYSTEM, organisation_id=supplier.organisation_id, name="demo", region=one["region"], now=now
        )
        create_offer(
            actor=SYSTEM,
            spec=OfferSpec(
                supplier_id=supplier.organisation_id,
                shelf="compute",
                subject_id=pool.id,
                title_zh=one["title"]["zh"],
                title_en=one["title"]["en"],
                max_units=one["cards"],
                wall_s_max=CARDS_WALL_S_MAX,
                prices=[
                    PriceSpec(
                        meter="card_second", unit="card_hour", unit_price_micros=micros_of(one["price"])
                    )
                ],
                attributes={"accelerator": one["accelerator"], "region": one["region"], "mode": "on_demand"},
                sold_by=one.get("sold_by", "hub"),
                source="demo",
            ),
            now=now,
        )


def _release_programmes(*, operator: Actor, checker: Actor, now: datetime) -> dict[str, UUID]:
    """The programmes that ship with mosu, in force; by code."""
    found = {}
    folder = resources.files("mosu.subsidies") / "programmes"
    for file in sorted(folder.iterdir(), key=lambda entry: entry.name):
        version = propose_programme(
            actor=operator, text=file.read_text(encoding="utf-8"), source=file.name, now=now
        )
        release_programme(actor=checker, version_id=version.id, now=now)
        found[version.programme.code] = version.programme_id
    return found
