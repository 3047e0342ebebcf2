"""An applied import, taken back: the shelf is as it was before, and nothing of its history is lost."""

import io
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import IntegrityError, transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some
from tests.conftest import NOW
from tests.market.conftest import YUAN, World, make_organisation, person, rows_now

from mosu.kernel.ids import uuid7
from mosu.kernel.refusals import Forbidden, Invalid, NotFound
from mosu.kernel.states import IllegalMove
from mosu.market import queries, services
from mosu.market.models import Gone, Offer, OfferImport, OfferPrice
from mosu.platform.actors import HubRole, Role
from mosu.platform.models import AuditRecord
from mosu.store.services import put_file

pytestmark = pytest.mark.django_db

HEADER = "key,title_zh,title_en,accelerator,region,price,currency,max_units\n"
FIRST = HEADER + "a,甲,A,h100,shanghai,20,,8\nb,乙,B,h200,beijing,30,,8\nc,丙,C,l40s,here,10,,8\n"
SECOND = HEADER + "a,甲,A,h100,shanghai,22,,8\nb,乙级,B,h200,beijing,30,,4\nd,丁,D,l40s,here,9,,8\n"
"""Another price, other terms, one gone, one new."""


@pytest.fixture(autouse=True)
def _folder(settings: Any, tmp_path: Path) -> None:
    settings.DATA_DIR = tmp_path


def at(hour: int) -> datetime:
    return NOW + timedelta(hours=hour)


def bring(
    world: World, text: str, *, now: datetime, gone: Gone = Gone.WITHDRAW, source: str = "list"
) -> OfferImport:
    kept = put_file(
        file=io.BytesIO(text.encode()), size_bytes_max=1 << 20, now=now, organisation_id=world.supplier.id
    )
    made = services.preview_import(
        actor=world.seller,
        supplier_id=world.supplier.id,
        file_sha256=kept.sha256,
        sent_to=world.supplier.id,
        filename="list.csv",
        source=source,
        shelf="desk",
        gone=gone,
        now=now,
    )
    services.carry_on_import(import_id=made.id, now=now)
    services.apply_import(actor=world.seller, import_id=made.id, now=now)
    return services.carry_on_import(import_id=made.id, now=now)


def undo(world: World, made: OfferImport, *, now: datetime) -> OfferImport:
    services.undo_import(actor=world.seller, import_id=made.id, why="the wrong file", now=now)
    return services.carry_on_import(import_id=made.id, now=now)


def shelf(now: datetime, *, source: str = "list") -> dict[str, tuple[Any, ...]]:
    """What is on the shelf, by key: terms, state, and the price in force."""
    found = {}
    for offer in Offer.objects.filter(source=source).exclude(external_key=""):
        terms = {name: value for name, value in vars(offer).items() if name not in {"_state", "external_key"}}
        price = OfferPrice.objects.filter(offer=offer, valid_from__lte=now).latest("valid_from")
        found[offer.external_key] = (terms, price.meter, price.unit_price_micros, price.currency)
    return found


def history() -> set[tuple[Any, ...]]:
    return set(OfferPrice.objects.values_list("id", "offer_id", "unit_price_micros", "valid_from"))


