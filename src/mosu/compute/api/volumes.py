"""Operations on volumes; one is bought by accepting its quote, and never taken away by cancelling an order."""

from typing import Annotated, Final

from django.http import HttpRequest
from django.utils import timezone
from ninja import Query, Router, Status

from mosu.compute import services
from mosu.compute.api.runs import buyer_of
from mosu.compute.models import Volume
from mosu.compute.shapes import (
    RestoreIn,
    SnapshotQuoteIn,
    VolumeIn,
    VolumeOut,
    VolumeQuoteIn,
    VolumeTimeIn,
)
from mosu.compute.states import VolumeState
from mosu.compute.volumes import volume_visible_to, volumes_kept, volumes_visible_to
from mosu.market.models import Offer, Order
from mosu.market.shapes import QuoteOut
from mosu.platform.auth import token_auth
from mosu.platform.cursors import Listed, Paging, page_of
from mosu.platform.doors import door
from mosu.platform.requests import actor_of

router: Final = Router(tags=["compute"])


@router.post("/volumes/quotes", response={201: QuoteOut}, auth=token_auth, operation_id="createVolumeQuote")
@door("quote.ask")
def create_volume_quote(request: HttpRequest, body: VolumeQuoteIn) -> Status[QuoteOut]:
    """Ask what room for a volume costs; `POST /orders` with the quote takes it."""
    actor, now = actor_of(request), timezone.now()
    organisation_id, project_id = buyer_of(actor, body.project_id)
    quote = services.quote_volume(
        actor=actor,
        organisation_id=organisation_id,
        project_id=project_id,
        name=body.name,
        size_gb=body.gb,
        days=body.days,
        choice=services.choice_of(body.vouchers),
        now=now,
        offer_id=Offer.key_of(body.offer_id) if body.offer_id else None,
        supplier=body.supplier,
        pool=body.pool,
    )
    return Status(201, QuoteOut.of(quote, now=now))


@router.post(
    "/volumes/{volume_id}/quotes",
    response={201: QuoteOut},
    auth=token_auth,
    operation_id="createVolumeTimeQuote",
)
@door("quote.ask")
def create_volume_time_quote(request: HttpRequest, volume_id: str, body: VolumeTimeIn) -> Status[QuoteOut]:
    """Ask what more time for a volume costs, from the end of what is paid for; `POST /orders` buys it."""
    now = timezone.now()
    quote = services.quote_volume_time(
        actor=actor_of(request),
        volume_id=Volume.key_of(volume_id),
        days=body.days,
        choice=services.choice_of(body.vouchers),
        now=now,
        until_at_least=now,
    )
    return Status(201, QuoteOut.of(quote, now=now))


@router.post(
    "/volumes/{volume_id}/snapshots/quotes",
    response={201: QuoteOut},
    auth=token_auth,
    operation_id="createSnapshotQuote",
)
@door("quote.ask")
def create_snapshot_quote(request: HttpRequest, volume_id: str, body: SnapshotQuoteIn) -> Status[QuoteOut]:
    """Ask what a snapshot costs at most; `POST /orders` has it made. What it takes is measured, and so much charged."""
    now = timezone.now()
    quote = services.quote_snapshot(
        actor=actor_of(request),
        volume_id=Volume.key_of(volume_id),
        label=body.label,
        days=body.days,
        choice=services.choice_of(body.vouchers),
        now=now,
    )
    return Status(201, QuoteOut.of(quote, now=now))


@router.post(
    "/volumes/{volume_id}/restore", response=VolumeOut, auth=token_auth, operation_id="restoreVolume"
)
@door("order.place")
def restore_volume(request: HttpRequest, volume_id: str, body: RestoreIn) -> VolumeOut:
    """Have it hold what a snapshot holds; what it holds now is lost once that is whole. See `last_copy`."""
    services.restore_volume(
        actor=actor_of(request),
        volume_id=Volume.key_of(volume_id),
        snapshot_id=Volume.key_of(body.snapshot_id),
        now=timezone.now(),
    )
    return _volume_out(request, volume_id)


@router.get("/volumes", response=Listed[VolumeOut], auth=token_auth, operation_id="listVolumes")
@door("order.read")
def list_volumes(
    request: HttpRequest,
    paging: Annotated[Paging, Query()],
    state: VolumeState | None = None,
    order_id: str | None = None,
    snapshot_of: str | None = None,
) -> dict[str, object]:
    """Volumes and snapshots that are there, newest first; with a state those that have it, deleted ones too."""
    actor = actor_of(request)
    rows = volumes_visible_to(actor).filter(state=state) if state else volumes_kept(actor)
    rows = rows.filter(terms__order_id=Order.key_of(order_id)) if order_id else rows
    rows = rows.filter(snapshot_of_id=Volume.key_of(snapshot_of)) if snapshot_of else rows
    page, after = page_of(rows, paging.cursor, paging.limit)
    return {"items": [VolumeOut.of(volume) for volume in page], "next": after}


@router.get("/volumes/{volume_id}", response=VolumeOut, auth=token_auth, operation_id="getVolume")
@door("order.read")
def get_volume(request: HttpRequest, volume_id: str) -> VolumeOut:
    return _volume_out(request, volume_id)


@router.patch("/volumes/{volume_id}", response=VolumeOut, auth=token_auth, operation_id="changeVolume")
@door("order.place")
def change_volume(request: HttpRequest, volume_id: str, body: VolumeIn) -> VolumeOut:
    """Have it renewed by itself, or not."""
    services.set_renewal(
        actor=actor_of(request),
        volume_id=Volume.key_of(volume_id),
        days=body.renews_days,
        now=timezone.now(),
    )
    return _volume_out(request, volume_id)


@router.delete("/volumes/{volume_id}", response=VolumeOut, auth=token_auth, operation_id="deleteVolume")
@door("order.cancel")
def delete_volume(request: HttpRequest, volume_id: str) -> VolumeOut:
    """Delete it with all that is in it; the time that it was kept is charged, the rest is given back."""
    services.delete_volume(actor=actor_of(request), volume_id=Volume.key_of(volume_id), now=timezone.now())
    return _volume_out(request, volume_id)


def _volume_out(request: HttpRequest, volume_id: str) -> VolumeOut:
    return VolumeOut.of(volume_visible_to(actor_of(request), Volume.key_of(volume_id)))
