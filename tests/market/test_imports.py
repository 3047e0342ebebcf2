"""Offers in by file: previewed, judged, applied at once, or nothing."""

import io
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from django.db import DataError, IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext
from tests.conftest import NOW
from tests.market.conftest import YUAN, World, make_organisation, person, rows_now

from mosu.kernel.ids import typeid
from mosu.kernel.refusals import Forbidden, NotFound
from mosu.kernel.states import IllegalMove
from mosu.market import queries, services
from mosu.market.models import Gone, Offer, OfferImport, OfferImportRow, OfferPrice, OfferState
from mosu.market.services.imports import apply
from mosu.platform.actors import Actor, HubRole, Role
from mosu.platform.models import AuditRecord
from mosu.store.services import put_file

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _folder(settings: Any, tmp_path: Path) -> None:
    settings.DATA_DIR = tmp_path


HEADER = "key,title_zh,title_en,accelerator,region,price,currency,max_units\n"
V8 = "InstanceType,AcceleratorName,AcceleratorCount,vCPUs,MemoryGiB,Price,Region,GpuInfo,SpotPrice\n"
TODAY = NOW.date()
LATER = NOW + timedelta(hours=1)
OPERATOR = person(hub_roles=[HubRole.OPERATOR])


def offers_file(*rows: str) -> str:
    return HEADER + "".join(f"{row}\n" for row in rows)


def preview(
    world: World, text: str, *, actor: Actor | None = None, now: Any = NOW, **how: Any
) -> OfferImport:
    """The import, read by the hub."""
    sent = send(world, text, actor=actor, now=now, **how)
    return services.carry_on_import(import_id=sent.id, now=now)


def send(world: World, text: str, *, actor: Actor | None = None, now: Any = NOW, **how: Any) -> OfferImport:
    """The import, before the hub has read it."""
    kept = put_file(
        file=io.BytesIO(text.encode()), size_bytes_max=1 << 20, now=now, organisation_id=world.supplier.id
    )
    given: dict[str, Any] = {
        "filename": "list.csv",
        "shelf": "desk",
        "supplier_id": world.supplier.id,
        "file_sha256": kept.sha256,
    }
    return services.preview_import(
        actor=actor or world.seller,
        sent_to=world.supplier.id,
        now=now,
        **(given | how),
    )


def apply_it(world: World, made: OfferImport, *, now: Any = NOW, actor: Actor | None = None) -> OfferImport:
    services.apply_import(actor=actor or world.seller, import_id=made.id, now=now)
    return services.carry_on_import(import_id=made.id, now=now)


def undo(world: World, made: OfferImport, *, now: Any, why: str = "the wrong file") -> OfferImport:
    services.undo_import(actor=world.seller, import_id=made.id, why=why, now=now)
    return services.carry_on_import(import_id=made.id, now=now)


def bring(world: World, text: str, *, now: Any = NOW, **how: Any) -> OfferImport:
    return apply_it(world, preview(world, text, now=now, **how), now=now)


def add_rate(rate: str = "7.1", *, currency: str = "USD", dated: date = TODAY, now: datetime = NOW) -> None:
    services.record_rate(
        actor=OPERATOR, currency=currency, rate=Decimal(rate), dated=dated, source="test", now=now
    )


def doubts(made: OfferImport) -> dict[int | None, str]:
    return {row.line: row.doubt for row in queries.differences(made, quarantined=True)}


def shelf_now() -> dict[str, list[tuple[Any, ...]]]:
    """What an import may change on the shelf; it and its records are beside."""
    found = rows_now()
    return {table: found[table] for table in ("market_offer", "market_offerprice")}


TWO = offers_file("a,甲,A,h100,shanghai,20,,8", "b,乙,B,h200,beijing,30,,8")


def test_a_preview_changes_nothing_and_applying_it_makes_the_offers(world: World) -> None:
    made = preview(world, TWO)
    assert made.counts == {
        "rows": 2, "repeated": 0, "new": 2, "price": 0, "changed": 0, "gone": 0, "quarantined": 0, "unchanged": 0,
    }  # fmt: skip
    assert not Offer.objects.filter(supplier=world.supplier).exists()
    apply_it(world, made, now=LATER)
    offer = Offer.objects.get(supplier=world.supplier, external_key="a")
    assert (offer.title_zh, offer.title_en, offer.source, offer.max_units) == ("甲", "A", "list", 8)
    assert offer.attributes["accelerator"] == "nvidia-h100-sxm"
    assert offer.id.version == 7
    price = OfferPrice.objects.get(offer=offer)
    assert (price.meter, price.unit, price.unit_price_micros, price.currency) == (
        "card_second", "card_hour", 20 * YUAN, "CNY",
    )  # fmt: skip
    assert (price.valid_from, price.id.version) == (LATER, 7)
    audit = AuditRecord.objects.get(subject_id=offer.id)
    assert (audit.action, audit.before, audit.after, audit.facts["import"]) == (
        "offer.create", None, "listed", made.public_id,
    )  # fmt: skip


