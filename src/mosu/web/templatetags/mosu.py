"""What templates draw: money, the split bar, stock cells."""

from collections.abc import Mapping, Sequence
from decimal import Decimal

from django import template
from django.conf import settings
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import get_language, gettext

from mosu.kernel.money import decimal_of
from mosu.market import rules
from mosu.platform import services
from mosu.subsidies.queries import trial_version

register = template.Library()

SYMBOLS = {"CNY": "¥", "USD": "$", "EUR": "€", "INR": "₹", "GBP": "£", "CAD": "C$", "JPY": "¥"}
CELLS_MAX = 12


@register.filter
def money(micros: int) -> str:
    """`¥2,457.60`, in the hub's currency."""
    currency = settings.HUB_CURRENCY
    text = decimal_of(abs(micros), currency=currency)
    whole, _, part = text.partition(".")
    sign = "−" if micros < 0 else ""
    return f"{sign}{SYMBOLS[currency]}{int(whole):,}{'.' + part if part else ''}"


@register.filter
def told(text: Mapping[str, str] | str) -> str:
    """The page's language of a bilingual text `{zh, en}`."""
    if isinstance(text, str):
        return text
    return str(text["zh" if (get_language() or "").startswith("zh") else "en"])


@register.filter
def unit_name(unit: str) -> str:
    """The name of what is counted: `core_hour` is core-hours, 核时."""
    return told(rules.unit_name(unit))


@register.filter
def per_unit(unit: str) -> str:
    """The name of one of it, behind a price."""
    return {"core_hour": gettext("core-hour"), "card_hour": gettext("card-hour")}.get(unit, unit)


@register.filter
def meter_name(meter: str) -> str:
    """The unit in which a meter counts: whole core-seconds, 核秒."""
    return {"core_second": gettext("core-s"), "card_second": gettext("card-s")}.get(meter, meter)


@register.filter
def grouped(figure: str) -> str:
    """A decimal string with thousands separators."""
    whole, _, part = figure.partition(".")
    return f"{int(whole):,}{'.' + part if part else ''}"


@register.filter
def share_of(part: int, whole: int) -> int:
    """Percent, for what `progress` shows."""
    return min(100, round(100 * part / whole)) if whole else 0


@register.simple_tag
def split_bar(own: int, public: int, later: int) -> SafeString:
    """Who pays what, as one bar. `own` includes `later`, which is hatched: paid now, expected back."""
    total = max(own + public, 1)
    parts = (("own", own - later, 0), ("later", later, own - later), ("pub", public, own))
    rects = [
        _rect(kind, Decimal(start) / total, Decimal(size) / total) for kind, size, start in parts if size
    ]
    label = gettext("Pay now %(own)s, of which expected back %(later)s; vouchers pay %(public)s") % {
        "own": money(own),
        "later": money(later),
        "public": money(public),
    }
    return format_html(
        '<svg class="split" viewBox="0 0 1000 28" preserveAspectRatio="none" role="img" aria-label="{}">'
        '<defs><pattern id="hatch" width="8" height="8" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
        '<rect class="soft" width="8" height="8"></rect><rect class="pub" width="3" height="8"></rect></pattern></defs>'
        "{}</svg>",
        label,
        format_html_join("", "{}", ((rect,) for rect in rects)),
    )


def _rect(kind: str, start: Decimal, size: Decimal) -> SafeString:
    x, width = round(start * 1000, 1), round(size * 1000, 1)
    if kind == "later":
        return format_html('<rect x="{}" width="{}" height="28" fill="url(#hatch)"></rect>', x, width)
    return format_html('<rect class="{}" x="{}" width="{}" height="28"></rect>', kind, x, width)


@register.simple_tag
def stock_cells(free: int, reserved: int, taken: int) -> SafeString:
    """Stock as a small row of cells; large stocks are scaled down, and the words beside carry the figures."""
    counts: Sequence[tuple[str, int]] = (("free", free), ("reserved", reserved), ("taken", taken))
    total = max(free + reserved + taken, 1)
    scale = max(total / CELLS_MAX, 1)
    cells = [kind for kind, count in counts for _ in range(max(round(count / scale), 1 if count else 0))]
    return format_html_join("", '<i class="{}"></i>', ((kind,) for kind in cells))


@register.simple_tag
def gives_trials() -> bool:
    """Whether a newcomer gets a trial voucher: a trial programme is in force."""
    return trial_version(timezone.now()) is not None


@register.simple_tag
def mail_goes_out() -> bool:
    """Whether letters leave this hub; without a mail server links wait for the operator."""
    return services.mail_goes_out()
