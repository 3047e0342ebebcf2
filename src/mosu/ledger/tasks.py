"""Background work of the ledger."""

from django.utils import timezone
from procrastinate.contrib.django import app

from mosu.ledger import services


@app.periodic(cron="5 * * * *")
@app.task(name="ledger.seal_days", queueing_lock="ledger.seal_days")
def seal_days(timestamp: int) -> None:
    """Seal the hub's days that are over: hourly, since the hub's midnight is at any hour of UTC."""
    services.seal_days(now=timezone.now())


@app.periodic(cron="35 18 * * *")
@app.task(name="ledger.verify", queueing_lock="ledger.verify")
def verify_ledger(timestamp: int) -> None:
    """Recompute the whole ledger every night and raise the alarm when it does not add up."""
    services.verify_and_alarm(now=timezone.now())