def test_the_same_file_again_changes_nothing(world: World) -> None:
    bring(world, TWO)
    again = preview(world, TWO, now=LATER)
    assert again.counts["unchanged"] == 2
    assert not OfferImportRow.objects.filter(offer_import=again).exists()
    prices = OfferPrice.objects.count()
    apply_it(world, again, now=LATER)
    assert OfferPrice.objects.count() == prices


def test_another_price_keeps_the_offer_and_its_history(world: World) -> None:
    bring(world, TWO)
    offer = Offer.objects.get(external_key="a")
    quote = world.quotes(world.plan(world.offer()))[0]
    made = preview(world, TWO.replace(",20,", ",18.5,"), now=LATER)
    row = queries.differences(made).get()
    assert (row.change, row.offer_id, row.old_price_micros, row.unit_price_micros) == (
        "price", offer.id, 20 * YUAN, 18_500_000,
    )  # fmt: skip
    apply_it(world, made, now=LATER)
    history = queries.prices_of(world.seller, offer.id)
    assert [price.unit_price_micros for price in history] == [18_500_000, 20 * YUAN]
    shown = queries.shown([offer], now=LATER)[0]
    assert [price.unit_price_micros for price in shown.prices] == [18_500_000]
    quote.refresh_from_db()
    assert quote.state == "open"


def test_other_terms_are_a_change(world: World) -> None:
    bring(world, TWO)
    made = bring(world, TWO.replace("甲", "甲级"), now=LATER)
    assert (made.counts["changed"], made.counts["unchanged"]) == (1, 1)
    offer = Offer.objects.get(external_key="a")
    assert offer.title_zh == "甲级"
    assert OfferPrice.objects.filter(offer=offer).count() == 1


def test_what_is_gone_stays_or_is_withdrawn_by_choice(world: World) -> None:
    bring(world, TWO)
    other = bring(world, TWO, source="another list")
    one = offers_file("a,甲,A,h100,shanghai,20,,8")
    kept = bring(world, one, now=LATER)
    assert (kept.counts["gone"], kept.counts["unchanged"]) == (1, 1)
    states = dict(Offer.objects.filter(source="list").values_list("external_key", "state"))
    assert states == {"a": "listed", "b": "listed"}
    bring(world, one, now=LATER, gone=Gone.WITHDRAW)
    states = dict(Offer.objects.filter(source="list").values_list("external_key", "state"))
    assert states == {"a": "listed", "b": "delisted"}
    assert Offer.objects.filter(source=other.source, state=OfferState.LISTED).count() == 2


def test_what_was_taken_off_the_shelf_comes_back_only_by_release(world: World) -> None:
    bring(world, TWO)
    offer = Offer.objects.get(external_key="b")
    services.delist_offer(actor=OPERATOR, offer_id=offer.id, now=NOW, why="fraud")
    made = preview(world, TWO, now=LATER)
    assert doubts(made) == {3: "delisted"}
    apply_it(world, made, now=LATER)
    offer.refresh_from_db()
    assert offer.state == "delisted"
    again = preview(world, TWO, now=LATER)
    services.release_row(actor=OPERATOR, import_id=again.id, line=3, why="cleared up", now=LATER)
    apply_it(world, again, now=LATER)
    offer.refresh_from_db()
    assert offer.state == "listed"
    assert AuditRecord.objects.filter(action="import.release", why="cleared up").count() == 1


@pytest.mark.parametrize(
    ("row", "doubt"),
    [
        ("x,甲,A,h100,sh,0,,8", "zero"),
        ("x,甲,A,h100,sh,0.0000001,,8", "zero"),
        ("x,甲,A,h100,sh,9999,,8", "placeholder"),
        ("x,甲,A,h100,sh,999.99,,8", "placeholder"),
        ("x,甲,A,h100,sh,0.001,,8", "placeholder"),
        ("x,甲,A,h100,sh,20,XAU,8", "currency"),
        ("x,甲,A,h100,sh,20,USD,8", "rate"),
        ("x,甲,A,h100,sh,900000000000000,,8", "too_much"),
        ("x,甲,A,RTX 9999,sh,20,,8", "accelerator"),
        ("x,甲,A,昇腾910B,sh,20,,8", "accelerator"),
    ],
)
def test_a_row_that_looks_wrong_waits_and_the_rest_goes_on(world: World, row: str, doubt: str) -> None:
    made = preview(world, TWO + row + "\n")
    assert doubts(made) == {4: doubt}
    assert (made.counts["new"], made.counts["quarantined"]) == (2, 1)
    apply_it(world, made, now=NOW)
    assert sorted(Offer.objects.filter(source="list").values_list("external_key", flat=True)) == ["a", "b"]