def test_the_shelf_is_as_it_was_and_history_goes_on(world: World) -> None:
    bring(world, FIRST, now=at(0))
    before, prices = shelf(at(0)), history()
    made = bring(world, SECOND, now=at(1))
    changed = {kind: made.counts[kind] for kind in ("new", "price", "changed", "gone")}
    assert changed == {"new": 1, "price": 1, "changed": 1, "gone": 1}
    assert shelf(at(1)) != before
    between = history()
    new = Offer.objects.get(external_key="d")
    undone = undo(world, made, now=at(2))
    assert (undone.state, undone.undone_at, undone.applied_at) == ("undone", at(2), at(1))
    assert shelf(at(2)) == before
    assert history() > between > prices
    a = Offer.objects.get(external_key="a")
    assert [one.unit_price_micros for one in queries.prices_of(world.seller, a.id)] == [
        20 * YUAN, 22 * YUAN, 20 * YUAN,
    ]  # fmt: skip
    new.refresh_from_db()
    assert (new.state, new.external_key) == ("delisted", "")
    assert OfferPrice.objects.filter(offer=new).count() == 1, "its price stays on record"
    said = AuditRecord.objects.get(subject_id=made.id, after="undone")
    assert (said.before, said.actor_id) == ("undoing", world.seller.id)
    assert AuditRecord.objects.get(subject_id=made.id, after="undoing").why == "the wrong file"
    of_offers = AuditRecord.objects.filter(facts__undone=made.public_id)
    assert sorted(of_offers.values_list("action", "before", "after")) == [
        ("offer.change", "listed", "listed"), ("offer.delist", "listed", "delisted"),
        ("offer.price", "listed", "listed"), ("offer.relist", "delisted", "listed"),
    ]  # fmt: skip


def test_the_mended_file_comes_in_as_if_the_wrong_one_had_never_been(world: World) -> None:
    bring(world, FIRST, now=at(0))
    undo(world, bring(world, SECOND, now=at(1)), now=at(2))
    again = bring(world, SECOND, now=at(3))
    assert (again.counts["quarantined"], again.counts["new"], again.counts["price"]) == (0, 1, 1)
    assert Offer.objects.get(external_key="d").state == "listed"


def test_what_stayed_on_the_shelf_is_left_alone(world: World) -> None:
    bring(world, FIRST, now=at(0))
    made = bring(world, SECOND, now=at(1), gone=Gone.KEEP)
    c = Offer.objects.get(external_key="c")
    services.delist_offer(actor=world.seller, offer_id=c.id, now=at(2))
    assert undo(world, made, now=at(3)).state == "undone"
    c.refresh_from_db()
    assert c.state == "delisted"


def test_quotes_already_made_stay_as_they_are(world: World) -> None:
    bring(world, FIRST, now=NOW)
    made = bring(world, SECOND, now=NOW + timedelta(seconds=1))
    offer = Offer.objects.get(external_key="a")
    plan = services.Plan(
        offer_id=offer.id,
        lines=(services.PlanLine("card_second", 1, 3600),),
        starts_at=NOW,
        wall_limit_s=3600,
        request={},
    )
    quote = world.quotes(plan, now=NOW + timedelta(seconds=2))[0]
    frozen = (quote.lines, quote.terms, quote.total_max_micros)
    assert quote.total_max_micros == 22 * YUAN
    assert undo(world, made, now=NOW + timedelta(seconds=3)).state == "undone"
    quote.refresh_from_db()
    assert (quote.lines, quote.terms, quote.total_max_micros) == frozen
    assert world.quotes(plan, now=NOW + timedelta(seconds=4))[0].total_max_micros == 20 * YUAN


@pytest.mark.parametrize("what", ["price", "state", "terms"])
def test_what_changed_since_is_listed_and_nothing_is_undone(world: World, what: str) -> None:
    bring(world, FIRST, now=at(0))
    made = bring(world, SECOND, now=at(1))
    offer = Offer.objects.get(external_key="b" if what == "terms" else "a")
    if what == "price":
        price = services.PriceSpec("card_second", "card_hour", 20 * YUAN)
        services.set_price(actor=world.seller, offer_id=offer.id, price=price, now=at(2))
    elif what == "state":
        services.delist_offer(actor=world.seller, offer_id=offer.id, now=at(2))
    else:
        bring(world, SECOND.replace("乙级", "乙等"), now=at(2))
    rows = rows_now()
    before = rows["market_offer"], rows["market_offerprice"]
    refused = undo(world, made, now=at(3))
    rows = rows_now()
    assert (rows["market_offer"], rows["market_offerprice"]) == before
    assert (refused.state, refused.undone_at) == ("applied", None)
    assert (refused.refusal["code"], refused.refusal["count"]) == ("changed_since", 1)
    place = refused.refusal["problems"][0]
    assert (place["field"], place["message"]) == (offer.external_key, services.SINCE[what])


