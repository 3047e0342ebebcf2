"""Opening a port of a session in the browser of who asks."""

from typing import Final

from django.http import HttpRequest
from django.utils import timezone
from ninja import Router, Status

from mosu.compute import services
from mosu.compute.models import Run
from mosu.compute.shapes import TicketIn, TicketOut
from mosu.platform.auth import token_auth
from mosu.platform.doors import door
from mosu.platform.requests import actor_of

router: Final = Router(tags=["compute"])


@router.post(
    "/runs/{run_id}/tickets", response={201: TicketOut}, auth=token_auth, operation_id="createRunTicket"
)
@door("run.connect")
def create_run_ticket(request: HttpRequest, run_id: str, body: TicketIn) -> Status[TicketOut]:
    """A link that opens a port of the session in the browser that follows it first, within a minute. What it opens
    ends with the session, with the token that asked, and after 12 hours."""
    made = services.make_ticket(
        actor=actor_of(request), run_id=Run.key_of(run_id), port=body.port, sign_in="", now=timezone.now()
    )
    return Status(201, TicketOut.of(made))
