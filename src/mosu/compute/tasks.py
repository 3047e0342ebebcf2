"""Background work of the compute shelf."""

from django.utils import timezone
from procrastinate.contrib.django import app

from mosu.compute import services


@app.periodic(cron="* * * * * */10")
@app.task(name="compute.expire_leases", queueing_lock="compute.expire_leases")
def expire_leases(timestamp: int) -> None:
    """Take note of attempts that were not heard of, and of those whose time is over."""
    services.expire_leases(now=timezone.now())
