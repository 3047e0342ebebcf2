"""Recompute what a restored hub says of itself (`python -m mosu.runtime.prove`): one line of JSON."""

import json
import os
import sys
from datetime import UTC, datetime
from importlib import import_module

import django
from django.core.management import call_command
from django.db import connection

from mosu.runtime.databases import connected_to


def main() -> None:
    """Bring the tables to this code, then recompute every balance from its postings."""
    app_dsn = os.environ["DATABASE_URL"]
    django.setup()
    call_command("migrate", verbosity=0, interactive=False)
    with connected_to(app_dsn):
        sys.stdout.write(f"{json.dumps(_proof())}\n")


def _proof() -> dict[str, object]:
    services = import_module("mosu.ledger.services")
    report = services.verify(now=datetime.now(UTC))
    holds = bool(getattr(report, "ok", not report))
    with connection.cursor() as cursor:
        cursor.execute("select count(*) from ledger_account")
        accounts = cursor.fetchone()[0]
    said = f"{accounts} accounts recomputed, all balances equal their postings" if holds else str(report)
    return {"holds": holds, "ledger": said}


if __name__ == "__main__":
    main()
