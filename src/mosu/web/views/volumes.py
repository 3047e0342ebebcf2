"""Volumes: those there are, buying one, more time for one, deleting one by its name."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django import forms
from django.contrib import messages
from django.core.validators import RegexValidator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from mosu.compute.models import Volume, VolumeCopy
from mosu.compute.queries import quotas_visible_to
from mosu.compute.services import (
    FAULTS,
    delete_volume,
    kept_gb,
    quote_snapshot,
    quote_volume,
    quote_volume_time,
    restore_volume,
    set_renewal,
)
from mosu.compute.states import VOLUME_LIVES, VolumeState
from mosu.compute.volumes import GRACE, SHELF, deleted_at, volume_visible_to, volumes_kept, volumes_visible_to
from mosu.kernel.refusals import DomainError, Invalid
from mosu.market.models import Offer, Quote
from mosu.market.queries import ShownOffer, offers_named, offers_visible_to
from mosu.platform.actors import Actor
from mosu.platform.policy import allows
from mosu.platform.requests import actor_of
from mosu.web.pages import page
from mosu.web.presenters import OrderShown
from mosu.web.tables import Column, Empty, Plan, list_page
from mosu.web.views.quotes import buyer_of_request
from mosu.web.words import said_of, supplier_named

OFFERS_SHOWN: Final = 20
SNAPSHOTS_SHOWN: Final = 100
GIB: Final = 1 << 30
DAYS: Final = (7, 30, 90, 180, 365)


class NewVolume(forms.Form):
    """What the volume is called, how large it is, for how long it is kept."""

    name = forms.CharField(
        label=_lazy("Name"),
        max_length=63,
        validators=[
            RegexValidator(
                r"\A[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\Z",
                _lazy("Use small letters, digits and -, a letter or digit first and last."),
            )
        ],
        help_text=_lazy("Tasks name it: volumes: {/data: NAME}"),
    )
    gb = forms.IntegerField(label=_lazy("Size in GB"), min_value=1, max_value=1_000_000_000, initial=10)
    days = forms.IntegerField(label=_lazy("Days"), min_value=1, max_value=366, initial=30)
    offer = forms.ChoiceField(label=_lazy("Offer"), required=False)

    def __init__(self, *given: Any, offers: list[ShownOffer]) -> None:
        super().__init__(*given)
        choice: Any = self.fields["offer"]
        choice.choices = [
            ("", _("the cheapest that has room")),
            *((one.offer.public_id, supplier_named(one.offer.supplier.name)) for one in offers),
        ]


VOLUMES: Final = Plan(
    name="volumes",
    title=_lazy("Volumes"),
    columns=(
        Column(
            "name",
            _lazy("Name"),
            lambda row: row.name,
            sort="name",
            href=lambda row: f"/volumes/{row.public_id}/",
        ),
        Column("state", _lazy("State"), lambda row: f"volume_{row.state}", kind="state"),
        Column("gb", "GB", lambda row: row.size_gb, kind="number", sort="size_gb"),
        Column("pool", _lazy("Pool"), lambda row: row.pool.name),
        Column("project", _lazy("Project"), lambda row: row.project.name, hidden=True),
        Column("until", _lazy("Paid until"), lambda row: row.kept_until, kind="time", sort="kept_until"),
        Column("used", _lazy("Used by"), lambda row: ", ".join(_runs_of(row)) or "—"),
        Column("made", _lazy("Made"), lambda row: row.created_at, kind="day", sort="created_at", hidden=True),
    ),
    order="-made",
    empty=Empty(
        _lazy("No volumes yet."),
        _lazy(
            "A volume keeps files from run to run, in one pool: data that is prepared once, checkpoints, caches."
        ),
    ),
)


def _runs_of(volume: Volume) -> list[str]:
    return [use.run.name or use.run.public_id for use in volume.uses.all() if use.run]


@dataclass(frozen=True, slots=True)
class CopyShown:
    """The last copy to a volume, as its page shows it."""

    source: str
    restores: bool
    state: str
    why: Mapping[str, str]
    percent: int
    done: str
    total: str
    took_s: str
    ended_at: datetime | None

    @classmethod
    def of(cls, copy: VolumeCopy) -> "CopyShown":
        return cls(
            source=copy.source.name,
            restores=copy.restores,
            state=copy.state,
            why=FAULTS.get(copy.reason, {}),
            percent=min(99, 100 * copy.bytes_done // copy.bytes_total) if copy.bytes_total else 0,
            done=f"{copy.bytes_done / GIB:.2f}",
            total=f"{copy.bytes_total / GIB:.2f}",
            took_s=f"{copy.took_s:.1f}",
            ended_at=copy.ended_at,
        )


def _copy_of(volume: Volume) -> CopyShown | None:
    return next((CopyShown.of(copy) for copy in volume.copies_to.all()), None)


def _quotas_of(actor: Actor) -> list[dict[str, Any]]:
    """How much may be kept, and is; most organisations have none."""
    if actor.organisation_id is None:
        return []
    rows = quotas_visible_to(actor).filter(organisation_id=actor.organisation_id, volumes=True)
    return [
        {
            "project": one.project.name if one.project else "",
            "kept": kept_gb(organisation_id=one.organisation_id, project_id=one.project_id),
            "most": one.units_max,
        }
        for one in rows[:OFFERS_SHOWN]
    ]


@require_http_methods(["GET", "POST"])
@page("order.read")
def volumes(request: HttpRequest) -> HttpResponse:
    """The volumes there are; a new one is quoted, looked at and ordered as anything else."""
    actor = actor_of(request)
    may_buy = allows(actor, "quote.ask", actor.organisation_id)
    offers = _offers(actor) if may_buy else []
    form = NewVolume(request.POST or None, offers=offers)
    if request.method == "POST" and form.is_valid():
        quoted = _quoted(request, form)
        if quoted is not None:
            return redirect("checkout", quoted)
    context = {
        "form": form,
        "may_buy": may_buy,
        "quotas": _quotas_of(actor),
        "offers": [
            {
                "supplier": supplier_named(one.offer.supplier.name),
                "title": {"zh": one.offer.title_zh, "en": one.offer.title_en},
                "price": next(iter(one.prices), None),
                "free": one.stock.free if one.stock else None,
                "why_not": one.why_not_live,
            }
            for one in offers
        ],
    }
    return list_page(request, "pages/volumes.html", VOLUMES, volumes_kept(actor), context=context)


def _offers(actor: Actor) -> list[ShownOffer]:
    rows = offers_visible_to(actor).filter(shelf=SHELF, state="listed")[:OFFERS_SHOWN]
    return offers_named(actor, [row.id for row in rows], now=timezone.now())


def _quoted(request: HttpRequest, form: NewVolume) -> str | None:
    """The quote's public id, or what was refused in the form."""
    organisation_id, project_id = buyer_of_request(request)
    chosen = form.cleaned_data["offer"]
    try:
        quote = quote_volume(
            actor=actor_of(request),
            organisation_id=organisation_id,
            project_id=project_id,
            name=form.cleaned_data["name"],
            size_gb=form.cleaned_data["gb"],
            days=form.cleaned_data["days"],
            choice="auto",
            now=timezone.now(),
            offer_id=Offer.key_of(chosen) if chosen else None,
        )
    except DomainError as refusal:
        said = said_of(refusal)
        form.add_error(None, f"{said.message} {said.hint}")
        return None
    return quote.public_id


