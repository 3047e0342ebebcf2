"""The ledger, for the hub's people: any entry found, with its postings, what it is about, and the seals of days."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy
from django.utils.translation import pgettext_lazy
from django.views.decorators.http import require_GET

from mosu.kernel.ids import typeid
from mosu.kernel.money import micros_of
from mosu.kernel.refusals import Invalid
from mosu.ledger.models import Account, JournalEntry
from mosu.ledger.queries import (
    ORGANISATION_KINDS,
    accounts_visible_to,
    balance_in,
    day_heads,
    statement,
)
from mosu.ledger.rules import HUB_ID
from mosu.ledger.search import (
    about,
    accounts_named,
    audit_of_subject,
    entries_visible_to,
    entry_visible_to,
    kinds_of_entries,
    last_alarm,
    of_account,
    of_amount,
)
from mosu.platform.actors import Actor
from mosu.platform.background import last_success_of
from mosu.platform.models import Organisation
from mosu.platform.queries import organisations_visible_to
from mosu.platform.requests import actor_of
from mosu.platform.rows import row_of
from mosu.web.days import dated
from mosu.web.pages import page
from mosu.web.tables import Column, Empty, Filter, Plan, list_page
from mosu.web.views.desk.frame import desk, framed
from mosu.web.words import account_kind_name, entry_kind_name, entry_kind_name_lazy

NIGHTLY: Final = "ledger.verify"

# Kinds of entries by what they are about: the prefix of its public id, and the address of its page.
_SUBJECTS: Final = {
    "deposit": ("deposit", "desk_deposit"),
    "pool.filled": ("programme", "desk_programme"),
    "voucher.released": ("voucher", "desk_voucher"),
    "voucher.returned": ("voucher", "desk_voucher"),
    "voucher.captured": ("order", "order"),
    "cap.opened": ("yearcap", ""),
    "cap.used": ("order", "order"),
    "order.charge": ("order", "order"),
    "order.fee": ("order", "order"),
}


def subject_of(entry: JournalEntry) -> tuple[str, str]:
    """The public id of what the entry is about, and the address of its page, where it has one."""
    # A reversal is about what the reversed entry was about.
    kind = entry.reverses.kind if entry.reverses else entry.kind
    prefix, url = _SUBJECTS.get(kind, ("", ""))
    if not prefix:
        return str(entry.subject_id), ""
    public_id = typeid(prefix, entry.subject_id)
    return public_id, reverse(url, args=[public_id]) if url else ""


def _of_amount(rows: Any, text: str) -> Any:
    try:
        return of_amount(rows, abs(micros_of(text.replace(",", "").replace("¥", "").strip())))
    except Invalid:
        return rows.none()


def plan_of_entries() -> Plan:
    """The list of entries; its kinds are those that the database lets in."""
    return Plan(
        name="entries",
        title=_lazy("Entries"),
        columns=(
            Column("at", _lazy("Posted"), lambda row: row["entry"].posted_at, kind="time", sort="id"),
            Column(
                "entry",
                _lazy("Entry"),
                lambda row: f"…{row['entry'].public_id[-8:]}",
                kind="mono",
                href=lambda row: reverse("ledger_entry", args=[row["entry"].public_id]),
                csv=lambda row: row["entry"].public_id,
            ),
            Column("kind", _lazy("Kind"), lambda row: entry_kind_name(row["entry"].kind)),
            Column("from", pgettext_lazy("entry", "From"), lambda row: row["from"]),
            Column("to", pgettext_lazy("entry", "To"), lambda row: row["to"]),
            Column("amount", _lazy("Amount"), lambda row: row["amount"], kind="money"),
            Column(
                "about",
                _lazy("About"),
                lambda row: row["about"][:14] + "…" + row["about"][-6:] if row["about"] else "",
                kind="mono",
                href=lambda row: row["href"],
                csv=lambda row: row["about"],
            ),
            Column("key", _lazy("Key"), lambda row: row["entry"].key, kind="mono", hidden=True),
            Column("memo", _lazy("Memo"), lambda row: row["entry"].memo, hidden=True),
        ),
        order="-at",
        filters=(
            Filter("about", _lazy("Id of entry or subject"), about),
            Filter("account", _lazy("Account"), of_account),
            Filter(
                "kind",
                _lazy("Kind"),
                lambda rows, kind: rows.filter(kind=kind),
                [(one, entry_kind_name_lazy(one)) for one in kinds_of_entries()],
            ),
            Filter("amount", _lazy("Amount"), _of_amount),
            Filter(
                "from",
                _lazy("From the day"),
                dated(lambda rows, at: rows.filter(posted_at__gte=at)),
                kind="date",
            ),
            Filter(
                "to",
                _lazy("To the day"),
                dated(lambda rows, at: rows.filter(posted_at__lt=at), days=1),
                kind="date",
            ),
        ),
        empty=Empty(
            _lazy("No entries yet."),
            _lazy("The first deposit, or the first pool of a programme, is the first entry."),
            "/desk/deposits/new/",
            _lazy("Enter a deposit"),
        ),
    )


def owners_of(actor: Actor, accounts: Sequence[Account]) -> dict[UUID, str]:
    """The name of each account's owner, where it is an organisation or the hub: one query."""
    ids = {one.owner_id for one in accounts if one.kind in ORGANISATION_KINDS}
    names = dict(organisations_visible_to(actor).filter(id__in=ids).values_list("id", "name"))
    return {
        one.id: _("the hub") if one.owner_id == HUB_ID else names.get(one.owner_id, "") for one in accounts
    }


