"""From a question to an order: ranked plans, what would be if, and the checkout before anything is held."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from mosu.compute.services import quote_run
from mosu.kernel.ids import uuid_of
from mosu.kernel.refusals import DomainError, NotFound
from mosu.market.models import Quote
from mosu.market.queries import orders_visible_to, quotes_visible_to
from mosu.market.services import accept_quote
from mosu.platform.policy import allows
from mosu.platform.queries import projects_visible_to
from mosu.platform.requests import actor_of
from mosu.store.services import ManifestEntry, read_manifest
from mosu.subsidies.queries import usable_vouchers, vouchers_with_balances
from mosu.subsidies.services import Choice
from mosu.web.asking import TASK_BYTES_MAX, Asking, changed, keeps_secrets, what_ifs
from mosu.web.buying.checkout import checkout_shown
from mosu.web.components import Step, Tab
from mosu.web.pages import page
from mosu.web.presenters import QuoteShown, refused_groups
from mosu.web.surroundings import purse_of_request
from mosu.web.templatetags.mosu import money
from mosu.web.words import said_of, title_of, told
from mosu.wire.task import TaskFile, TaskRefused, Vouchers

FIRST_COMMAND: Final = """\
for i in 1 2 3 4 5; do echo step $i of 5; sleep 1; done
python3 -c 'print(6 * 7)' > answer.txt"""
"""It takes some seconds, so that the first receipt has an amount on it, and brings a file back."""


@require_http_methods(["GET", "POST"])
@page("quote.ask")
def quote(request: HttpRequest) -> HttpResponse:
    """Say what to run; see ranked plans, each with who would pay what; try what would be if."""
    data = _sent(request) if request.method == "POST" else None
    like = _like(request, (data or request.GET).get("like", ""))
    form = Asking(data, initial=_wished(request, like), vouchers=_usable(request))
    context: dict[str, Any] = {
        "here": "quote",
        "form": form,
        "steps": steps_at(1),
        "tabs": _tabs(request, form),
        "like": like,
    }
    if data is not None and form.is_valid():
        context |= _answer(request, form, data, like)
        if context.get("quotes"):
            context["steps"] = steps_at(2)
    return render(request, "pages/quote.html", context)


@require_GET
@page("quote.read")
def checkout(request: HttpRequest, quote_id: str) -> HttpResponse:
    """One plan before it is ordered: what will be held, of what, until when, and what each ending costs."""
    return _checkout(request, _quote(request, quote_id))


@require_POST
@page("order.place")
def accept(request: HttpRequest, quote_id: str) -> HttpResponse:
    """Place the order of a quote. The key is the quote's: however often the button is pressed, one is placed."""
    try:
        order = accept_quote(
            actor=actor_of(request),
            quote_id=Quote.key_of(quote_id),
            idempotency_key=quote_id,
            now=timezone.now(),
        )
    except DomainError as refusal:
        if refusal.status in (401, 404):
            raise
        return _checkout(request, _quote(request, quote_id), refusal=refusal)
    return redirect("order", order.public_id)


def steps_at(now: int) -> list[Step]:
    """The way from the question to the receipt, at step `now`, counted from 1."""
    titles = (_("Say what to run"), _("Choose a plan"), _("Check and order"), _("It runs"), _("Receipt"))
    return [
        Step(title, "done" if number < now else "now" if number == now else "later")
        for number, title in enumerate(titles, start=1)
    ]


@dataclass(frozen=True, slots=True)
class Like:
    """An earlier quote whose task and working folder are taken again."""

    id: str
    task: str
    files: Sequence[ManifestEntry]


def _sent(request: HttpRequest) -> QueryDict:
    """What was sent, a file's text in its field, with the change that was pressed."""
    data = request.POST.copy()
    file = request.FILES.get("file")
    if file is not None:
        data["task"] = file.read(TASK_BYTES_MAX + 1).decode(errors="replace")
    return changed(data, data.get("what", ""))


def _answer(request: HttpRequest, form: Asking, data: QueryDict, like: Like | None) -> dict[str, Any]:
    """Quotes and refusals, or what is wrong with the question."""
    organisation_id, project_id = buyer_of_request(request)
    try:
        task = form.asked()
    except TaskRefused as refused:
        return {"problems": form.problems} if form.problems else {"problem": said_of(refused)}
    if error := _not_here(task, like):
        form.add_error("task" if form.with_file else None, error)
        return {}
    try:
        found = quote_run(
            actor=actor_of(request),
            organisation_id=organisation_id,
            project_id=project_id,
            task=task,
            workdir=like.files if like else [],
            choice=_choice(task.vouchers),
            now=timezone.now(),
        )
    except DomainError as refusal:
        return {"problem": said_of(refusal)}
    quotes = [QuoteShown.of(one) for one in found.quotes]
    return {
        "quotes": quotes,
        "refused": refused_groups(found),
        "not_priced": found.not_priced,
        "what_ifs": what_ifs(data),
        "against": _against(data, quotes),
        "task": task,
    }


def _not_here(task: TaskFile, like: Like | None) -> str:
    """Why a page cannot ask for this task; empty if it can."""
    if keeps_secrets(task):
        return _("Secrets are not kept: write their values again, or leave them out.")
    if (task.workdir or task.file_mounts) and (like is None or not like.files):
        return _("A page sends no folder: leave out workdir and file_mounts, or use mosu run.")
    return ""


