"""Recompute what a restored hub says of itself (`python -m mosu.runtime.prove`): one line of JSON."""

import json
import os
import sys

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
    with connection.cursor() as cursor:
        cursor.execute(_RECOUNT)
        accounts, postings, wrong, unbalanced = cursor.fetchone()
    said = f"{accounts} accounts and {postings} postings recounted: "
    if wrong or unbalanced:
        return {"holds": False, "ledger": f"{said}{wrong} accounts and {unbalanced} entries do not add up"}
    return {"holds": True, "ledger": f"{said}every balance and every hold adds up, every entry balances"}


# From the rows alone, without the ledger's own code.
_RECOUNT = """
with posted as (select account_id, sum(amount_micros) as micros from ledger_posting group by account_id),
held as (
    select account_id, sum(amount_micros - captured_micros - released_micros) as micros
    from ledger_hold group by account_id
)
select
    count(*),
    (select count(*) from ledger_posting),
    count(*) filter (
        where account.balance_micros <> coalesce(posted.micros, 0) or account.held_micros <> coalesce(held.micros, 0)
    ),
    (select count(*) from (select from ledger_posting group by entry_id having sum(amount_micros) <> 0) unbalanced)
from ledger_account account
left join posted on posted.account_id = account.id
left join held on held.account_id = account.id
"""


if __name__ == "__main__":
    main()
