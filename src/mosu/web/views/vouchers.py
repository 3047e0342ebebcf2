"""Vouchers: what each has left, where it counts, and what it paid."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy
from django.utils.translation import pgettext
from django.views.decorators.http import require_GET

from mosu.kernel.refusals import NotFound
from mosu.kernel.units import many_units
from mosu.platform.actors import Actor
from mosu.platform.requests import actor_of
from mosu.subsidies.models import Redemption, Voucher
from mosu.subsidies.queries import (
    VoucherBalance,
    redemptions_visible_to,
    terms_of,
    vouchers_visible_to,
    vouchers_with_balances,
)
from mosu.subsidies.rules import Mode, RedemptionState, Source, Terms, VoucherState
from mosu.web.components import Fact, Tab
from mosu.web.pages import own_organisation, page
from mosu.web.presenters import Bilingual
from mosu.web.tables import Column, Empty, Filter, Plan, list_page
from mosu.web.templatetags.mosu import money
from mosu.web.views.money import orders_named
from mosu.web.words import state_name_lazy, title_of, told

CARDS: Final = 24
MONTH_S: Final = 30 * 86_400


@dataclass(frozen=True, slots=True)
class VoucherShown:
    """A voucher with its money."""

    public_id: str
    title: Bilingual
    state: str
    amount: int
    left: int
    held: int
    used: int
    given_by: str
    valid_from: datetime
    expires_at: datetime
    rate: str
    where: Sequence[str]
    soon: bool
    """Whether it lapses within a month with something left."""

    @property
    def href(self) -> str:
        return reverse("voucher", args=[self.public_id])


@dataclass(frozen=True, slots=True)
class Used:
    """A use of a voucher."""

    at: datetime
    number: str
    href: str
    state: str
    amount: int | None
    held_at_most: int
    claim_by: datetime | None


VOUCHERS: Final = Plan(
    name="vouchers",
    title=_lazy("All vouchers"),
    columns=(
        Column("title", _lazy("Programme"), lambda shown: shown.title, href=lambda shown: shown.href),
        Column("state", _lazy("State"), lambda shown: shown.state, kind="state", sort="state"),
        Column("left", _lazy("Left"), lambda shown: shown.left, kind="money"),
        Column("held", _lazy("Held"), lambda shown: shown.held, kind="money"),
        Column("used", _lazy("Used"), lambda shown: shown.used, kind="money"),
        Column("amount", _lazy("Given"), lambda shown: shown.amount, kind="money", sort="amount_micros"),
        Column("from", _lazy("From"), lambda shown: shown.valid_from, kind="day", hidden=True),
        Column("until", _lazy("Until"), lambda shown: shown.expires_at, kind="day", sort="expires_at"),
    ),
    order="-until",
    filters=(
        Filter(
            "state",
            _lazy("State"),
            lambda rows, state: rows.filter(state=state),
            [(state.value, state_name_lazy(state.value)) for state in VoucherState],
        ),
    ),
    empty=Empty(
        _lazy("No vouchers yet."),
        _lazy("A programme says what it gives and who may have it; you apply with a click."),
        "/programmes/",
        _lazy("See the programmes"),
    ),
)

REDEMPTIONS: Final = Plan(
    name="redemptions",
    title=_lazy("What it paid"),
    columns=(
        Column("at", _lazy("When"), lambda used: used.at, kind="time", sort="held_at"),
        Column("order", _lazy("Order"), lambda used: used.number, href=lambda used: used.href),
        Column("state", _lazy("State"), lambda used: used.state, kind="state", sort="state"),
        Column("paid", _lazy("Paid"), lambda used: used.amount, kind="money"),
        Column("most", _lazy("At most"), lambda used: used.held_at_most, kind="money"),
        Column("claim", _lazy("Claim by"), lambda used: used.claim_by, kind="day"),
    ),
    order="-at",
    empty=Empty(
        _lazy("Nothing paid yet."),
        _lazy("Vouchers are used by themselves: a quote shows what each would pay."),
        "/quote/",
        _lazy("Ask for a quote"),
    ),
)


def tabs_of(request: HttpRequest) -> list[Tab]:
    """The pages of public money."""
    places = [
        ("vouchers", _("My vouchers")),
        ("programmes", _("Programmes")),
        ("applications", _("Applications")),
        ("claims", _("Refunds to claim")),
    ]
    return [Tab(title, reverse(name), reverse(name) == request.path) for name, title in places]


@require_GET
@page("voucher.read")
def vouchers(request: HttpRequest) -> HttpResponse:
    """What can be used now, as cards; all of them, as a table."""
    organisation, now = own_organisation(request), timezone.now()
    rows = vouchers_visible_to(actor_of(request)).filter(organisation=organisation)
    usable = rows.filter(state__in=[VoucherState.RELEASED, VoucherState.ISSUED], expires_at__gt=now).order_by(
        "expires_at", "id"
    )
    return list_page(
        request,
        "pages/vouchers.html",
        VOUCHERS,
        rows,
        prepare=lambda found: [shown_of(one, now=now) for one in vouchers_with_balances(found)],
        context={
            "tabs": tabs_of(request),
            "usable": [shown_of(one, now=now) for one in vouchers_with_balances(usable[:CARDS])],
        },
    )


@require_GET
@page("voucher.read")
def voucher(request: HttpRequest, voucher_id: str) -> HttpResponse:
    """One voucher: its terms, and each order that it paid for."""
    actor, now = actor_of(request), timezone.now()
    row = vouchers_visible_to(actor).filter(id=Voucher.key_of(voucher_id)).first()
    if row is None:
        raise NotFound(_("There is no such voucher."), hint=_("See the list of your vouchers."))
    (balance,) = vouchers_with_balances([row])
    return list_page(
        request,
        "pages/voucher.html",
        REDEMPTIONS,
        redemptions_visible_to(actor).filter(voucher=row),
        prepare=lambda found: _used(actor, found),
        context={
            "voucher": shown_of(balance, now=now),
            "terms": terms_shown(terms_of(row.version)),
            "programme": row.version.programme.public_id,
            "number": row.version.number,
            "by_rule": row.by_rule,
        },
    )


def shown_of(balance: VoucherBalance, *, now: datetime) -> VoucherShown:
    """The voucher as cards and tables show it."""
    row, terms = balance.voucher, terms_of(balance.voucher.version)
    open_money = row.state in (VoucherState.RELEASED, VoucherState.EXHAUSTED)
    used = row.amount_micros - balance.remaining_micros - balance.held_micros if open_money else 0
    ends_in_s = (row.expires_at - now).total_seconds()
    return VoucherShown(
        public_id=row.public_id,
        title=title_of(terms),
        state=row.state,
        amount=row.amount_micros,
        left=balance.remaining_micros,
        held=balance.held_micros,
        used=used,
        given_by=" · ".join(funder.name for funder in terms.funders),
        valid_from=row.valid_from,
        expires_at=row.expires_at,
        rate=percent(terms.rate),
        where=where_of(terms),
        soon=row.state == VoucherState.RELEASED and 0 < ends_in_s < MONTH_S and balance.remaining_micros > 0,
    )


def percent(rate: str) -> str:
    """`0.30` is `30%`."""
    return f"{float(rate) * 100:g}%"


def where_of(terms: Terms) -> list[str]:
    """What may be bought with it, in words."""
    found = [shelf_name(shelf) for shelf in terms.shelves]
    found += [told(many_units(_UNITS.get(kind, kind))) for kind in terms.spend_kinds]
    found += list(terms.regions)
    if terms.domestic_only:
        found.append(_("domestic accelerators only"))
    return found


_UNITS: Final = {"core_hours": "core_hour", "card_hours": "card_hour"}


def shelf_name(code: str) -> str:
    """A shelf in the page's language."""
    return {"compute": pgettext("shelf", "compute"), "storage": pgettext("shelf", "storage")}.get(code, code)


