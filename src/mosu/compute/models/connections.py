"""Who was joined to a port of a session."""

from django.db import models
from django.db.models import F, Q

from mosu.compute.models.runs import Attempt, Run
from mosu.platform.models import User
from mosu.platform.rows import Row

PORT_MAX = 65_535
_OPEN = Q(closed_at=None)


class Guest(Row):
    """A person with whom a session is shared: beside who ordered it, they may be joined to it."""

    prefix = "guest"

    run = models.ForeignKey(Run, on_delete=models.PROTECT, related_name="guests")
    member = models.ForeignKey("platform.Membership", on_delete=models.CASCADE, related_name="+")
    """Who leaves the organisation is let in no more, also when they come back."""
    let_in_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["run", "member"], name="guest_once")]

    @property
    def user(self) -> User:
        """Of the membership, which queries fetch along."""
        return self.member.user


class Connection(Row):
    """A person at a port of a run: when, and how many bytes passed, never which. Closed it no longer changes."""

    prefix = "connection"

    run = models.ForeignKey(Run, on_delete=models.PROTECT, related_name="+", db_index=False)
    attempt = models.ForeignKey(Attempt, on_delete=models.PROTECT, related_name="+", db_index=False)
    organisation = models.ForeignKey(
        "platform.Organisation", on_delete=models.PROTECT, related_name="+", db_index=False
    )
    """The run's."""
    user = models.ForeignKey("platform.User", on_delete=models.PROTECT, related_name="+", db_index=False)
    token = models.ForeignKey(
        "platform.ApiToken", on_delete=models.PROTECT, related_name="+", null=True, db_index=False
    )
    """With which they came; the connection ends with it. None: they were signed in on a page."""
    ticket = models.ForeignKey(
        "Ticket", on_delete=models.PROTECT, related_name="+", null=True, db_index=False
    )
    """By which a browser came; the connection ends with its cookie and with the sign-in that made it."""
    port = models.PositiveIntegerField()
    opened_at = models.DateTimeField()
    seen_at = models.DateTimeField()
    """When the relay last spoke of it."""
    used_at = models.DateTimeField(null=True)
    """When the relay last said that bytes had passed, either way; None: none did."""
    bytes_in = models.PositiveBigIntegerField(default=0)
    """From the person to the run."""
    bytes_out = models.PositiveBigIntegerField(default=0)
    closed_at = models.DateTimeField(null=True)
    why = models.CharField(max_length=500, blank=True)
    """Why it was closed."""

    class Meta:
        indexes = [
            models.Index(fields=["run", "-opened_at", "-id"], name="connection_of_run"),
            models.Index(fields=["organisation", "run"], condition=_OPEN, name="connection_open"),
        ]
        constraints = [
            models.CheckConstraint(
                condition=Q(port__gte=1, port__lte=PORT_MAX), name="connection_port_known"
            ),
            models.CheckConstraint(
                condition=Q(seen_at__gte=F("opened_at"))
                & (Q(closed_at=None) | Q(closed_at__gte=F("opened_at"))),
                name="connection_closed_after_opened",
            ),
            models.CheckConstraint(
                condition=Q(closed_at=None, why="") | (Q(closed_at__isnull=False) & ~Q(why="")),
                name="connection_says_why",
            ),
        ]
