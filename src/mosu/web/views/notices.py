"""One's inbox: what is new first."""

from typing import Final

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_POST

from mosu.platform.models import Notice
from mosu.platform.queries import notices_of
from mosu.platform.requests import actor_of
from mosu.platform.services import read_notice, read_notices
from mosu.web.components import Tab
from mosu.web.pages import page, paged

NEW_SHOWN: Final = 50


@require_GET
@page("self.read")
def notices(request: HttpRequest) -> HttpResponse:
    """The unread above, the read beneath; `?about=` shows one kind, such as `deposit`."""
    rows = notices_of(actor_of(request))
    kinds = sorted(
        {kind.partition(".")[0] for kind in rows.order_by().values_list("kind", flat=True).distinct()}
    )
    about = request.GET.get("about", "")
    if about in kinds:
        rows = rows.filter(kind__startswith=about)
    fresh = [] if request.GET.get("cursor") else list(rows.filter(read_at=None)[: NEW_SHOWN + 1])
    old, more = paged(request, rows.exclude(read_at=None))
    context = {
        "fresh": fresh[:NEW_SHOWN],
        "more_fresh": len(fresh) > NEW_SHOWN,
        "old": old,
        "more": more,
        "tabs": [
            Tab(_("All"), "?", about not in kinds),
            *(Tab(_named(kind), f"?about={kind}", kind == about) for kind in kinds),
        ]
        if len(kinds) > 1
        else [],
    }
    return render(request, "pages/notices.html", context)


def _named(kind: str) -> str:
    """What notices of a kind are about, in the page's language."""
    return {
        "deposit": _("Deposits"),
        "ledger": _("Books"),
        "voucher": _("Vouchers"),
        "application": _("Applications"),
        "claim": _("Claims"),
        "order": _("Orders"),
        "run": _("Runs"),
        "pool": _("Pools"),
        "finding": _("Findings"),
    }.get(kind, kind)


@require_POST
@page("self.change")
def notice(request: HttpRequest, notice_id: str) -> HttpResponse:
    """Mark one as read and go where it leads."""
    row = read_notice(actor=actor_of(request), notice_id=Notice.key_of(notice_id), now=timezone.now())
    is_ours = url_has_allowed_host_and_scheme(row.link, None) and row.link.startswith("/")
    return redirect(row.link if is_ours and "open" in request.POST else "notices")


@require_POST
@page("self.change")
def all_read(request: HttpRequest) -> HttpResponse:
    """Mark all as read."""
    read_notices(actor=actor_of(request), now=timezone.now())
    messages.success(request, _("All notices are marked as read."))
    return redirect("notices")