@require_GET
@page("order.read")
def volume(request: HttpRequest, volume_id: str) -> HttpResponse:
    """One volume: how it is seen, until when it is paid, how it is renewed and deleted."""
    actor = actor_of(request)
    row = volume_visible_to(actor, Volume.key_of(volume_id))
    lives = row.state in VOLUME_LIVES
    is_there = lives and row.state != VolumeState.MAKING
    context = {
        "volume": row,
        "state": f"volume_{row.state}",
        "deleted_at": deleted_at(row),
        "grace": GRACE.days,
        "runs": _runs_of(row),
        "example": f"volumes:\n  /data: {row.name}",
        "terms": [{"order": OrderShown.of(term.order), "period": term.period} for term in row.terms.all()],
        "days": DAYS,
        "copy": _copy_of(row),
        "snapshots": [
            {"volume": one, "state": f"volume_{one.state}", "copy": _copy_of(one)}
            for one in volumes_visible_to(actor)
            .filter(snapshot_of=row)
            .exclude(state=VolumeState.DELETED)[:SNAPSHOTS_SHOWN]
        ],
        "may_snap": lives and not row.snapshot_of_id and allows(actor, "quote.ask", row.organisation_id),
        "may_restore": bool(row.snapshot_of_id)
        and is_there
        and allows(actor, "order.place", row.organisation_id),
        "may_renew": is_there and allows(actor, "order.place", row.organisation_id),
        "may_delete": lives and allows(actor, "order.cancel", row.organisation_id),
    }
    return render(request, "pages/volume.html", context)


