"""Background work of the compute shelf."""

from uuid import UUID

from django.utils import timezone
from procrastinate.contrib.django import app

from mosu.compute import services


@app.periodic(cron="* * * * * */10")
@app.task(name="compute.expire_leases", queueing_lock="compute.expire_leases")
def expire_leases(timestamp: int) -> None:
    """Take note of attempts that were not heard of, and of those whose time is over."""
    services.expire_leases(now=timezone.now())


@app.periodic(cron="* * * * * */10")
@app.task(name="compute.place_interrupted", queueing_lock="compute.place_interrupted")
def place_interrupted(timestamp: int) -> None:
    """Place what was interrupted and has no place."""
    services.place_interrupted(now=timezone.now())


@app.periodic(cron="* * * * * */10")
@app.task(name="compute.turn_blocks", queueing_lock="compute.turn_blocks")
def turn_blocks(timestamp: int) -> None:
    """Begin and end reserved blocks on time, and note what of them is not delivered."""
    services.turn_blocks(now=timezone.now())


@app.periodic(cron="* * * * * */5")
@app.task(name="compute.keep_endpoints", queueing_lock="compute.keep_endpoints")
def keep_endpoints(timestamp: int) -> None:
    """Order, drain and stop replicas, so that each endpoint has what it should."""
    services.keep_endpoints(now=timezone.now())


@app.task(name="compute.keep_endpoint")
def keep_endpoint(endpoint_id: str) -> None:
    """The same for one endpoint, at once: somebody waits there, or one of its replicas ended."""
    services.keep_endpoint(endpoint_id=UUID(endpoint_id), now=timezone.now())


@app.periodic(cron="* * * * *")
@app.task(name="compute.watch_idle", queueing_lock="compute.watch_idle")
def watch_idle(timestamp: int) -> None:
    """Tell people of runs that do nothing, warn them, and stop what is to be stopped."""
    services.watch_idle(now=timezone.now())


@app.periodic(cron="* * * * *")
@app.task(name="compute.turn_volumes", queueing_lock="compute.turn_volumes")
def turn_volumes(timestamp: int) -> None:
    """Begin and charge the terms of volumes on time."""
    services.turn_volumes(now=timezone.now())


@app.periodic(cron="11 * * * *")
@app.task(name="compute.end_volumes", queueing_lock="compute.end_volumes")
def end_volumes(timestamp: int) -> None:
    """Renew volumes, tell people of their ends, and end those that nobody pays for."""
    services.end_volumes(now=timezone.now())


@app.periodic(cron="* * * * *")
@app.task(name="compute.watch_ends", queueing_lock="compute.watch_ends")
def watch_ends(timestamp: int) -> None:
    """Tell people of sessions whose wall limit is near."""
    services.watch_ends(now=timezone.now())


@app.periodic(cron="7 * * * *")
@app.task(name="compute.count_deliveries", queueing_lock="compute.count_deliveries")
def count_deliveries(timestamp: int) -> None:
    """Count what each pool delivered of what was ordered of it, for the labels of its offers."""
    services.count_deliveries(now=timezone.now())


@app.periodic(cron="23 * * * *")
@app.task(name="compute.forget_requests", queueing_lock="compute.forget_requests")
def forget_requests(timestamp: int) -> None:
    """Let go of what was asked at endpoints long ago."""
    services.forget_requests(now=timezone.now())