def terms_shown(terms: Terms) -> list[Fact]:
    """What a programme promises, as names and values."""
    pays = (
        _("%s of each order, at once")
        if terms.mode is Mode.CHECKOUT
        else _("%s of each order, refunded later")
    )
    found = [Fact(_("Pays"), pays % percent(terms.rate)), Fact(_("For"), " · ".join(where_of(terms)))]
    if terms.cap_per_order_micros is not None:
        found.append(Fact(_("At most for one order"), money(terms.cap_per_order_micros)))
    if terms.cap_per_organisation_year_micros is not None:
        found.append(Fact(_("At most in a year"), money(terms.cap_per_organisation_year_micros)))
    if terms.validity_days:
        found.append(Fact(_("A voucher lasts"), _("%d days") % terms.validity_days))
    if terms.valid_from or terms.valid_to:
        found.append(Fact(_("Open"), f"{terms.valid_from or '…'} – {terms.valid_to or '…'}"))
    if terms.claim_days:
        found.append(Fact(_("Claim the refund within"), _("%d days of settlement") % terms.claim_days))
    if terms.unrelated_parties:
        found.append(Fact(_("Not for"), _("orders at a supplier that is oneself")))
    found.append(
        Fact(
            _("With other vouchers"),
            pgettext("voucher", "adds up") if terms.stacking else _("not on the same order"),
        )
    )
    found.append(Fact(_("Paid by"), " · ".join(f"{one.name} {percent(one.share)}" for one in terms.funders)))
    return found


def _used(actor: Actor, rows: Sequence[Redemption]) -> list[Used]:
    orders = orders_named(actor, [row.order_id for row in rows])
    return [_use(row, orders.get(row.order_id, {})) for row in rows]


def _use(row: Redemption, order: dict[str, str]) -> Used:
    share: dict[str, Any] = row.share
    state = f"redemption_{row.state}"
    if row.source == Source.VOUCHER and row.state == RedemptionState.CAPTURED:
        state = "redemption_paid"
    return Used(
        at=row.held_at,
        number=order.get("number", "—"),
        href=order.get("href", ""),
        state=state,
        amount=row.amount_micros,
        held_at_most=int(share["amount_micros"]),
        claim_by=row.claim_by,
    )