def test_a_price_100_times_off_its_last_or_its_kind_waits(world: World) -> None:
    rows = [f"k{number},甲,A,h100,r{number},{20 + number},,8" for number in range(5)]
    bring(world, offers_file(*rows))
    dearer = preview(world, offers_file("k0,甲,A,h100,r0,2000,,8", *rows[1:]), now=LATER)
    assert doubts(dearer) == {2: "last_price"} or doubts(dearer) == {2: "median"}
    new = preview(world, offers_file(*rows, "new,甲,A,h100,x,0.2,,8"), now=LATER)
    assert doubts(new) == {7: "median"}
    fine = preview(world, offers_file(*rows, "new,甲,A,h100,x,0.25,,8"), now=LATER)
    assert doubts(fine) == {}
    alone = preview(world, offers_file(*rows, "other,甲,A,h200,x,0.2,,8"), now=LATER)
    assert doubts(alone) == {}, "one price makes no median"


def test_a_released_row_is_applied_with_its_reason_kept(world: World) -> None:
    made = preview(world, offers_file("x,甲,A,RTX 9999,sh,20,,8"))
    with pytest.raises(Forbidden):
        services.release_row(actor=world.seller, import_id=made.id, line=2, why="trust me", now=NOW)
    services.release_row(actor=OPERATOR, import_id=made.id, line=2, why="seen the card", now=NOW)
    apply_it(world, made, now=NOW)
    assert Offer.objects.get(external_key="x").attributes["accelerator"] == "rtx-9999"


def test_what_cannot_be_sold_cannot_be_released(world: World) -> None:
    made = preview(world, offers_file("x,甲,A,h100,sh,0,,8"))
    before = rows_now()
    with pytest.raises(services.NotReleasable):
        services.release_row(actor=OPERATOR, import_id=made.id, line=2, why="a gift", now=NOW)
    with pytest.raises(NotFound):
        services.release_row(actor=OPERATOR, import_id=made.id, line=7, why="a gift", now=NOW)
    assert rows_now() == before


def test_the_same_row_twice_counts_once_and_two_meanings_of_one_key_wait(world: World) -> None:
    row = "a,甲,A,h100,sh,20,,8"
    made = preview(world, offers_file(row, row, "b,乙,B,h100,sh,20,,8", "b,乙,B,h100,sh,21,,8"))
    assert (made.counts["repeated"], made.counts["new"]) == (1, 1)
    assert doubts(made) == {4: "duplicate", 5: "duplicate"}


@pytest.mark.parametrize(
    "text", ["", "key,price\n", "key,price\na\n", "a,b\n1,2\n", TWO + "c,丙,C,h100,x,abc,,8\n"]
)
def test_a_file_that_cannot_be_read_is_refused_whole(world: World, text: str) -> None:
    if text == "key,price\n":
        assert preview(world, text).counts["rows"] == 0
        return
    before = shelf_now()
    refused = preview(world, text)
    assert refused.state == "refused"
    assert (refused.refusal["code"], refused.refusal["count"]) == ("offers_refused", 1)
    assert refused.refusal["message"].startswith("list.csv, line ")
    assert refused.refusal["problems"][0]["line"] >= 1
    assert not refused.rows.exists()
    assert shelf_now() == before
    with pytest.raises(IllegalMove):
        services.apply_import(actor=world.seller, import_id=refused.id, now=LATER)
    assert AuditRecord.objects.get(subject_id=refused.id, after="refused").before == "reading"


