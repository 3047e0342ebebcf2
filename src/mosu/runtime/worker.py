"""The hub's background worker (`python -m mosu.runtime.worker`).

Procrastinate's own worker, plus what it leaves to its host: jobs of a worker that was killed are run again.
Tasks are safe to repeat.
"""

import asyncio
from typing import Final

import django
from procrastinate import App

from mosu.kernel.memory import nothing_collected

CONCURRENCY: Final = 2
HEARTBEAT_S: Final = 2.0
SILENT_S_MAX: Final = 10.0
"""A worker silent for this long is dead, and its jobs are someone else's."""
SHUTDOWN_S_MAX: Final = 8.0


def main() -> None:
    """Run tasks until SIGTERM, then finish those that run."""
    with nothing_collected():
        django.setup()
    # Django's application of procrastinate exists once Django is set up.
    from procrastinate.contrib.django import app, django_connector

    connector = app.connector
    if not isinstance(connector, django_connector.DjangoConnector):
        raise TypeError(f"procrastinate is connected by {type(connector).__name__}, not by Django")
    with app.replace_connector(connector.get_worker_connector()) as worker_app:
        asyncio.run(_work(worker_app))


async def _work(app: App) -> None:
    """Until told to stop, or until either half fails: then this process ends and its supervisor starts another."""
    async with app.open_async():
        worker = asyncio.create_task(
            app.run_worker_async(
                concurrency=CONCURRENCY,
                update_heartbeat_interval=HEARTBEAT_S,
                stalled_worker_timeout=SILENT_S_MAX,
                shutdown_graceful_timeout=SHUTDOWN_S_MAX,
            )
        )
        sweeper = asyncio.create_task(_sweep(app))
        done, _ = await asyncio.wait({worker, sweeper}, return_when=asyncio.FIRST_COMPLETED)
        if worker not in done:
            worker.cancel()
            await asyncio.wait({worker}, timeout=SHUTDOWN_S_MAX)
        sweeper.cancel()
        for task in done:
            task.result()


async def _sweep(app: App) -> None:
    """Hand the jobs of dead workers out again, for as long as this one lives."""
    while True:
        for job in await app.job_manager.get_stalled_jobs(seconds_since_heartbeat=SILENT_S_MAX):
            await app.job_manager.retry_job(job)
        await asyncio.sleep(HEARTBEAT_S)


if __name__ == "__main__":
    main()
