"""`/look/`: every component in every state, with the line that calls it. Its figures are made up."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import sin
from typing import Any, Final

from django import forms
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from mosu.market.shelves import Stock
from mosu.web.components import Bar, Bars, Choice, Curve, Facet, Fact, Heat, Moment, Point, Step, Tab
from mosu.web.labels import OfferShown, PriceShown
from mosu.web.pages import page
from mosu.web.presenters import ShareShown, SplitShown
from mosu.web.tables import Column, Empty, Filter, Plan, Table, drawn
from mosu.web.words import state_name, told

AT: Final = datetime(2026, 3, 2, 2, 0, tzinfo=UTC)
YUAN: Final = 1_000_000
COLOURS: Final = ("paper", "surface", "sunk", "ink", "ink-2", "line", "rail", "act", "ok", "wait", "public")
CARDS: Final = {"910B": 38, "MLU590": 12, "C500": 9, "H20": 21, "BI-V150": 4, "S80": 2, "A100": 1, "L20": 0}

# name of the section: (zh, en, how it is called)
SECTIONS: Final = {
    "colours": ("颜色", "Colours", "var(--public)"),
    "type": ("字号", "Type", "var(--f28)"),
    "buttons": ("按钮", "Buttons", '<a class="go"> <button class="quiet"> <button class="quiet small">'),
    "label": ("货架标签", "Shelf label", '<ul class="shelf">{% label offer %}</ul>'),
    "stock": ("库存格", "Stock cells", "{% stock free reserved taken %}"),
    "split": ("分摊条", "Split bar", "{% split split %}  {% split_bar own public later %}"),
    "receipt": ("小票", "Receipt", "{% receipt receipt verify_url %}"),
    "price": (
        "价格与金额",
        "Price and money",
        "{% price micros after %}  {{ micros|money }}  {{ micros|money }} / {{ unit|per_unit }}",
    ),
    "figure": ("数字卡", "Figures", "{% figure title value note href kind %}"),
    "state": ("状态与标记", "States and badges", "{% state code %}  {% badge text kind %}"),
    "time": ("时间", "Time", '{{ at|when }}  {{ at|when:"H:i:s" }}  {{ seconds|lasting }}'),
    "table": (
        "表格",
        "Table",
        "{% table table %}  list_page(request, template, PLAN, rows, prepare=...)  # mosu.web.tables",
    ),
    "empty": ("空列表", "Empty", "{% empty title href action %}...{% endempty %}"),
    "pager": ("翻页", "Pager", "{% pager next start %}"),
    "facet": ("筛选", "Facet", '<form method="get" data-send>{% facet facet %}</form>'),
    "tabs": ("标签页", "Tabs", "{% tabs tabs title %}"),
    "steps": ("步骤", "Steps", "{% steps steps %}"),
    "timeline": ("经过", "Timeline", "{% timeline moments %}"),
    "facts": ("事实", "Facts", "{% facts facts %}"),
    "notice": ("提示", "Notice", '{% notice "refused" title %}<p>...</p>{% endnotice %}'),
    "dialog": ("对话框", "Dialog", "{% dialog id opener title %}...{% enddialog %}"),
    "field": ("表单项", "Fields", "{% fields form %}  {% field form.name %}"),
    "progress": ("进度", "Progress", "{% progress done whole elapsed_s ends_by %}"),
    "log": ("日志", "Log", "{% log text stream offset live %}"),
    "curve": ("曲线", "Curve", "{% curve curve %}"),
    "bars": ("柱图", "Bars", "{% bars bars %}"),
    "heat": ("热力图", "Heat map", "{% heat heat %}"),
}


def _two(zh: str, en: str) -> dict[str, str]:
    return {"zh": zh, "en": en}


@dataclass(frozen=True)
class _Run:
    number: str
    at: datetime
    offer: dict[str, str]
    state: str
    total: int | None


_KINDS: Final = (("company", "企业", "Company"), ("team", "团队", "Team"))


class _Form(forms.Form):
    name = forms.CharField()
    cores = forms.IntegerField(min_value=1, required=False)
    kind = forms.ChoiceField(choices=[])
    command = forms.CharField(widget=forms.Textarea(attrs={"rows": 3}))
    terms = forms.BooleanField(required=False)


@require_GET
@page("hub.look")
def look(request: HttpRequest) -> HttpResponse:
    """The living style guide."""
    return render(
        request,
        "pages/look.html",
        {
            "sections": {
                name: {"id": name, "title": _two(zh, en), "call": call}
                for name, (zh, en, call) in SECTIONS.items()
            },
            "colours": COLOURS,
            "labels": _labels(),
            "stocks": [(8, 2, 2), (2, 0, 0), (0, 0, 8), (0, 0, 0), (6_120, 1_400, 2_480), (1, 0, 9_999)],
            "splits": _splits(),
            "receipt": _receipt(),
            "states": [
                "placed",
                "active",
                "settled",
                "succeeded",
                "failed",
                "cancelled",
                "queued",
                "running",
            ],
            "table": _table(request, _runs()),
            "table_empty": _table(request, []),
            "facets": _facets(),
            "tabs": [
                Tab(_two("全部", "All"), "#tabs", is_current=True, count=1_204),
                Tab(_two("进行中", "Running"), "#tabs", count=3),
                Tab(_two("已结清", "Settled"), "#tabs"),
            ],
            "steps": [
                Step(_two("任务", "Task"), "done", href="#steps"),
                Step(_two("报价", "Quote"), "done"),
                Step(_two("下单", "Order"), "now", _two("将冻结 ¥1,720.32", "Holds ¥1,720.32")),
                Step(_two("小票", "Receipt"), "later"),
            ],
            "moments": [
                Moment(_two("已下单", "Placed"), AT),
                Moment(_two("已开始", "Started"), AT + timedelta(seconds=42), "live"),
                Moment(
                    _two("接入代理失联", "Agent unreachable"),
                    AT + timedelta(minutes=9),
                    "wait",
                    _two("资源与冻结保留，不会另起一次。", "Cards and hold stay; nothing else starts."),
                ),
                Moment(_two("失败", "Failed"), AT + timedelta(minutes=12), "refused"),
                Moment(_two("小票", "Receipt"), None, "later"),
            ],
            "facts": [
                Fact(_two("显存", "Memory"), "64 GB", _two("厂商数据，2026-01", "vendor's figure, 2026-01")),
                Fact(
                    _two("90 天交付", "Delivered, 90 days"),
                    "99.2%",
                    _two("平台计量", "metered by the hub"),
                    "#facts",
                ),
                Fact(_two("地区", "Region"), "Shanghai"),
            ],
            "form": _form(None),
            "wrong": _form({"name": "", "cores": "0", "kind": "x", "command": "python train.py"}),
            "log": "".join(f"epoch {n:>3}  loss {2.4 / n:.4f}\n" for n in range(1, 9)),
            "at": AT,
            "curve": Curve(_two("内存", "Memory"), "GB", _points(), limit=64),
            "bars": Bars(
                _two("每日售出卡时", "Cards promised by day"),
                _two("卡时", "card-hours"),
                [Bar(f"03-{day:02}", part, 192) for day, part in enumerate((0, 0.5, 48, 96, 192), 1)],
            ),
            "heat": Heat.of(
                _two("每小时空闲卡", "Cards free by hour"),
                [(AT + timedelta(hours=n), (n * 5) % 17, 16) for n in range(60)],
            ),
            "curve_empty": Curve("CPU", "%", []),
            "prices": [12_800_000, 2_457_600_000, -655_870_000, 0],
        },
    )


def _labels() -> list[OfferShown]:
    def offer(zh: str, en: str, unit_price: int, stock: Stock | None, **more: Any) -> OfferShown:
        return OfferShown(
            id="offer",
            title=_two(zh, en),
            supplier=more.pop("supplier", "Xuhui Compute"),
            region="Shanghai",
            sold_by=more.pop("sold_by", "hub"),
            prices=[PriceShown("card_hour", unit_price)] if unit_price else [],
            stock=stock,
            live=not more.get("why_not_live"),
            why_not_live=more.pop("why_not_live", ""),
            **more,
        )

    measured = {"memory": "64 GB", "effective": 40_000_000, "effective_note": "FP16"}
    return [
        offer("昇腾 910B", "Ascend 910B", 12_800_000, Stock(8, 2, 2, 12), **measured),
        offer("昇腾 910B 整块八卡超节点", "Ascend 910B, eight whole cards in one super node", 9_900_000,
              Stock(16, 0, 112, 128), sold_by="supplier", **measured),
        offer("沐曦 C500", "MetaX C500", 9_200_000, None, supplier="Muguang Cloud"),
        offer("NVIDIA H20", "NVIDIA H20", 7_600_000, Stock(0, 0, 8, 8), why_not_live="Not connected"),
    ]  # fmt: skip


def _splits() -> list[SplitShown]:
    trial = ShareShown(_two("算力券 30%", "Compute voucher 30%"), 737_280_000)
    later = ShareShown(_two("区级 10%", "district 10%"), 245_760_000)
    return [
        SplitShown(1_720_320_000, 737_280_000, 245_760_000, [trial], [later]),
        SplitShown(1_530_370_000, 655_870_000, 0, [ShareShown(trial.label, 655_870_000)], [], final=True),
        SplitShown(2_457_600_000, 0, 0, [], []),
        SplitShown(
            0, 100 * YUAN, 0, [ShareShown(_two("试用券", "Trial voucher"), 100 * YUAN)], [], final=True
        ),
    ]


def _receipt() -> dict[str, Any]:
    return {
        "number": "R-2026-004127",
        "issued_at": AT,
        "seller": "模速 mosu",
        "buyer": "星野智能 Hoshino",
        "currency": "CNY",
        "lines": [
            {
                "text": _two("昇腾 910B · 徐汇智算", "Ascend 910B · Xuhui Compute"),
                "quantity": "170.80",
                "unit": "card_hour",
                "unit_price": "12.80",
                "amount": "2186.24",
            }
        ],
        "total": "2186.24",
        "tax_percent": "6%",
        "tax": {"amount": "123.75"},
        "vouchers": [{"label": _two("算力券 30%", "Compute voucher 30%"), "amount": "655.87"}],
        "paid": "1530.37",
        "refunds": [],
        "released": "189.95",
        "bar": _splits()[1],
        "sha256": "9f3c1b7e" * 8,
    }


def _runs() -> list[_Run]:
    offer = _two("昇腾 910B · 徐汇智算", "Ascend 910B · Xuhui Compute")
    return [
        _Run("O-2026-004131", AT, offer, "active", None),
        _Run("O-2026-004127", AT - timedelta(hours=22), offer, "settled", 2_186_240_000),
        _Run("O-2026-004102", AT - timedelta(days=3), offer, "cancelled", 0),
    ]


def _table(request: HttpRequest, runs: list[_Run]) -> Table:
    plan = Plan(
        name="sample" if runs else "sample-empty",
        title=told(_two("订单", "Orders")),
        columns=(
            Column(
                "number",
                told(_two("单号", "Number")),
                lambda run: run.number,
                kind="mono",
                sort="number",
                href=lambda _run: "#table",
            ),
            Column("at", told(_two("时间", "Placed")), lambda run: run.at, kind="time", sort="at"),
            Column("offer", told(_two("商品", "Offer")), lambda run: run.offer),
            Column("state", told(_two("状态", "State")), lambda run: run.state, kind="state"),
            Column("total", told(_two("合计", "Total")), lambda run: run.total, kind="money", sort="total"),
        ),
        order="-at",
        filters=(
            Filter(
                "state",
                told(_two("状态", "State")),
                lambda rows, _value: rows,
                [(code, state_name(code)) for code in ("active", "settled")],
            ),
            Filter("offer", told(_two("商品", "Offer")), lambda rows, _value: rows),
        ),
        empty=Empty(
            told(_two("还没有订单。", "No orders yet.")),
            told(
                _two(
                    "第一次运行只要一分钟，由试用券支付。",
                    "A first run takes a minute; a trial voucher pays it.",
                )
            ),
            "#table",
            told(_two("询价", "Ask for a quote")),
        ),
    )
    return drawn(request, plan, runs, after="next" if runs else None)


def _facets() -> list[Facet]:
    return [
        Facet(
            "card",
            _two("加速卡", "Accelerator"),
            [Choice(n, n, c, n == "910B") for n, c in CARDS.items()],
            shown=5,
        ),
        Facet(
            "memory",
            _two("显存", "Memory"),
            [Choice("64", "≥ 64 GB", 47), Choice("32", "32–63 GB", 33), Choice("0", "< 32 GB", 10_412)],
        ),
    ]


def _form(data: dict[str, str] | None) -> _Form:
    prefix = "wrong" if data else "right"
    form = _Form({f"{prefix}-{name}": value for name, value in data.items()} if data else None, prefix=prefix)
    labels = {
        "name": _two("名称", "Name"),
        "cores": _two("核数", "Cores"),
        "kind": _two("类型", "Kind"),
        "command": _two("命令", "Command"),
        "terms": _two("我已读过条款", "I have read the terms"),
    }
    for name, label in labels.items():
        form.fields[name].label = told(label)
    form.fields["name"].help_text = told(_two("小票上的名称。", "The name on your receipts."))
    form.fields["kind"].choices = [(code, told(_two(zh, en))) for code, zh, en in _KINDS]  # type: ignore[attr-defined]
    return form


def _points() -> list[Point]:
    return [Point(AT + timedelta(seconds=30 * n), 30 + 20 * sin(n / 9) * (n / 90)) for n in range(90)]
