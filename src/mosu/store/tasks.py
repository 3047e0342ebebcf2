"""Background work of the store."""

from procrastinate.contrib.django import app

from mosu.store import services


@app.periodic(cron="20 * * * *")
@app.task(name="store.sweep_temporary", queueing_lock="store.sweep_temporary")
def sweep_temporary(timestamp: int) -> None:
    """Remove what uploads that died left behind."""
    services.sweep_temporary()