def test_prices_in_dollars_are_kept_and_converted_at_the_quote(world: World) -> None:
    add_rate("7.1")
    bring(world, V8 + "box,H100,8,128,1600,23.6,eu-north1,,10.0\n", filename="nebius.csv")
    offer = Offer.objects.get(source="nebius", attributes__mode="on_demand")
    price = OfferPrice.objects.get(offer=offer)
    assert (price.unit_price_micros, price.currency) == (2_950_000, "USD")
    assert (offer.min_units, offer.max_units) == (8, 8)
    shown = queries.shown([offer], now=NOW)[0].prices[0]
    assert (shown.unit_price_micros, shown.list_price_micros) == (20_945_000, 2_950_000)
    plan = services.Plan(
        offer_id=offer.id,
        lines=(services.PlanLine("card_second", 8, 8 * 3600),),
        starts_at=NOW,
        wall_limit_s=3600,
        request={},
    )
    quote = world.quotes(plan)[0]
    assert (quote.total_max_micros, quote.currency) == (167_560_000, "CNY")
    assert quote.fx == {
        "card_second": {
            "currency": "USD",
            "list_price_micros": 2_950_000,
            "rate": "7.1",
            "dated": "2026-03-02",
            "source": "test",
        }
    }
    with pytest.raises(services.NoRate):
        world.quotes(plan, now=NOW + timedelta(days=30))


def test_offers_in_dollars_and_in_yuan_compare(world: World) -> None:
    add_rate("7.1")
    text = "key,price,currency\ndollars,0.5,USD\ndear,3.6,CNY\ncheap,3.5,CNY\n"
    bring(world, text)

    def in_order(now: datetime = NOW) -> list[str]:
        wanted = queries.search_of({"sort": ["price"]}, shelf="desk")
        return [item.offer.external_key for item in queries.search_offers(world.actor, wanted, now=now).items]

    assert in_order() == ["cheap", "dollars", "dear"]
    add_rate("6.9", now=LATER)
    assert in_order(LATER) == ["dollars", "cheap", "dear"]


def test_a_rate_that_leaps_needs_a_reason_and_an_operator(world: World) -> None:
    add_rate("7.1")
    with pytest.raises(services.NoRate):
        world.quotes(
            world.plan(
                world.offer(prices=[services.PriceSpec("core_second", "core_hour", YUAN, currency="EUR")])
            )
        )
    for actor, rate in ((OPERATOR, "71"), (world.seller, "7.2")):
        with pytest.raises((Forbidden, services.offers.Invalid)):
            services.record_rate(
                actor=actor, currency="USD", rate=Decimal(rate), dated=NOW.date(), source="x", now=NOW
            )
    assert [row.rate for row in queries.latest_rates()] == [Decimal("7.1")]


def test_a_preview_that_the_shelf_left_behind_is_refused(world: World) -> None:
    bring(world, TWO)
    made = preview(world, TWO.replace(",20,", ",19,"), now=LATER)
    offer = Offer.objects.get(external_key="a")
    services.set_price(
        actor=world.seller,
        offer_id=offer.id,
        price=services.PriceSpec("card_second", "card_hour", 21 * YUAN),
        now=LATER,
    )
    prices = OfferPrice.objects.count()
    stale = apply_it(world, made, now=LATER + timedelta(seconds=1))
    assert (stale.state, stale.refusal["code"], stale.applied_at) == ("failed", "import_stale", None)
    assert OfferPrice.objects.count() == prices


