"""`{% load mosu %}`: how templates write figures, and the components.

A component is one tag; its markup is the part of the same name in `templates/parts/`, its values are in
`mosu.web.components`. `/look/` shows each with the line that calls it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final
from urllib.parse import urlencode

from django import template
from django.conf import settings
from django.forms import BaseForm, BoundField
from django.template.defaultfilters import date as date_filter
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext

from mosu.kernel.ids import uuid7
from mosu.kernel.money import decimal_of
from mosu.kernel.units import many_units, one_unit, short_count
from mosu.market.shapes import money_in
from mosu.platform import services
from mosu.subsidies.queries import trial_version
from mosu.web.components import (
    CURVE_HEIGHT,
    CURVE_WIDTH,
    Bars,
    Curve,
    Facet,
    Fact,
    Heat,
    HeatRow,
    Moment,
    Step,
    Tab,
    cells_of,
)
from mosu.web.deeds import deed_name
from mosu.web.labels import OfferShown
from mosu.web.once import FIELD
from mosu.web.presenters import SplitShown, duration
from mosu.web.tables import Button, Cell, Table
from mosu.web.words import Recorded, account_kind_name, change_of, entry_kind_name, mark_of, state_name, told

register = template.Library()

SYMBOLS = {"CNY": "¥", "USD": "$", "EUR": "€", "INR": "₹", "GBP": "£", "CAD": "C$", "JPY": "¥"}


# Figures


@register.filter
def money(micros: int) -> str:
    """`¥2,457.60`, in the hub's currency."""
    currency = settings.HUB_CURRENCY
    text = decimal_of(abs(micros), currency=currency)
    whole, _, part = text.partition(".")
    sign = "−" if micros < 0 else ""
    return f"{sign}{SYMBOLS[currency]}{int(whole):,}{'.' + part if part else ''}"


@register.filter
def listed(micros: int, currency: str) -> str:
    """A list price in its own currency: `12.50 USD`."""
    return f"{money_in(micros, currency)} {currency}"


register.filter("told", told)
register.filter("entry_kind_name", entry_kind_name)
register.filter("account_kind_name", account_kind_name)


@register.filter
def unit_name(unit: str) -> str:
    """The name of what is counted: `core_hour` is core-hours, 核时."""
    return told(many_units(unit))


@register.filter
def per_unit(unit: str) -> str:
    """The name of one of it, behind a price."""
    return told(one_unit(unit))


@register.filter
def meter_name(meter: str) -> str:
    """The unit in which a meter counts: whole core-seconds, 核秒."""
    return told(short_count(meter))


@register.filter
def grouped(figure: str | float | Decimal) -> str:
    """A number with thousands separators."""
    whole, _, part = str(figure).partition(".")
    return f"{int(whole):,}{'.' + part if part else ''}"


@register.filter
def share_of(part: int, whole: int) -> int:
    """Percent, for what `progress` shows."""
    return min(100, round(100 * part / whole)) if whole else 0


@register.filter
def percent(part: float) -> str:
    """A part of 1 as `37%`; less than one percent that is something says so."""
    return "<1%" if 0 < part < 0.01 else f"{part:.0%}"


_PLAIN: Final = {"Y-m-d H:i": "%Y-%m-%d %H:%M", "Y-m-d": "%Y-%m-%d"}
"""Times without words, of which a list draws hundreds: Django's `date` takes twenty times as long."""


@register.filter
def when(at: datetime | None, form: str = "Y-m-d H:i") -> SafeString | str:
    """A time of the hub's zone; the zone, the second and UTC come with the pointer. `form`: as Django's `date`."""
    if at is None:
        return "—"
    local = timezone.localtime(at)
    said = f"{local:%Y-%m-%d %H:%M:%S} {settings.HUB_ZONE} · {at.astimezone(UTC):%H:%M:%S} UTC"
    shown = f"{local:{_PLAIN[form]}}" if form in _PLAIN else date_filter(local, form)
    return format_html('<time class="num" datetime="{}" title="{}">{}</time>', at.isoformat(), said, shown)


@register.filter
def lasting(seconds: int | timedelta) -> str:
    """`1 h 30 min`."""
    return duration(int(seconds.total_seconds()) if isinstance(seconds, timedelta) else int(seconds))


@register.simple_tag
def gives_trials() -> bool:
    """Whether a newcomer gets a trial voucher: a trial programme is in force."""
    return trial_version(timezone.now()) is not None


