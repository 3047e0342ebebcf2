"""Background work of the platform."""

from uuid import UUID

from django.utils import timezone
from procrastinate.contrib.django import app

from mosu.platform import services


@app.task(name="platform.deliver_event", retry=8)
def deliver_event(event_id: str) -> None:
    """Hand one event to its subscribers."""
    services.deliver(event_id=UUID(event_id), now=timezone.now())