def account_names(actor: Actor, ids: Sequence[UUID]) -> dict[UUID, str]:
    """Each account in words: `Balance · ACME`; two queries."""
    accounts = list(accounts_named(ids).values())
    owners = owners_of(actor, accounts)
    return {
        one.id: " · ".join(part for part in (account_kind_name(one.kind), owners[one.id]) if part)
        for one in accounts
    }


@require_GET
@page("desk.read")
def search(request: HttpRequest) -> HttpResponse:
    """Entries by account, subject, kind, amount, day."""
    actor = actor_of(request)

    def prepared(rows: list[JournalEntry]) -> list[dict[str, Any]]:
        ends = {UUID(end) for row in rows for move in row.moves for end in move[:2]}
        names = account_names(actor, list(ends))
        return [_line(row, names) for row in rows]

    context = {
        **framed("ledger"),
        "title": _("Ledger"),
        "more": (reverse("ledger_days"), _("Seals of days")),
        **_health(),
    }
    rows = entries_visible_to(actor).select_related("reverses")
    return list_page(
        request, "pages/ledger/search.html", plan_of_entries(), rows, prepare=prepared, context=context
    )


def _line(row: JournalEntry, names: dict[UUID, str]) -> dict[str, Any]:
    sources = {names.get(UUID(move[0]), "") for move in row.moves}
    destinations = {names.get(UUID(move[1]), "") for move in row.moves}
    public_id, href = subject_of(row)
    return {
        "entry": row,
        "from": ", ".join(sorted(sources)),
        "to": ", ".join(sorted(destinations)),
        "amount": sum(move[2] for move in row.moves),
        "about": public_id,
        "href": href,
    }


def _health() -> dict[str, Any]:
    """When the books were last recomputed, and what was found the last time that something was."""
    checked_at, alarm = last_success_of(NIGHTLY), last_alarm()
    return {
        "checked_at": checked_at,
        "alarm": alarm,
        # The task succeeds also when it raises the alarm; one that ended later without an alarm clears it.
        "is_broken": alarm is not None
        and (checked_at is None or alarm.at >= checked_at - timedelta(hours=1)),
    }