@register.simple_tag
def mail_goes_out() -> bool:
    """Whether letters leave this hub; without a mail server links wait for the operator."""
    return services.mail_goes_out()


# Goods, bills, receipts


@register.inclusion_tag("parts/label.html")
def label(offer: OfferShown, compares: str = "") -> dict[str, Any]:
    """The shelf label, as a list item of `<ul class="shelf">`; ticked, it goes with the form of the id `compares`."""
    return {"offer": offer, "compares": compares}


@register.inclusion_tag("parts/price.html")
def price(micros: int, after: str = "", size: str = "") -> dict[str, Any]:
    """A big price with the words that say what for."""
    return {"micros": micros, "after": after, "size": size}


@register.inclusion_tag("parts/split.html")
def split(shown: SplitShown) -> dict[str, Any]:
    """Who pays what: the bar and its key."""
    return {"split": shown}


@register.simple_tag
def split_bar(own: int, public: int, later: int) -> SafeString:
    """The bar alone. `own` includes `later`, which is hatched: paid now, expected back, never summed as paid."""
    total = max(own + public, 1)
    parts = (("own", own - later, 0), ("later", later, own - later), ("pub", public, own))
    rects = [
        (kind, _percent(Decimal(start) / total), _percent(Decimal(size) / total))
        for kind, size, start in parts
        if size
    ]
    said = gettext("Pay now %(own)s, of which expected back %(later)s; vouchers pay %(public)s") % {
        "own": money(own),
        "later": money(later),
        "public": money(public),
    }
    drawn = format_html_join("", '<rect class="{}" x="{}" width="{}" height="100%"></rect>', rects)
    return format_html('<svg class="split" role="img" aria-label="{}">{}</svg>', said, drawn)


@register.simple_tag
def public_bar(captured: int, held: int, on_vouchers: int, in_pool: int) -> SafeString:
    """Where public money is: captured, held, left on vouchers, left in the pool; the last is the bar's ground."""
    total = max(captured + held + on_vouchers + in_pool, 1)
    start, rects = 0, []
    for kind, size in (("captured", captured), ("held", held), ("granted", on_vouchers)):
        if size > 0:
            rects.append((kind, _percent(Decimal(start) / total), _percent(Decimal(size) / total)))
            start += size
    said = gettext(
        "Captured %(captured)s, held %(held)s, left on vouchers %(granted)s, left in the pool %(pool)s"
    ) % {
        "captured": money(captured),
        "held": money(held),
        "granted": money(on_vouchers),
        "pool": money(in_pool),
    }
    drawn = format_html_join("", '<rect class="{}" x="{}" width="{}" height="100%"></rect>', rects)
    return format_html('<svg class="split public-money" role="img" aria-label="{}">{}</svg>', said, drawn)


def _percent(part: Decimal) -> str:
    return f"{round(part * 100, 2)}%"


@register.simple_tag
def voucher_bar(used: int, held: int, left: int) -> SafeString:
    """A voucher as a bar: what was used is pale, what orders hold is hatched, what is left is full."""
    whole = max(used + held + left, 1)
    parts = (("left", left, 0), ("later", held, left), ("used", used, left + held))
    rects = [
        (kind, _percent(Decimal(start) / whole), _percent(Decimal(size) / whole))
        for kind, size, start in parts
        if size
    ]
    said = gettext("%(left)s left, %(held)s held, %(used)s used") % {
        "left": money(left),
        "held": money(held),
        "used": money(used),
    }
    drawn = format_html_join("", '<rect class="{}" x="{}" width="{}" height="100%"></rect>', rects)
    return format_html('<svg class="split voucher" role="img" aria-label="{}">{}</svg>', said, drawn)


@register.inclusion_tag("parts/receipt.html")
def receipt(shown: Mapping[str, Any], verify_url: str = "", with_evidence: bool = False) -> dict[str, Any]:
    """The receipt, as on a till; `with_evidence`: its lines lead to what they rest on, lower on the page."""
    return {"receipt": shown, "verify_url": verify_url, "with_evidence": with_evidence}


@register.inclusion_tag("parts/stock.html")
def stock(free: int, reserved: int = 0, taken: int = 0) -> dict[str, Any]:
    """Stock as a row of cells and the words that carry the figures."""
    cells = format_html_join("", '<i class="{}"></i>', ((kind,) for kind in cells_of(free, reserved, taken)))
    return {"cells": cells, "free": free, "reserved": reserved, "total": free + reserved + taken}


