"""What a month came to: bills."""

from decimal import Decimal
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Final

import typer

from mosu.cli.options import JsonOption, LangOption, PdfOption
from mosu.cli.output import client, say, show, show_json
from mosu.cli.split import bar_of
from mosu.cli.stop import USAGE, Stop, check_folder_of
from mosu.cli.text import Language, language, table

if TYPE_CHECKING:
    from mosu.client.models import Bill

_WORDS: Final = MappingProxyType(
    {
        "zh": {
            "month": "月份",
            "number": "账单号",
            "open": "未结账",
            "credits": "红字更正单退回",
            "receipts": "小票",
            "total": "合计",
            "vouchers": "券抵扣",
            "paid": "实付",
            "suppliers_own": "其中供方自行开账",
            "refund": "预计后补 (不计入实付)",
            "credited": "平台或供方故障，未收",
            "tax": "其中税额",
            "by_programme": "按扶持政策",
            "by_supplier": "按供方",
        },
        "en": {
            "month": "MONTH",
            "number": "BILL",
            "open": "open",
            "credits": "given back by credit notes",
            "receipts": "RECEIPTS",
            "total": "TOTAL",
            "vouchers": "VOUCHERS",
            "paid": "PAID",
            "suppliers_own": "of it billed by suppliers",
            "refund": "refund expected (not in paid)",
            "credited": "not charged: not your fault",
            "tax": "tax in it",
            "by_programme": "BY PROGRAMME",
            "by_supplier": "BY SUPPLIER",
        },
    }
)


def bills(
    *,
    month: Annotated[str, typer.Argument(help="A month such as 2026-11; without it they are listed.")] = "",
    pdf: PdfOption = None,
    lang: LangOption = "",
    json: JsonOption = False,
) -> None:
    """The months' sums, newest first, or one month: who paid, by programme and by supplier."""
    chosen = language(lang)
    if pdf is not None:
        check_folder_of(pdf)
    with client() as hub:
        if pdf is not None:
            if not month:
                raise Stop(
                    "Which month's bill?", hint="Such as mosu bills 2026-11 --pdf bill.pdf.", code=USAGE
                )
            say(f"{pdf}: {hub.bill_paper(month, pdf):,} bytes")
            return
        if month:
            one = hub.bill(month)
            show_json(one) if json else show(_one_month(one, chosen))
            return
        found = hub.bills()
    if json:
        show_json(found)
        return
    words = _WORDS[chosen]
    rows = [
        [
            one.month,
            str(one.receipts),
            f"{one.total:f}",
            f"{one.voucher_share:f}",
            f"{one.paid:f}",
            one.currency,
            one.number or words["open"],
        ]
        for one in found.items
    ]
    headings = [words[key] for key in ("month", "receipts", "total", "vouchers", "paid")]
    show(table([*headings, "", words["number"]], rows, right=frozenset({1, 2, 3, 4})))


def _one_month(bill: "Bill", lang: Language) -> str:
    words = _WORDS[lang]
    rows = [
        [words["total"], bill.total],
        [words["vouchers"], bill.voucher_share],
        [words["paid"], bill.paid],
        [words["suppliers_own"], bill.billed_by_suppliers],
        [words["refund"], bill.refund_later],
        [words["credited"], bill.credited],
        [words["tax"], bill.tax],
        [words["credits"], bill.credits],
    ]
    sums = [[str(name), f"{amount:f}"] for name, amount in rows[:3]]
    sums += [[str(name), f"{amount:f}"] for name, amount in rows[3:] if amount != Decimal(0)]
    bar = bar_of(voucher=bill.voucher_share, own=bill.paid, refund=bill.refund_later)
    number = bill.number or words["open"]
    parts = [
        f"{bill.month} · {number} · {bill.receipts} {words['receipts'].lower()}",
        *([bar] if bar else []),
    ]
    parts.append(table(["", bill.currency], sums, right=frozenset({1})))
    for title, group in (("by_programme", bill.programmes), ("by_supplier", bill.suppliers)):
        named = [[one.title.in_language(lang) or one.name, f"{one.amount:f}"] for one in group]
        if named:
            parts += ["", table([words[title], bill.currency], named, right=frozenset({1}))]
    return "\n".join(parts)