@require_GET
@page("desk.read")
def entry(request: HttpRequest, entry_id: str) -> HttpResponse:
    """One entry: its moves, its postings in their chains, what it is about."""
    actor = actor_of(request)
    row = entry_visible_to(actor, entry_id)
    postings = sorted(row.postings.all(), key=lambda one: (one.amount_micros > 0, one.account_id))
    owners = owners_of(actor, [one.account for one in postings])
    names = account_names(actor, [UUID(end) for move in row.moves for end in move[:2]])
    public_id, href = subject_of(row)
    others = entries_visible_to(actor).filter(subject_id=row.subject_id).exclude(id=row.id)[:20]
    context: dict[str, Any] = {
        "row": row,
        "kind": entry_kind_name(row.kind),
        "about": public_id,
        "href": href,
        "moves": [(names[UUID(source)], names[UUID(to)], amount) for source, to, amount in row.moves],
        "postings": [
            {
                "row": one,
                "account": account_kind_name(one.account.kind),
                "owner": owners[one.account_id],
                "account_href": reverse("ledger_account", args=[one.account.public_id]),
            }
            for one in postings
        ],
        "audit": audit_of_subject(actor, row.subject_id),
        "others": [(entry_kind_name(one.kind), one) for one in others],
    }
    return desk(request, "pages/ledger/entry.html", "ledger", **context)


STATEMENT: Final = Plan(
    name="statement",
    title=_lazy("Statement"),
    columns=(
        Column("number", _lazy("No."), lambda row: row.sequence, kind="number", sort="sequence"),
        Column("at", _lazy("Posted"), lambda row: row.entry.posted_at, kind="time"),
        Column(
            "entry",
            _lazy("Entry"),
            lambda row: entry_kind_name(row.entry.kind),
            href=lambda row: reverse("ledger_entry", args=[row.entry.public_id]),
        ),
        Column("amount", _lazy("Amount"), lambda row: row.amount_micros, kind="money"),
        Column("after", _lazy("Balance after"), lambda row: row.balance_after_micros, kind="money"),
        Column("hash", _lazy("Hash"), lambda row: row.hash[:16], kind="mono", csv=lambda row: row.hash),
    ),
    order="-number",
    key="sequence",
    empty=Empty(_lazy("Nothing was posted on this account yet.")),
)


@require_GET
@page("desk.read")
def account(request: HttpRequest, account_id: str) -> HttpResponse:
    """One account: what stands on it, and every posting in its chain."""
    actor = actor_of(request)
    row = row_of(accounts_visible_to(actor), account_id)
    owner = owners_of(actor, [row])[row.id]
    is_organisation = row.kind in ORGANISATION_KINDS and row.owner_id != HUB_ID
    context = {
        **framed("ledger"),
        "row": row,
        "money": balance_in(row),
        "kind": account_kind_name(row.kind),
        "owner": owner,
        "owner_href": reverse("desk_organisation", args=[typeid(Organisation.prefix, row.owner_id)])
        if is_organisation and owner
        else "",
    }
    return list_page(
        request, "pages/ledger/account.html", STATEMENT, statement(actor, row.id), context=context
    )


DAYS: Final = Plan(
    name="days",
    title=_lazy("Seals of days"),
    columns=(
        Column("date", _lazy("Day"), lambda row: row.date.isoformat(), sort="date"),
        Column("accounts", _lazy("Accounts"), lambda row: row.accounts, kind="number"),
        Column("sha256", _lazy("Hash over all accounts' heads"), lambda row: row.sha256, kind="mono"),
        Column("sealed", _lazy("Sealed"), lambda row: row.sealed_at, kind="time"),
    ),
    order="-date",
    key="date",
    empty=Empty(
        _lazy("No day is sealed yet."),
        _lazy("A day is sealed within an hour after its end; no entry can be posted into it then."),
    ),
)


@require_GET
@page("desk.read")
def days(request: HttpRequest) -> HttpResponse:
    """The seals of days, which anybody may read by the API."""
    context = {
        **framed("ledger"),
        "title": DAYS.title,
        "more": (reverse("ledger"), _("Back to the ledger")),
        **_health(),
    }
    return list_page(request, "pages/ledger/search.html", DAYS, day_heads(), context=context)
