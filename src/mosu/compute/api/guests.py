"""With whom a session is shared."""

from typing import Annotated, Final

from django.http import HttpRequest
from django.utils import timezone
from ninja import Query, Router, Status

from mosu.compute import services
from mosu.compute.guests import guests_of
from mosu.compute.models import Guest, Run
from mosu.compute.shapes import GuestIn, GuestOut
from mosu.platform.auth import token_auth
from mosu.platform.cursors import Listed, Paging, page_of
from mosu.platform.doors import door
from mosu.platform.requests import actor_of

router: Final = Router(tags=["compute"])


@router.get("/runs/{run_id}/guests", response=Listed[GuestOut], auth=token_auth, operation_id="listRunGuests")
@door("run.read")
def list_run_guests(
    request: HttpRequest, run_id: str, paging: Annotated[Paging, Query()]
) -> Listed[GuestOut]:
    """Who may be joined to the session beside who ordered it."""
    rows, after = page_of(guests_of(actor_of(request), Run.key_of(run_id)), paging.cursor, paging.limit)
    return Listed(items=[GuestOut.of(row) for row in rows], next=after)


@router.post(
    "/runs/{run_id}/guests", response={201: GuestOut}, auth=token_auth, operation_id="createRunGuest"
)
@door("run.share")
def create_run_guest(request: HttpRequest, run_id: str, body: GuestIn) -> Status[GuestOut]:
    """Share the session with a member of the organisation, who may then be joined to it as its orderer is."""
    guest = services.share_run(
        actor=actor_of(request), run_id=Run.key_of(run_id), email=body.email, now=timezone.now()
    )
    return Status(201, GuestOut.of(guest))


@router.delete(
    "/runs/{run_id}/guests/{guest_id}",
    response={204: None},
    auth=token_auth,
    operation_id="deleteRunGuest",
)
@door("run.share")
def delete_run_guest(request: HttpRequest, run_id: str, guest_id: str) -> Status[None]:
    """Share it with them no more: who is joined is cut within half a minute."""
    services.end_sharing(
        actor=actor_of(request),
        run_id=Run.key_of(run_id),
        guest_id=Guest.key_of(guest_id),
        now=timezone.now(),
    )
    return Status(204, None)
