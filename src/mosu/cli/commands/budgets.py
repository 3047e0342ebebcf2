"""What a month may cost: budgets."""

from types import MappingProxyType
from typing import Final

from mosu.cli.options import JsonOption, LangOption, LimitOption
from mosu.cli.output import client, show, show_json
from mosu.cli.text import language, table

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
    rows = [
        [
            one.project_id or one.user_id or one.organisation_id,
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
