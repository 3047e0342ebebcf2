"""What a month may cost: budgets."""

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from mosu.cli.options import JsonOption, LangOption, LimitOption
from mosu.cli.output import client, show, show_json
from mosu.cli.text import language, table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mosu.client import Client
    from mosu.client.models import Budget

_HEADINGS: Final = MappingProxyType(
    {
        "zh": ("对象", "月份", "上限", "已用", "%", "未结订单占用", "还可下单", "币种"),
        "en": ("OF", "MONTH", "AT MOST", "SPENT", "%", "PROMISED", "LEFT", ""),
    }
)


def budgets(*, limit: LimitOption = 20, lang: LangOption = "", json: JsonOption = False) -> None:
    """Your organisation's budgets, and how this month stands with each."""
    with client() as hub:
        page = hub.budgets(limit=limit)
        if json:
            show_json(page)
            return
        names = _names(hub, page.items)
    rows = [
        [
            names.get(_whose(one), _whose(one)),
            one.month,
            f"{one.cap:f}",
            f"{one.spent:f}",
            str(one.spent_percent),
            f"{one.committed - one.spent:f}",
            f"{one.left:f}",
            one.currency,
        ]
        for one in page.items
    ]
    show(table(list(_HEADINGS[language(lang)]), rows, right=frozenset({2, 3, 4, 5, 6})))


def _whose(one: "Budget") -> str:
    return one.project_id or one.user_id or one.organisation_id


def _names(hub: "Client", found: "Sequence[Budget]") -> "Mapping[str, str]":
    """Of organisations, of oneself, and of projects where a budget is of one; others keep their id."""
    me = hub.me()
    parties = [one for one in (me.organisation, *me.organisations) if one is not None]
    named = {one.id: one.name for one in parties}
    if me.user is not None:
        named[me.user.id] = me.user.name or me.user.email
    if any(one.project_id for one in found):
        named |= {one.id: one.name for one in hub.projects(limit=200).items}
    return {key: name for key, name in named.items() if name}
