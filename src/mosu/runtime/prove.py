"""Recompute what a restored hub says of itself (`python -m mosu.runtime.prove`): one line of JSON."""

import json
import os
import sys
from datetime import UTC, datetime

import django

from mosu.runtime.databases import connected_to
from mosu.runtime.migrating import migrate


def main() -> None:
    """Bring the tables to this code, then recompute the whole ledger from its rows."""
    app_dsn = os.environ["DATABASE_URL"]
    django.setup()
    migrate()
    with connected_to(app_dsn):
        sys.stdout.write(f"{json.dumps(_proof())}\n")


def _proof() -> dict[str, object]:
    # Imported when Django is set up.
    from mosu.ledger.services import verify

    found = verify(now=datetime.now(UTC))
    said = (
        f"{found.accounts} accounts, {found.entries} entries, {found.postings} postings, {found.holds} holds"
    )
    if not found.ok:
        return {"holds": False, "ledger": f"{said} recomputed; wrong: {'; '.join(found.problems[:3])}"}
    return {"holds": True, "ledger": f"{said} recomputed: balances, holds and hash chains agree"}


if __name__ == "__main__":
    main()
