"""A receipt as on a till: narrow, dotted leaders, a total that adds up in view, a code to check it."""

from datetime import tzinfo
from decimal import Decimal
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from mosu.cli.split import label_of, ordered
from mosu.cli.text import Language, centred, clean, width_of, wrapped
from mosu.kernel.units import many_units, one_count

if TYPE_CHECKING:
    from mosu.client.models import Party, Receipt, ReceiptLine

_WORDS: Final = MappingProxyType(
    {
        "zh": {
            "title": "小 票",
            "number": "编号",
            "buyer": "买方",
            "at": "时间",
            "total": "合计",
            "tax": "其中税额",
            "paid": "实付",
            "vouchers": "券抵扣",
            "released": "已解冻",
            "refund": "预计后补 (不计入实付)",
            "credited": "平台或供方故障，未收",
            "up": "在线 {seconds} 秒，重新启动 {restarts} 次（由运行处自测）",
            "check": "校验",
            "tiny": "用量 {used} {meter}，舍入后为 {amount}",
            "none": "用量不足 1 {meter}",
        },
        "en": {
            "title": "RECEIPT",
            "number": "No.",
            "buyer": "Buyer",
            "at": "Issued",
            "total": "TOTAL",
            "tax": "tax in it",
            "paid": "PAID",
            "vouchers": "VOUCHERS",
            "released": "held, given back",
            "refund": "refund expected (not in paid)",
            "credited": "not charged: not your fault",
            "up": "up {seconds} s, started again {restarts} times (measured where it ran)",
            "check": "sha256",
            "tiny": "{used} {meter} used, rounded to {amount}",
            "none": "less than one {meter} used",
        },
    }
)
_WIDTH_MIN: Final = 24


def render(receipt: "Receipt", width: int = 40, lang: Language = "en", zone: tzinfo | None = None) -> str:
    """The receipt's text, no line wider than `width` columns (at least 24). Times in `zone`, else local.

    Below the slip stand its sha256 and the address to check it at, each on one line however long, to be copied.
    """
    width = max(width, _WIDTH_MIN)
    words = _WORDS[lang]
    rule = "-" * width
    lines = [centred(line, width) for line in wrapped(_name(receipt.seller), width) if line]
    lines += [centred(words["title"], width), rule]
    lines += _wrapped(f"{words['number']} {receipt.number}", width)
    if receipt.issued_at is not None:
        at = receipt.issued_at.astimezone(zone)
        lines += _wrapped(f"{words['at']} {at:%Y-%m-%d %H:%M:%S %z}", width)
    if _name(receipt.buyer):
        lines += _wrapped(f"{words['buyer']} {_name(receipt.buyer)}", width)
    lines.append(rule)
    for line in receipt.lines:
        lines += _goods(line, width, lang)
    lines.append(rule)
    lines += leader(f"{words['total']} {receipt.currency}", receipt.total, width)
    if receipt.tax is not None and receipt.tax.amount is not None:
        rate = f" {_percent(receipt.tax.rate)}" if receipt.tax.rate is not None else ""
        lines += leader(f"  {words['tax']}{rate}", receipt.tax.amount, width)
    for share in ordered(receipt.split):
        if share.source == "voucher":
            lines += leader(f"- {label_of(share, lang)}", share.amount, width)
    lines += leader(words["vouchers"], receipt.voucher_share, width)
    lines += leader(words["paid"], receipt.paid, width)
    lines.append(rule)
    refund = sum((share.amount for share in receipt.split if share.source == "refund"), Decimal(0))
    if refund:
        lines += leader(words["refund"], refund, width)
    if receipt.released:
        lines += leader(words["released"], receipt.released, width)
    if receipt.credited:
        lines += leader(words["credited"], receipt.credited, width)
    if receipt.why:
        lines += _wrapped(receipt.why, width)
    if receipt.claimed is not None:
        up = words["up"].format(seconds=receipt.claimed.uptime_s, restarts=receipt.claimed.restarts)
        lines += _wrapped(up, width)
    lines += _proof(receipt, lang)
    return "\n".join(lines) + "\n"


def leader(text: str, amount: Decimal, width: int) -> list[str]:
    """`text ..... amount`, the amount flush right; a long text takes lines of its own first."""
    figure = f"{amount:f}"
    indent = " " * (len(text) - len(text.lstrip()))
    *before, last = wrapped(clean(text.lstrip()), max(2, width - len(indent) - width_of(figure) - 3))
    before, last = [indent + line for line in before], indent + last
    dots = width - width_of(last) - width_of(figure) - 2
    return [*before, f"{last} {'.' * max(dots, 1)} {figure}"]


def _goods(line: "ReceiptLine", width: int, lang: Language) -> list[str]:
    lines = _wrapped(line.text.in_language(lang), width)
    if line.quantity is None or line.unit_price is None:
        return [*lines[:-1], *leader(lines[-1], line.amount, width)]
    return [
        *lines,
        *leader(
            f"  {line.quantity:f} {many_units(line.unit)[lang]} x {line.unit_price:f}", line.amount, width
        ),
        *(_wrapped(_why_nothing(line, lang), width) if line.rounds_to_nothing else ()),
    ]


def _why_nothing(line: "ReceiptLine", lang: Language) -> str:
    """A line is rounded once, half-even, to the smallest unit: what is below half of that costs nothing."""
    meter = one_count(line.meter)[lang]
    if not line.metered:
        return _WORDS[lang]["none"].format(meter=meter)
    plural = "s" if lang == "en" and line.metered > 1 else ""
    return _WORDS[lang]["tiny"].format(used=line.metered, meter=meter + plural, amount=f"{line.amount:f}")


def _proof(receipt: "Receipt", lang: Language) -> list[str]:
    """Never wrapped: a break inside would be copied with it."""
    told = (f"{_WORDS[lang]['check']} {receipt.sha256}" if receipt.sha256 else "", receipt.verify_url)
    return [clean(line) for line in told if line]


def _wrapped(text: str, width: int) -> list[str]:
    return wrapped(clean(text), width)


def _name(party: "Party | str | None") -> str:
    return clean(party if isinstance(party, str) else party.name) if party is not None else ""


def _percent(rate: Decimal | None) -> str:
    return f"{(rate or Decimal(0)) * 100:.2f}".rstrip("0").rstrip(".") + "%"