def test_a_later_import_of_other_offers_is_in_nobodys_way(world: World) -> None:
    made = bring(world, FIRST, now=at(0))
    bring(world, FIRST + "e,戊,E,l40s,here,9,,8\n", now=at(1), gone=Gone.KEEP)
    assert undo(world, made, now=at(2)).state == "undone"
    assert set(shelf(at(2))) == {"e"}


def test_a_price_of_another_unit_cannot_be_taken_away(world: World) -> None:
    bring(world, "key,price,unit\nx,2,core_hour\n", now=at(0))
    made = bring(world, "key,price,accelerator\nx,20,h100\n", now=at(1))
    refused = undo(world, made, now=at(2))
    assert (refused.state, refused.refusal["problems"][0]["message"]) == ("applied", services.SINCE["meter"])


def test_it_is_undone_once_for_a_reason_by_who_may(world: World) -> None:
    made = bring(world, FIRST, now=at(0))
    stranger = person((make_organisation("Other", capabilities=["supplier"]), Role.OWNER))
    viewer = person((world.supplier, Role.VIEWER))
    before = rows_now()
    for actor, refusal, why in (
        (stranger, NotFound, "because"),
        (viewer, Forbidden, "because"),
        (world.seller, Invalid, " x "),
    ):
        with pytest.raises(refusal):
            services.undo_import(actor=actor, import_id=made.id, why=why, now=at(1))
    assert rows_now() == before
    assert undo(world, made, now=at(1)).state == "undone"
    after = rows_now()
    assert undo(world, made, now=at(2)).undone_at == at(1)
    with pytest.raises(IllegalMove):
        services.apply_import(actor=world.seller, import_id=made.id, now=at(2))
    assert rows_now() == after
    for state in ("applied", "undoing"):
        with pytest.raises(IntegrityError), transaction.atomic():
            OfferImport.objects.filter(id=made.id).update(state=state, undone_at=None)


def test_the_database_lets_no_import_be_undone_that_was_not_applied(world: World) -> None:
    made = bring(world, FIRST, now=at(0))
    with pytest.raises(IntegrityError, match="does not become"), transaction.atomic():
        OfferImport.objects.filter(id=made.id).update(state="undone", undone_at=at(1))


def test_who_lost_the_right_to_sell_puts_nothing_back(world: World) -> None:
    made = bring(world, FIRST, now=at(0))
    world.supplier.capabilities = []
    world.supplier.save()
    operator = person(hub_roles=[HubRole.OPERATOR])
    with pytest.raises(services.offers.NotASupplier):
        services.undo_import(actor=operator, import_id=made.id, why="because", now=at(1))


KEYS = "abcdef"
ROWS = some.dictionaries(
    some.sampled_from(KEYS),
    some.tuples(
        some.sampled_from(["h100", "h200"]),
        some.integers(10, 40),
        some.integers(1, 3),
        some.sampled_from("甲乙"),
    ),
    max_size=len(KEYS),
)


def text_of(rows: dict[str, tuple[str, int, int, str]]) -> str:
    return HEADER + "".join(
        f"{key},{title},T,{card},here,{price},,{most}\n" for key, (card, price, most, title) in rows.items()
    )


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(first=ROWS, second=ROWS, gone=some.sampled_from(Gone))
def test_undoing_is_the_opposite_of_applying(world: World, first: Any, second: Any, gone: Gone) -> None:
    source = f"list {uuid7()}"  # the examples share a database
    bring(world, text_of(first), now=at(0), source=source)
    before, known = shelf(at(0), source=source), history()
    made = bring(world, text_of(second), now=at(1), gone=gone, source=source)
    lines = history()
    assert undo(world, made, now=at(2)).state == "undone"
    assert shelf(at(2), source=source) == before
    assert history() >= lines >= known