# Forms


@register.simple_tag
def once() -> SafeString:
    """The name of a form that is to be taken once (`mosu.web.once`)."""
    return format_html('<input type="hidden" name="{}" value="{}">', FIELD, uuid7().hex)


# Heat maps: hundreds of cells, of numbers alone (`:d`), are not looped over by the template


@register.simple_tag
def heat_cells(row: HeatRow) -> SafeString:
    """The cells of a day with their figures; hours that are over have none."""
    return SafeString(
        "".join(
            f'<rect class="h{cell.level:d}" x="{cell.x:d}" width="21" height="17"></rect>'
            f'<text class="c{cell.level:d}" x="{cell.text_x:d}" y="13">{cell.free:d}</text>'
            for cell in row.cells
            if cell is not None
        )
    )


@register.simple_tag
def heat_figures(row: HeatRow) -> SafeString:
    """The same for the table behind it."""
    return SafeString(
        "".join(f'<td class="r">{"—" if cell is None else format(cell.free, "d")}</td>' for cell in row.cells)
    )


# Lists


@register.inclusion_tag("parts/table.html")
def table(shown: Table) -> dict[str, Any]:
    """A list with everything around it: filter, columns, CSV, head, rows, pages, or what to do when it is empty."""
    return {"table": shown}


@register.simple_tag
def rows(shown: Table) -> SafeString:
    """The rows of a table. Not looped over by the template: what a column says of all its cells is made once."""
    begins = [
        format_html(
            '<td class="is-{}{}" data-label="{}">',
            head.column.kind,
            " r" if head.column.right else "",
            head.column.title,
        )
        for head in shown.heads
    ]
    lines = (zip(begins, row, strict=True) for row in shown.rows)
    return format_html_join("\n", "<tr>{}</tr>", ((_line(line),) for line in lines))


def _line(cells: Iterable[tuple[SafeString, Cell]]) -> SafeString:
    return format_html_join("", "{}{}</td>", ((begin, _cell(one)) for begin, one in cells))


def _cell(shown: Cell) -> SafeString | str:
    """One value of a table, as its column says."""
    text = _drawn(shown)
    return format_html('<a href="{}">{}</a>', shown.href, text) if shown.href else text


def _drawn(shown: Cell) -> Any:
    value, kind = shown.value, shown.column.kind
    if value is None or value == "":
        return "—"
    draw = _DRAWN.get(kind)
    if draw is None or (kind == "money" and not isinstance(value, int)):
        return told(value)
    return draw(shown)


def _state(shown: Cell) -> SafeString:
    return state(shown.value, shown.mark)


def _button(shown: Cell) -> SafeString:
    """Its form stands outside the table."""
    one: Button = shown.value
    button = '<button class="linklike" form="{}" name="{}" value="{}">{}</button>'
    return format_html(button, one.form, one.name, one.value, one.label)


_DRAWN: Final[Mapping[str, Callable[[Cell], Any]]] = {
    "money": lambda shown: money(shown.value),
    "number": lambda shown: grouped(shown.value),
    "time": lambda shown: when(shown.value),
    "day": lambda shown: when(shown.value, "Y-m-d"),
    "state": _state,
    "button": _button,
}


@register.inclusion_tag("parts/facet.html")
def facet(shown: Facet) -> dict[str, Any]:
    """Choices with how many there are of each; part of a form that is sent by GET."""
    more = shown.choices[shown.shown :]
    return {
        "facet": shown,
        "first": shown.choices[: shown.shown],
        "more": more,
        "open": any(choice.is_chosen for choice in more),
    }


@register.inclusion_tag("parts/tabs.html")
def tabs(shown: Sequence[Tab], title: str = "") -> dict[str, Any]:
    """Several views of the same thing, each with its own address."""
    return {"tabs": shown, "title": title}


@register.inclusion_tag("parts/pager.html")
def pager(next: str, start: str = "") -> dict[str, Any]:
    """On to the next page, and back to the first."""
    return {"next": next, "start": start}


# What happens


@register.simple_tag
def state(code: str, mark: str = "") -> SafeString:
    """A state: its sign and its word."""
    return format_html('<span class="state {}">{}</span>', mark or mark_of(code), state_name(code))


@register.filter
def deed(action: str) -> str:
    """What an audit record's action is called."""
    return deed_name(action)


