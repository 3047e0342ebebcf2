"""Background work of subsidies."""

from django.utils import timezone
from procrastinate.contrib.django import app

from mosu.subsidies import services


# Every hour, so that money returns soon after the midnight of any zone; what is done is not done twice.
@app.periodic(cron="7 * * * *")
@app.task(name="subsidies.close_ended", queueing_lock="subsidies.close_ended")
def close_ended(timestamp: int) -> None:
    """Return to the pools what expired vouchers and unclaimed refunds leave."""
    now = timezone.now()
    services.lapse_refunds(now=now)
    services.expire_vouchers(now=now)
