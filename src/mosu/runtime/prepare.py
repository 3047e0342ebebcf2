"""Run once before the hub serves (`python -m mosu.runtime.prepare`): migrations, the local pool, its environment.

Migrations run as the role that owns the tables, all else as the one that owns none.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import django

from mosu.runtime.agent_config import token_file, write_environment, write_token
from mosu.runtime.databases import connected_to
from mosu.runtime.migrating import migrate
from mosu.sandbox.environments import build_python_environment


def main() -> None:
    """Everything that the database needs before the first request. Safe to repeat."""
    app_dsn, data_dir = os.environ["DATABASE_URL"], Path(os.environ["MOSU_DATA_DIR"])
    with ThreadPoolExecutor(1) as aside:
        # Copying an interpreter waits for the disk, migrating for the database.
        building = aside.submit(build_python_environment, data_dir / "environments")
        django.setup()
        migrate(verbosity=1)
        with connected_to(app_dsn):
            _prepare_local_pool(data_dir)
        write_environment(data_dir, building.result().root)


def _prepare_local_pool(data_dir: Path) -> None:
    """This machine's own pool; its agent gets a new token where none was kept, as after a crash before this."""
    from mosu.compute.services import ensure_local_pool, ensure_local_volumes

    now = datetime.now(UTC)
    pool_id, token = ensure_local_pool(now=now, rotate=not token_file(data_dir).exists())
    ensure_local_volumes(pool_id=pool_id, now=now)
    if token is not None:
        write_token(data_dir, token)


if __name__ == "__main__":
    main()