def test_an_import_that_fails_half_way_changes_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its offers are made when the prices fail."""
    made = preview(world, TWO)
    before = shelf_now()
    monkeypatch.setattr(apply, "_PRICE", "select 1 / 0")
    services.apply_import(actor=world.seller, import_id=made.id, now=LATER)
    with pytest.raises(DataError):
        services.carry_on_import(import_id=made.id, now=LATER)
    assert shelf_now() == before
    made.refresh_from_db()
    assert made.state == "applying", "the hub tries again"
    gave_up = services.give_up_import(import_id=made.id, now=LATER)
    assert (gave_up.state, gave_up.refusal["code"]) == ("failed", "gave_up")
    assert services.give_up_import(import_id=made.id, now=LATER).state == "failed"
    assert shelf_now() == before


def test_two_previews_of_new_offers_make_them_once(world: World) -> None:
    first, second = preview(world, TWO), preview(world, TWO)
    assert apply_it(world, first).state == "applied"
    assert apply_it(world, second).state == "failed"
    assert Offer.objects.filter(source="list").count() == 2


def test_an_import_is_applied_once_and_not_after_it_was_discarded(world: World) -> None:
    made = bring(world, TWO)
    again = apply_it(world, made, now=LATER)
    assert (again.state, again.applied_at) == ("applied", NOW)
    other = preview(world, TWO, source="b")
    services.discard_import(actor=world.seller, import_id=other.id, now=NOW)
    with pytest.raises(IllegalMove):
        services.apply_import(actor=world.seller, import_id=other.id, now=NOW)
    assert not Offer.objects.filter(source="b").exists()
    for ended, why in ((made, "does not become"), (other, "no longer changes")):
        with pytest.raises(IntegrityError, match=why), transaction.atomic():
            OfferImport.objects.filter(id=ended.id).update(state="previewed", applied_at=None)


def test_only_the_supplier_and_the_operator_bring_offers_in(world: World) -> None:
    developer = person((world.supplier, Role.DEVELOPER))
    stranger = person((make_organisation("Other", capabilities=["supplier"]), Role.OWNER))
    auditor = person(hub_roles=[HubRole.AUDITOR])
    before = rows_now()
    for actor in (developer, stranger, auditor, world.actor):
        with pytest.raises(Forbidden):
            preview(world, TWO, actor=actor)
    assert rows_now() == before
    made = preview(world, TWO, actor=OPERATOR)
    assert made.supplier_id == world.supplier.id
    with pytest.raises(NotFound):
        services.apply_import(actor=stranger, import_id=made.id, now=NOW)
    with pytest.raises(Forbidden):
        services.apply_import(actor=developer, import_id=made.id, now=NOW)
    assert list(queries.imports_visible_to(stranger)) == []
    assert list(queries.imports_visible_to(developer)) == []
    assert list(queries.imports_visible_to(auditor)) == [made]
    assert list(queries.imports_visible_to(world.seller)) == [made]


def test_an_organisation_that_is_no_supplier_brings_nothing(world: World) -> None:
    owner = person((world.buyer, Role.OWNER))
    with pytest.raises(services.offers.NotASupplier):
        send(world, TWO, actor=owner, supplier_id=world.buyer.id)
    assert not OfferImport.objects.exists()


def test_a_file_of_another_organisation_is_not_read(world: World) -> None:
    kept = put_file(file=io.BytesIO(b"secret"), size_bytes_max=100, now=NOW, organisation_id=world.buyer.id)
    with pytest.raises(NotFound):
        send(world, TWO, file_sha256=kept.sha256)
    assert not OfferImport.objects.exists()


def test_the_hub_reads_what_was_sent_as_who_sent_it(world: World) -> None:
    made = send(world, TWO)
    assert (made.state, made.counts) == ("reading", {})
    with pytest.raises(IllegalMove):
        services.apply_import(actor=world.seller, import_id=made.id, now=NOW)
    made = services.carry_on_import(import_id=made.id, now=NOW)
    assert (made.state, made.percent) == ("previewed", 100)
    assert services.carry_on_import(import_id=made.id, now=LATER).counts == made.counts
    assert OfferImportRow.objects.filter(offer_import=made).count() == 2, "once"
    applied = apply_it(world, made, now=LATER)
    by = AuditRecord.objects.filter(subject_id__in=[applied.id, *Offer.objects.values_list("id", flat=True)])
    assert set(by.values_list("actor_id", flat=True)) == {world.seller.id}


def test_goods_of_another_wait_and_cannot_be_given_for_all(world: World) -> None:
    theirs = typeid("pool", UUID(int=13))
    text = "key,price,pool\n" + f"a,20,{theirs}\nb,20,{typeid('pool', UUID(int=14))}\nc,20,nonsense\n"
    assert doubts(preview(world, text)) == {2: "subject", 4: "subject"}
    with pytest.raises(services.offers.NotYours):
        preview(world, TWO, subject_id=UUID(int=13))
    made = bring(world, TWO, subject_id=UUID(int=14))
    assert set(Offer.objects.filter(source=made.source).values_list("subject_id", flat=True)) == {
        UUID(int=14)
    }


def test_the_number_of_statements_does_not_grow_with_the_file(world: World) -> None:
    def statements(count: int) -> int:
        rows = [f"k{number},甲,A,h100,r{number},20,,8" for number in range(count)]
        with CaptureQueriesContext(
            connection,
        ) as captured:
            bring(world, offers_file(*rows), source=f"list {count}")
        return len(captured)

    statements(2)  # the supplier's quota is made
    assert statements(3) == statements(300)


@pytest.mark.parametrize("name", ["gpu_price_snapshot_v8.csv", "nebius_vms.csv"])
def test_real_catalogues_come_in(world: World, name: str) -> None:
    path = Path(__file__).parents[3] / "shared" / "data" / "prices" / name
    if not path.exists():
        pytest.skip("shared data absent")
    add_rate()
    made = bring(world, path.read_text(), filename=name)
    found = doubts(made)
    lines = path.read_text().splitlines()
    for line, doubt in found.items():
        assert doubt in {"accelerator", "memory", "spot"}, lines[line - 1]
    assert made.counts["new"] > 20
    for number, line in enumerate(lines, 1):
        if line.startswith("mithril"):
            assert found[number] == "spot"
