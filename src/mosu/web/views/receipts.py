"""Receipts and what they rest on."""

from secrets import compare_digest

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET

from mosu.kernel.digests import canonical
from mosu.kernel.refusals import NotFound
from mosu.market.models import Receipt
from mosu.market.queries import receipt_numbered, receipts_visible_to
from mosu.market.receipts import code_of
from mosu.market.shapes import verify_url_of
from mosu.platform.policy import allows
from mosu.platform.requests import actor_of
from mosu.web.buying.receipt import evidence_of
from mosu.web.pages import page
from mosu.web.presenters import receipt_shown


@require_GET
@page("receipt.read")
def receipt(request: HttpRequest, receipt_id: str) -> HttpResponse:
    """The receipt as on a till, each line with its evidence; with `?format=json` the bytes behind its sha256."""
    actor = actor_of(request)
    rows = receipts_visible_to(actor).select_related("order__quote")
    row = rows.filter(id=Receipt.key_of(receipt_id)).first()
    if row is None:
        raise NotFound(_("There is no such receipt."), hint=_("See the list of your orders."))
    if request.GET.get("format") == "json":
        response = HttpResponse(canonical(row.content), content_type="application/json")
        response["Content-Disposition"] = f'attachment; filename="{row.number}.json"'
        return response
    return render(
        request,
        "pages/receipt.html",
        {
            "here": "orders",
            "public_id": row.public_id,
            "may_credit": allows(actor, "credit.propose"),
            "receipt": receipt_shown(row),
            "evidence": evidence_of(actor, row),
            "verify_url": verify_url_of(row),
        },
    )


@require_GET
@page("hub.look")
def verify(request: HttpRequest, number: str, code: str) -> HttpResponse:
    """Whether a receipt that somebody shows is one of this hub's: its hash and totals, no more."""
    row = receipt_numbered(number)
    genuine = row is not None and compare_digest(code_of(row).encode(), code.encode())
    return render(
        request,
        "pages/verify.html",
        {"number": number, "receipt": row if genuine else None},
        status=200 if genuine else 404,
    )
