"""Background work of the platform."""

from uuid import UUID

from django.utils import timezone
from procrastinate import RetryStrategy
from procrastinate.contrib.django import app

from mosu.platform import services

# 2, 4, 8, ... seconds: about 17 minutes in all.
_PATIENT = RetryStrategy(max_attempts=10, exponential_wait=2)


@app.task(name="platform.deliver_event", retry=_PATIENT)
def deliver_event(event_id: str) -> None:
    """Hand one event to its subscribers; those that failed are tried again."""
    services.deliver(event_id=UUID(event_id), now=timezone.now())


@app.task(name="platform.deliver_mail", retry=_PATIENT)
def deliver_mail(mail_id: str) -> None:
    """Send one letter."""
    services.send_posted(mail_id=UUID(mail_id), now=timezone.now())


@app.periodic(cron="17 3 * * *")
@app.task(name="platform.purge_keys", queueing_lock="platform.purge_keys")
def purge_keys(timestamp: int) -> None:
    """Forget idempotency keys that nobody will send again."""
    services.purge_keys(now=timezone.now())
