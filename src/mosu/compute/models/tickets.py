"""What lets a browser in to a port of a session, or to an endpoint."""

from django.db import models
from django.db.models import F, Q

from mosu.compute.models.connections import PORT_MAX
from mosu.compute.models.endpoints import Endpoint
from mosu.compute.models.runs import Run
from mosu.platform.rows import Row

_REDEEMED = Q(redeemed_at__isnull=False)


class Ticket(Row):
    """Lets one person's browser in to one port of one session, or to one endpoint: redeemed once, soon, for a cookie
    of that host alone.

    Neither the ticket's text nor the cookie's is kept, only their sha256. It is worth what the sign-in or the token is
    with which it was made, and ends with that. Redeemed it no longer changes.
    """

    prefix = "ticket"

    run = models.ForeignKey(Run, on_delete=models.PROTECT, related_name="+", null=True, db_index=False)
    endpoint = models.ForeignKey(
        Endpoint, on_delete=models.PROTECT, related_name="+", null=True, db_index=False
    )
    user = models.ForeignKey("platform.User", on_delete=models.PROTECT, related_name="+", db_index=False)
    token = models.ForeignKey(
        "platform.ApiToken", on_delete=models.PROTECT, related_name="+", null=True, db_index=False
    )
    sign_in = models.CharField(max_length=40, blank=True)
    """The key of the session with which it was made on a page."""
    port = models.PositiveIntegerField(null=True)
    """Of the session's; an endpoint has one address."""
    secret_sha256 = models.CharField(max_length=64, unique=True)
    made_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    redeemed_at = models.DateTimeField(null=True)
    cookie_sha256 = models.CharField(max_length=64, null=True, unique=True)
    cookie_expires_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(port__gte=1, port__lte=PORT_MAX), name="ticket_port_known"),
            models.CheckConstraint(
                condition=Q(run__isnull=False, port__isnull=False, endpoint__isnull=True)
                | Q(run__isnull=True, port__isnull=True, endpoint__isnull=False),
                name="ticket_is_for_one_host",
            ),
            models.CheckConstraint(
                condition=Q(token__isnull=True) & ~Q(sign_in="") | Q(token__isnull=False, sign_in=""),
                name="ticket_has_one_origin",
            ),
            models.CheckConstraint(
                condition=Q(redeemed_at=None, cookie_sha256=None, cookie_expires_at=None)
                | _REDEEMED & Q(cookie_sha256__isnull=False, cookie_expires_at__isnull=False),
                name="ticket_redeemed_for_a_cookie",
            ),
            models.CheckConstraint(
                condition=Q(redeemed_at=None) | Q(redeemed_at__lt=F("expires_at")),
                name="ticket_redeemed_in_time",
            ),
        ]