@register.simple_tag
def moved(record: Recorded) -> str:
    """From which state to which, in words; a dash for none."""
    return " → ".join(change_of(record, one) or "–" for one in (record.before, record.after))


@register.simple_tag
def badge(text: str, kind: str = "") -> SafeString:
    """A small fact about a thing: `public` for public money, `ok`, `wait`, or plain."""
    return format_html('<span class="badge {}">{}</span>', kind, told(text))


@register.inclusion_tag("parts/steps.html")
def steps(shown: Sequence[Step]) -> dict[str, Any]:
    """Where one is in what takes several steps."""
    return {"steps": shown}


@register.inclusion_tag("parts/timeline.html")
def timeline(shown: Sequence[Moment]) -> dict[str, Any]:
    """What happened when, and what is to come."""
    return {"moments": shown}


@register.inclusion_tag("parts/progress.html")
def progress(done: int, whole: int, elapsed_s: int | None = None, ends_by: datetime | None = None) -> Any:
    """How far it is, how long it took, when it ends. `whole` 0: nobody knows how long it takes."""
    return {"done": done, "whole": whole, "elapsed_s": elapsed_s, "ends_by": ends_by}


@register.inclusion_tag("parts/log.html")
def log(text: str, stream: str = "", offset: int = 0, live: bool = False) -> dict[str, Any]:
    """A log, which grows by itself from `stream` while it is `live`."""
    return {"text": text, "stream": stream, "offset": offset, "live": live}


@register.inclusion_tag("parts/curve.html")
def curve(shown: Curve) -> dict[str, Any]:
    """A measure over time, with the table behind it."""
    return {"curve": shown, "width": CURVE_WIDTH, "height": CURVE_HEIGHT}


@register.inclusion_tag("parts/bars.html")
def bars(shown: Bars) -> dict[str, Any]:
    """Parts of wholes side by side, with the table behind them."""
    return {"bars": shown}


@register.inclusion_tag("parts/heat.html")
def heat(shown: Heat) -> dict[str, Any]:
    """What is free hour by hour, with the table behind it."""
    return {"heat": shown}


@register.inclusion_tag("parts/facts.html")
def facts(shown: Sequence[Fact]) -> dict[str, Any]:
    """Names and values, each with where it comes from."""
    return {"facts": shown}


@register.inclusion_tag("parts/figure.html")
def figure(title: str, value: str, note: str = "", href: str = "", kind: str = "") -> dict[str, Any]:
    """One figure on a card, its name above and what it means beneath. `kind`: `public` for public money."""
    return {"title": title, "value": value, "note": note, "href": href, "kind": kind}


# What is said, asked and filled in


@register.simple_block_tag
def notice(content: str, kind: str = "wait", title: str = "") -> str:
    """Something to know: `ok`, `wait`, `refused` or `note`."""
    return render_to_string("parts/notice.html", {"content": content, "kind": kind, "title": title})


@register.simple_block_tag
def empty(content: str, title: str, href: str = "", action: str = "") -> str:
    """Nothing here: why, and the next step."""
    return render_to_string(
        "parts/empty.html", {"content": content, "title": title, "href": href, "action": action}
    )


@register.simple_block_tag
def dialog(content: str, id: str, opener: str, title: str, kind: str = "quiet") -> str:
    """A question that interrupts, and the button that opens it. Without JavaScript it unfolds on the page."""
    return render_to_string(
        "parts/dialog.html", {"content": content, "id": id, "opener": opener, "title": title, "kind": kind}
    )


@register.inclusion_tag("parts/field.html")
def field(bound: BoundField) -> dict[str, Any]:
    """A field of a form with its label, hint and error."""
    return {"field": bound}


@register.inclusion_tag("parts/fields.html")
def fields(form: BaseForm) -> dict[str, Any]:
    """All fields of a form, and what is wrong with the whole. Placeholders of allauth say the label again: they go."""
    if any(kind.__module__.startswith("allauth.") for kind in type(form).__mro__):
        for one in form.fields.values():
            one.widget.attrs.pop("placeholder", None)
    return {"form": form}


@register.simple_tag
def finding_button(subject: str, may_open: bool) -> SafeString | str:
    """The one button by which an auditor opens a finding about this subject, by its public id."""
    if not may_open:
        return ""
    href = f"{reverse('finding_new')}?{urlencode({'subject': subject})}"
    return format_html('<a class="quiet small" href="{}">{}</a>', href, gettext("Open a finding"))