@require_POST
@page("quote.ask")
def more_time(request: HttpRequest, volume_id: str) -> HttpResponse:
    """Ask what more time costs; the quote is looked at and ordered as any other."""
    now = timezone.now()
    quote: Quote = quote_volume_time(
        actor=actor_of(request),
        volume_id=Volume.key_of(volume_id),
        days=_days_in(request),
        choice="auto",
        now=now,
        until_at_least=now,
    )
    return redirect("checkout", quote.public_id)


@require_POST
@page("quote.ask")
def snapshot(request: HttpRequest, volume_id: str) -> HttpResponse:
    """Ask what a snapshot costs at most; the quote is looked at and ordered as any other."""
    label = request.POST.get("label", "").strip()
    quote = quote_snapshot(
        actor=actor_of(request),
        volume_id=Volume.key_of(volume_id),
        label=label or f"{timezone.now():%Y%m%d-%H%M%S}",
        days=_days_in(request),
        choice="auto",
        now=timezone.now(),
    )
    return redirect("checkout", quote.public_id)


@require_POST
@page("order.place")
def restore(request: HttpRequest, volume_id: str) -> HttpResponse:
    """Put a snapshot into the volume whose name is typed: what that holds is lost, so it is typed."""
    actor = actor_of(request)
    row = volume_visible_to(actor, Volume.key_of(volume_id))
    named = volumes_visible_to(actor).filter(
        project_id=row.project_id, name=request.POST.get("typed", "").strip(), state__in=VOLUME_LIVES
    )
    into = named.first()
    if into is None:
        raise Invalid(
            _("Nothing was restored: the project has no volume of this name."),
            hint=_("Type the name of the volume that is to hold what the snapshot holds."),
            field="typed",
        )
    restore_volume(actor=actor, volume_id=into.id, snapshot_id=row.id, now=timezone.now())
    messages.success(request, _("The volume is being restored; it holds what it held until that is whole."))
    return redirect("volume", into.public_id)


@require_POST
@page("order.place")
def renewal(request: HttpRequest, volume_id: str) -> HttpResponse:
    """Have it renewed by itself, or not."""
    days = _days_in(request)
    set_renewal(actor=actor_of(request), volume_id=Volume.key_of(volume_id), days=days, now=timezone.now())
    messages.success(
        request,
        _("It is renewed by itself from now on, while the budget covers it.")
        if days
        else _("It is no longer renewed by itself."),
    )
    return redirect("volume", volume_id)


@require_POST
@page("order.cancel")
def delete(request: HttpRequest, volume_id: str) -> HttpResponse:
    """Delete it with all that is in it: for good, so its name is typed."""
    actor = actor_of(request)
    row = volume_visible_to(actor, Volume.key_of(volume_id))
    if request.POST.get("typed", "").strip() != row.name:
        raise Invalid(
            _("Nothing was deleted: the name does not match."),
            hint=_("Deleting is for good. Type the volume's name as it stands in its title."),
            field="typed",
        )
    delete_volume(actor=actor, volume_id=row.id, now=timezone.now())
    messages.success(request, _("The volume is deleted; what was left of its time is yours again."))
    return redirect("volumes")


def _days_in(request: HttpRequest) -> int:
    text = request.POST.get("days", "")
    if not text.isascii() or not text.isdecimal() or len(text) > 3:
        raise Invalid(_("That is no number of days."), hint=_("Choose 1 to 366."), field="days")
    return int(text)
