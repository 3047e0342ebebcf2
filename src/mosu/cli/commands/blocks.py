"""Reserved blocks: nodes from one time to another, and the ones that you have."""

import sys
from datetime import datetime, tzinfo
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Final

import typer

from mosu.cli.options import JsonOption, LangOption, LimitOption, YesOption
from mosu.cli.output import client, say, show, show_json, time_of, zone_of
from mosu.cli.split import lines_of
from mosu.cli.stop import REFUSED, USAGE, Stop
from mosu.cli.taskfile import vouchers_of
from mosu.cli.text import Language, language, table, told

if TYPE_CHECKING:
    from mosu.client import Client
    from mosu.client.models import Block, BlockTerms, Quote

_WORDS: Final = MappingProxyType(
    {
        "zh": {
            "rule": "开始前 {hours} 小时以上取消：退 {back}%",
            "later": "开始后取消：剩余时间退 {back}%",
            "nothing": "更晚取消：不退",
        },
        "en": {
            "rule": "Cancelled {hours} h or more before the start: {back}% back",
            "later": "Cancelled after the start: {back}% of what is left back",
            "nothing": "Cancelled later: nothing back",
        },
    }
)
_HEADINGS: Final = MappingProxyType(
    {
        "zh": ("预留时段", "状态", "开始", "结束", "节点", "加速卡", "每节点", "最多"),
        "en": ("BLOCK", "STATE", "FROM", "TO", "NODES", "ACCELERATOR", "OF EACH", "AT MOST"),
    }
)


def reserve(
    *,
    offer: Annotated[str, typer.Option("--offer", help="The offer, one with the mode reserved: offer_...")],
    start: Annotated[str, typer.Option("--from", help="Start, such as 2026-12-01T00:00 in the hub's zone.")],
    end: Annotated[str, typer.Option("--to", help="End.")],
    nodes: Annotated[int, typer.Option(min=1, help="How many nodes.")] = 1,
    per_node: Annotated[
        int | None, typer.Option("--per-node", min=1, help="Cards (or cores) of each; otherwise all.")
    ] = None,
    vouchers: Annotated[str, typer.Option(help="auto, none, or voucher ids with commas.")] = "",
    yes: YesOption = False,
    lang: LangOption = "",
    json: JsonOption = False,
) -> None:
    """Buy nodes from one time to another; runs with mosu.block in their task go inside and cost nothing more.

    Shows the price and the cancellation rules before it asks. mosu cancel BLOCK gives it back by these rules.
    """
    with client() as hub:
        zone = zone_of(hub)
        quote = hub.make_block_quote(
            offer,
            nodes=nodes,
            per_node=per_node,
            start=_time(start, "--from", zone),
            end=_time(end, "--to", zone),
            vouchers=vouchers_of(vouchers),
        )
        say(_quote_text(quote, language(lang), zone))
        _agree(yes=yes)
        block = _bought(hub, quote)
    if json:
        show_json(block)
    else:
        show(block.id)
        say(f"Run inside it: mosu run task.yaml --block {block.id}")


def blocks(*, limit: LimitOption = 20, lang: LangOption = "", json: JsonOption = False) -> None:
    """Your organisation's reserved blocks, newest first."""
    with client() as hub:
        page = hub.blocks(limit=limit)
        zone = zone_of(hub)
    if json:
        show_json(page)
        return
    rows = [
        [
            one.id,
            one.state,
            time_of(one.start, zone),
            time_of(one.end, zone),
            ", ".join(one.nodes),
            one.accelerator or "-",
            str(one.cards or one.cores),
            f"{one.total_max:f} {one.currency}",
        ]
        for one in page.items
    ]
    show(table(list(_HEADINGS[language(lang)]), rows, right=frozenset({6, 7})))


def _time(text: str, option: str, zone: tzinfo | None) -> datetime:
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise Stop(
            f"{option} {text[:40]!r} is not a time.", hint="Such as 2026-12-01T00:00.", code=USAGE
        ) from error
    return at if at.tzinfo is not None else at.replace(tzinfo=zone).astimezone()


def _quote_text(quote: "Quote", lang: Language, zone: tzinfo | None) -> str:
    supplier = quote.offer.supplier.name if quote.offer.supplier is not None else ""
    title = " · ".join(part for part in (quote.offer.title.in_language(lang), supplier) if part)
    lines = [f"{title} · {time_of(quote.starts_at, zone)}", *lines_of(quote, lang)]
    return "\n".join(lines + (_rules(quote.block, lang) if quote.block is not None else []))


def _rules(terms: "BlockTerms", lang: Language) -> list[str]:
    words = _WORDS[lang]
    said = [
        words["rule"].format(hours=rule.before_start_hours, back=rule.back_percent)
        for rule in terms.cancellation
    ]
    later = terms.back_percent_after_start
    return [*said, words["later"].format(back=later) if later else words["nothing"]]


def _agree(*, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise Stop(
            "Nothing was bought: there is no terminal to ask at.", hint="--yes buys the block.", code=REFUSED
        )
    if not typer.confirm(told("Buy this block"), err=True):
        raise Stop("Nothing was bought.", hint="The quote stays open for a while.", code=REFUSED)


def _bought(hub: "Client", quote: "Quote") -> "Block":
    order = hub.accept(quote.id)
    return hub.block_of_order(order.id)
