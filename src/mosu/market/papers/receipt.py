"""A receipt on paper: narrow, every line, who paid, and the address at which anyone may check it."""

from collections.abc import Mapping
from typing import Any

from mosu.kernel.languages import Language
from mosu.kernel.money import micros_of
from mosu.kernel.units import many_units
from mosu.market.hub import hub_name, hub_zone
from mosu.market.models import Receipt
from mosu.market.papers.sheet import A5, INK, PUBLIC, SMALL, Sheet
from mosu.market.papers.words import grouped, minus, say, told
from mosu.subsidies.services import Source


def receipt_paper(receipt: Receipt, *, verify_url: str, language: Language) -> bytes:
    """The receipt as PDF, line by line as on the till."""
    content = receipt.content
    sheet = Sheet(
        title=f"{say('receipt', language)} {receipt.number}",
        foot=f"{receipt.number} · sha256 {receipt.sha256}",
        author=hub_name(),
        language=language,
        size=A5,
        margin=40,
    )
    sheet.text(hub_name())
    sheet.text(f"{say('receipt', language)} {receipt.number}", size=14)
    sheet.text(f"{receipt.issued_at.astimezone(hub_zone()):%Y-%m-%d %H:%M:%S %z}")
    sheet.space(4)
    sheet.leader(say("seller", language), content["seller"]["name"])
    sheet.leader(say("buyer", language), content["buyer"]["name"])
    sheet.leader(say("order", language), content["order"]["number"])
    sheet.rule()
    for line in content["lines"]:
        unit = told(many_units(line["unit"]), language)
        sheet.text(told(line["text"], language))
        sheet.leader(
            f"{grouped(line['quantity'])} {unit} × {grouped(line['unit_price'])}", grouped(line["amount"])
        )
    sheet.rule()
    currency = content["currency"]
    sheet.leader(say("total", language), f"{currency} {grouped(content['total'])}", size=12)
    percent = f"{micros_of(content['tax']['rate']) / 10_000:g}%"
    sheet.leader(say("tax_of", language).format(percent), grouped(content["tax"]["amount"]))
    for share in _shares(content, Source.VOUCHER):
        sheet.leader(told(share["label"], language), minus(share["amount"]), colour=PUBLIC)
    sheet.leader(say("paid", language), f"{currency} {grouped(content['paid'])}", size=12)
    sheet.bar([(micros_of(content["voucher_share"]), PUBLIC), (micros_of(content["paid"]), INK)])
    for share in _shares(content, Source.REFUND):
        name = say("expected", language).format(told(share["label"], language))
        sheet.leader(name, grouped(share["amount"]), colour=PUBLIC)
    if content["why"]:
        sheet.leader(say("not_charged", language).format(content["why"]), grouped(content["credited"]))
    sheet.leader(say("released", language), grouped(content["released"]))
    if claimed := content.get("claimed"):
        sheet.leader(say("up", language), f"{claimed['uptime_s']} s")
        sheet.leader(say("restarts", language), str(claimed["restarts"]))
    sheet.rule()
    sheet.text(f"{say('hash', language)} {receipt.sha256}", size=SMALL)
    sheet.text(f"{say('verify', language)} {verify_url}", size=SMALL)
    return sheet.done()


def _shares(content: Mapping[str, Any], source: Source) -> list[Mapping[str, Any]]:
    return [share for share in content["split"] if share["source"] == source]
