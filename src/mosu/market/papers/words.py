"""The papers' own words, in both languages; titles and names are the frozen rows' own."""

from collections.abc import Mapping
from typing import Any, Final

from mosu.kernel.languages import Language

_WORDS: Final[Mapping[str, tuple[str, str]]] = {
    "bill": ("账单", "Bill"),
    "receipt": ("小票", "Receipt"),
    "statement": ("结算单", "Settlement statement"),
    "month": ("账期", "Month"),
    "issued": ("出具时间", "Issued"),
    "issuer": ("出具方", "Issued by"),
    "organisation": ("单位", "Organisation"),
    "supplier": ("供应商", "Supplier"),
    "seller": ("供应商", "Seller"),
    "buyer": ("买方", "Buyer"),
    "currency": ("币种", "Currency"),
    "total": ("合计", "Total"),
    "vouchers": ("券抵扣", "Vouchers"),
    "paid": ("实付", "Paid"),
    "by_suppliers": ("其中由供应商自行开账", "Of it billed by suppliers themselves"),
    "credits": ("本月红字更正单退回", "Given back by credit notes of this month"),
    "due": ("更正后实付", "Due after credit notes"),
    "tax_in": ("其中税额", "Tax in the total"),
    "refund_later": ("预计后补，不计入以上", "Refund expected later, not counted above"),
    "credited": ("平台或供应商故障，未收", "Not charged, since hub or supplier failed"),
    "by_programme": ("按扶持政策", "By programme"),
    "by_supplier": ("按供应商", "By supplier"),
    "credit_notes": ("红字更正单", "Credit notes"),
    "receipts": ("小票明细", "Receipts"),
    "number": ("编号", "Number"),
    "date": ("日期", "Date"),
    "what": ("内容", "What"),
    "amount": ("金额", "Amount"),
    "more": ("另有 {} 张小票未列出，已计入合计。", "{} more receipts are in the sums and not listed here."),
    "gross": ("经平台结算", "Through the hub"),
    "buyers": ("买方付款", "Buyers paid"),
    "fee": ("平台服务费", "The hub's fee"),
    "supplier_credits": ("由供应商承担的红字更正", "Credit notes borne by the supplier"),
    "net": ("应付净额", "To be paid"),
    "to_invoice": ("供应商自行开账", "Billed by the supplier itself"),
    "orders": ("订单明细", "Orders"),
    "order": ("订单", "Order"),
    "tax_of": ("其中税额 {}", "Of which tax {}"),
    "released": ("解冻退回", "Held, given back"),
    "up": ("在线时长（由运行处自测）", "Up, as measured where it ran"),
    "restarts": ("重新启动次数（由运行处自计）", "Started again, as counted where it ran"),
    "expected": ("预计后补：{}", "Expected back later: {}"),
    "not_charged": ("未收：{}", "Not charged: {}"),
    "verify": ("验证地址", "Verify this receipt"),
    "page": ("第 {} 页，共", "Page {} of"),
    "pages": ("{} 页", "{}"),
    "hash": ("内容的 sha256", "sha256 of the content"),
}


def say(word: str, language: Language) -> str:
    """A word of the papers."""
    zh, en = _WORDS[word]
    return zh if language == "zh" else en


def told(text: Mapping[str, Any], language: Language) -> str:
    """The paper's language of a bilingual text."""
    return str(text[language])


def grouped(amount: str) -> str:
    """`1234567.50` as `1,234,567.50`: what a reader can copy back, digit for digit."""
    sign, digits = ("−", amount[1:]) if amount.startswith("-") else ("", amount)
    whole, point, part = digits.partition(".")
    return f"{sign}{int(whole):,}{point}{part}"


def minus(amount: str) -> str:
    """What is taken off."""
    return f"−{grouped(amount)}" if any(digit in "123456789" for digit in amount) else grouped(amount)
