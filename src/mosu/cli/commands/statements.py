"""What a supplier's months came to: settlement statements, and the payouts that pay them."""

import re
import sys
from collections.abc import Iterator, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Final

import typer

from mosu.cli.options import JsonOption, LangOption, LimitOption, PdfOption
from mosu.cli.output import client, say, show, show_json, time_of, zone_of
from mosu.cli.stop import USAGE, Stop, check_folder_of
from mosu.cli.text import Language, language, table, told
from mosu.kernel.csv import csv_lines

if TYPE_CHECKING:
    from mosu.client import Client
    from mosu.client.models import Statement

_MONTH: Final = re.compile(r"\d{4}-\d{2}")
_COLUMNS: Final = (
    "id", "number", "supplier", "month", "currency", "orders", "gross", "voucher_share", "buyer_share", "fee", "tax",
    "credits", "net", "to_invoice", "issued_at", "sha256",
)  # fmt: skip

_WORDS: Final = MappingProxyType(
    {
        "zh": {
            "month": "月份",
            "number": "结算单号",
            "orders": "订单",
            "gross": "销售合计",
            "vouchers": "其中券抵扣",
            "buyers": "其中买方支付",
            "fee": "平台服务费",
            "credits": "红字更正单",
            "net": "应付",
            "invoice": "自行开票 (不计入应付)",
            "tax": "其中税额",
            "by_programme": "按扶持政策",
        },
        "en": {
            "month": "MONTH",
            "number": "STATEMENT",
            "orders": "ORDERS",
            "gross": "SOLD",
            "vouchers": "of it by vouchers",
            "buyers": "of it by buyers",
            "fee": "hub's fee",
            "credits": "credit notes",
            "net": "TO BE PAID",
            "invoice": "you invoice (not in it)",
            "tax": "tax in it",
            "by_programme": "BY PROGRAMME",
        },
    }
)


def statements(
    *,
    which: Annotated[
        str, typer.Argument(help="A statement's id, or a month such as 2026-11; without it they are listed.")
    ] = "",
    pdf: PdfOption = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="All of them as CSV on standard output.")] = False,
    limit: LimitOption = 20,
    lang: LangOption = "",
    json: JsonOption = False,
) -> None:
    """What closed months came to for you as a supplier, newest first, or one of them; --pdf writes it as a paper."""
    chosen = language(lang)
    if pdf is not None:
        check_folder_of(pdf)
    with client() as hub:
        if as_csv:
            _write_csv(hub, month=which)
        elif not which:
            page = hub.statements(limit=limit)
            show_json(page) if json else show(_listed(page.items, chosen))
        else:
            one = _one(hub, which)
            if pdf is not None:
                say(f"{pdf}: {hub.statement_paper(one.id, pdf):,} bytes")
            else:
                show_json(one) if json else show(_shown(one, chosen))
            return
    if pdf is not None:
        raise Stop("Which statement?", hint="mosu statements lists them.", code=USAGE)


def payouts(*, limit: LimitOption = 20, json: JsonOption = False) -> None:
    """What the hub paid you for statements, newest first; proposed by one person, booked once another confirmed it."""
    with client() as hub:
        page = hub.payouts(limit=limit)
        if json:
            show_json(page)
            return
        zone = zone_of(hub)
    rows = [
        [
            one.id,
            one.statement_id,
            f"{one.amount:f}",
            one.currency,
            told(one.state),
            one.bank_reference,
            time_of(one.decided_at or one.proposed_at, zone),
        ]
        for one in page.items
    ]
    show(table(["ID", "STATEMENT", "AMOUNT", "", "STATE", "REFERENCE", "AT"], rows, right=frozenset({2})))


def _one(hub: "Client", which: str) -> "Statement":
    """By its id; by its month, where that is one."""
    if not _MONTH.fullmatch(which):
        return hub.settlement_statement(which)
    found = hub.statements(month=which, limit=2).items
    if len(found) == 1:
        return found[0]
    if found:
        raise Stop(
            f"There are several statements of {which}.", hint="mosu statements lists them.", code=USAGE
        )
    raise Stop(f"There is no statement of {which}.", hint="mosu statements lists them.", code=USAGE)


def _write_csv(hub: "Client", *, month: str) -> None:
    """Decimals as the hub sent them; page by page, so that memory does not grow."""
    if month and not _MONTH.fullmatch(month):
        raise Stop("--csv lists statements.", hint="mosu statements --csv, or a month with it.", code=USAGE)
    for line in csv_lines(_rows(hub, month=month)):
        sys.stdout.write(line)


def _rows(hub: "Client", *, month: str) -> Iterator[Sequence[object]]:
    yield _COLUMNS
    cursor: str | None = None
    while True:
        page = hub.statements(month=month, limit=200, cursor=cursor)
        for one in page.items:
            row = one.model_dump()
            yield [row[name] for name in _COLUMNS]
        cursor = page.next
        if cursor is None:
            return


def _listed(found: "tuple[Statement, ...]", lang: Language) -> str:
    words = _WORDS[lang]
    rows = [
        [
            one.id,
            one.month,
            str(one.orders),
            f"{one.gross:f}",
            f"{one.fee:f}",
            f"{one.net:f}",
            one.currency,
            one.number,
        ]
        for one in found
    ]
    headings = [words[key] for key in ("month", "orders", "gross", "fee", "net")]
    return table(["ID", *headings, "", words["number"]], rows, right=frozenset({2, 3, 4, 5}))


def _shown(one: "Statement", lang: Language) -> str:
    words = _WORDS[lang]
    sums = [
        ("gross", one.gross),
        ("vouchers", one.voucher_share),
        ("buyers", one.buyer_share),
        ("fee", -one.fee),
        ("credits", -one.credits),
        ("net", one.net),
        ("tax", one.tax),
        ("invoice", one.to_invoice),
    ]
    rows = [
        [words[name], f"{amount:f}"] for name, amount in sums if amount or name in ("gross", "fee", "net")
    ]
    parts = [
        f"{one.month} · {one.number} · {one.supplier} · {one.orders} {words['orders'].lower()}",
        table(["", one.currency], rows, right=frozenset({1})),
    ]
    named = [[part.title.in_language(lang), f"{part.amount:f}"] for part in one.programmes]
    if named:
        parts += ["", table([words["by_programme"], one.currency], named, right=frozenset({1}))]
    parts += ["", f"sha256 {one.sha256}"]
    return "\n".join(parts)