def _against(data: QueryDict, quotes: Sequence[QuoteShown]) -> list[str]:
    """How the best plan compares with the best before the change."""
    if not quotes or not data.get("what"):
        return []
    best, said = quotes[0], []
    for name, now, title in (
        ("was_pay", best.split.pay_now, _("pay now")),
        ("was_public", best.split.voucher_now, _("vouchers now")),
        ("was_later", best.split.refund_later, _("refund expected later")),
    ):
        before = data.get(name, "")
        if before.isascii() and before.isdigit() and len(before) < 19 and int(before) != now:
            said.append(f"{title} {money(int(before))} → {money(now)}")
    began, starts = data.get("was_start", "")[:16], f"{timezone.localtime(best.starts_at):%Y-%m-%d %H:%M}"
    if data.get("what") in ("later", "at_once") and began != starts:
        said.append(_("start %(before)s → %(now)s") % {"before": began, "now": starts})
    return said or [_("the same amounts")]


def _wished(request: HttpRequest, like: Like | None) -> dict[str, str]:
    """What the form starts with: an earlier task, or a first command and what of the offer was pressed."""
    if like is not None:
        return {"by": "file", "like": like.id, "task": like.task, "vouchers": ""}
    by = request.GET.get("by", "")
    return {
        "by": by,
        "run": FIRST_COMMAND,
        "name": "" if by == "session" else "first-run",
        "accelerators": request.GET.get("accelerators", "").replace("\x00", ""),
        **_figures_wished(request),
    }


def _figures_wished(request: HttpRequest) -> dict[str, str]:
    """The form's figures that the address names, such as the fewest cores that the offer pressed sells."""
    if request.GET.get("by") == "file":
        return {}
    named = ((name, request.GET.get(name, "")) for name in ("cpus", "memory", "wall_limit"))
    return {name: text for name, text in named if re.fullmatch("[1-9][0-9]{0,4}", text)}


def _tabs(request: HttpRequest, form: Asking) -> list[Tab]:
    return [
        Tab(_("By form"), request.path, form.way == "form"),
        Tab(_("Notebook or shell"), f"{request.path}?by=session", form.way == "session"),
        Tab(_("By task file"), f"{request.path}?by=file", form.with_file),
    ]


def _like(request: HttpRequest, quote_id: str) -> Like | None:
    """The earlier quote, if it is of the organisation for which the person buys.

    Raises:
        NotFound: it is not.
    """
    if not quote_id:
        return None
    row = _quote(request, quote_id)
    if row.organisation_id != actor_of(request).organisation_id:
        raise _no_quote()
    manifest = row.request.get("workdir_manifest")
    files = read_manifest(manifest, organisation_id=row.organisation_id) if manifest else ()
    return Like(id=row.public_id, task=str(row.request.get("task", "")), files=files)


def _quote(request: HttpRequest, quote_id: str) -> Quote:
    rows = quotes_visible_to(actor_of(request)).select_related("offer")
    row = rows.filter(id=Quote.key_of(quote_id)).first()
    if row is None:
        raise _no_quote()
    return row


def _no_quote() -> NotFound:
    return NotFound(_("There is no such quote."), hint=_("Ask for quotes again."))


def _checkout(request: HttpRequest, row: Quote, *, refusal: DomainError | None = None) -> HttpResponse:
    actor = actor_of(request)
    purse = purse_of_request(request)
    own = purse is not None and purse.organisation.id == row.organisation_id
    return render(
        request,
        "pages/checkout.html",
        {
            "here": "quote",
            "steps": steps_at(3),
            "quote": checkout_shown(
                actor, row, available=purse.available if purse and own else None, now=timezone.now()
            ),
            "order": orders_visible_to(actor).filter(quote=row).first(),
            "may_order": allows(actor, "order.place", row.organisation_id),
            "problem": said_of(refusal) if refusal else None,
        },
        status=refusal.status if refusal else 200,
    )


def _choice(chosen: Vouchers) -> Choice:
    return chosen if isinstance(chosen, str) else [uuid_of("voucher", one) for one in chosen]


def _usable(request: HttpRequest) -> list[tuple[str, str]]:
    """The vouchers to choose from, by id: what each is and has left."""
    organisation_id = actor_of(request).organisation_id
    if organisation_id is None:
        return []
    rows = usable_vouchers(organisation_id, now=timezone.now())
    return [
        (
            one.voucher.public_id,
            _("%(title)s: %(left)s left, until %(day)s")
            % {
                "title": told(title_of(one.voucher.version)),
                "left": money(one.remaining_micros),
                "day": f"{timezone.localtime(one.voucher.expires_at):%Y-%m-%d}",
            },
        )
        for one in vouchers_with_balances(rows)
    ]


def buyer_of_request(request: HttpRequest) -> tuple[UUID, UUID]:
    """The organisation for which the person buys, and its first project.

    Raises:
        NotFound: they belong to no organisation.
    """
    actor = actor_of(request)
    owned = projects_visible_to(actor)
    project = owned.filter(organisation_id=actor.organisation_id).first() if actor.organisation_id else None
    if actor.organisation_id is None or project is None:
        raise NotFound(
            _("You belong to no organisation yet."), hint=_("Found one, or ask for an invitation.")
        )
    return actor.organisation_id, project.id
