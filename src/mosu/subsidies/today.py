"""What of subsidies waits on whom."""

from datetime import datetime, timedelta
from typing import Any, Final

from django.db.models import Exists, F, OuterRef, Q, QuerySet
from django.utils.translation import get_language

from mosu.platform.actors import Actor
from mosu.platform.policy import allows
from mosu.platform.queries import organisations_where
from mosu.platform.waiting import Turn, Waiting, arm, gathered
from mosu.subsidies.models import Application, Claim, Programme, ProgrammeVersion, Redemption, Voucher
from mosu.subsidies.rules import (
    ApplicationState,
    ClaimState,
    RedemptionState,
    VersionState,
    VoucherState,
)

VOUCHER_LAPSES_WITHIN: Final = timedelta(days=30)
SHORT_VOUCHER: Final = timedelta(days=90)
SHORT_VOUCHER_LAPSES_WITHIN: Final = timedelta(days=7)
"""A trial voucher of 30 days would else be said to lapse on the day on which it was given."""


def waiting_for(actor: Actor, *, now: datetime) -> list[Waiting]:
    """Programmes, vouchers, applications and claims; one query. Nobody confirms their own."""
    return gathered([*_to_release(actor), *_to_decide(actor), *_of_members(actor, now)])


def _to_release(actor: Actor) -> list[QuerySet[Any, Any]]:
    """What one person made and another confirms."""
    if not (allows(actor, "voucher.release") or allows(actor, "voucher.issue")):
        return []
    drafts: Any = ProgrammeVersion.objects.filter(state=VersionState.DRAFT)
    vouchers: Any = Voucher.objects.filter(state=VoucherState.ISSUED)
    claims: Any = Claim.objects.filter(state=ClaimState.APPROVED)
    made = (
        (
            drafts,
            "programme.release",
            "programme_id",
            _title(""),
            F("programme__code"),
            "pool_micros",
            "proposed_at",
        ),
        (
            vouchers,
            "voucher.release",
            "id",
            _title("version__"),
            F("organisation__name"),
            "amount_micros",
            "issued_at",
        ),
        (claims, "claim.disburse", "id", None, F("organisation__name"), "amount_micros", "decided_at"),
    )
    found = []
    for rows, kind, subject, title, who, amount, since in made:
        columns: Any = {
            "subject": F(subject),
            "title": title,
            "who": who,
            "amount": F(amount),
            "since": F(since),
        }
        waits = rows
        if allows(actor, "voucher.release"):
            found.append(arm(rows.exclude(maker=actor.id), kind=kind, turn=Turn.YOURS, **columns))
            waits = rows.filter(maker=actor.id)
        found.append(arm(waits, kind=f"{kind}_awaited", turn=Turn.OTHERS, **columns))
    return found


def _to_decide(actor: Actor) -> list[QuerySet[Any, Any]]:
    if not allows(actor, "voucher.issue"):
        return []
    applications = Application.objects.filter(state=ApplicationState.SUBMITTED)
    claims = Claim.objects.filter(state=ClaimState.SUBMITTED)
    programmes = arm(Programme.objects.all(), kind="hub.programme", turn=Turn.DONE, subject=F("id"))
    return [
        programmes[:1],
        _application(applications, "application.decide", Turn.YOURS),
        _claim(claims, "claim.decide", Turn.YOURS),
    ]


def _of_members(actor: Actor, now: datetime) -> list[QuerySet[Any, Any]]:
    own = actor.organisation_ids
    if not own:
        return []
    lapsing = Voucher.objects.filter(
        Q(expires_at__lte=now + SHORT_VOUCHER_LAPSES_WITHIN)
        | Q(expires_at__gt=F("valid_from") + SHORT_VOUCHER),
        organisation__in=own,
        state=VoucherState.RELEASED,
        expires_at__gt=now,
        expires_at__lte=now + VOUCHER_LAPSES_WITHIN,
    )
    due = Redemption.objects.filter(
        ~Exists(Claim.objects.filter(order_id=OuterRef("order_id"))),
        voucher__organisation__in=organisations_where(actor, "voucher.apply") & own,
        state=RedemptionState.DUE,
        claim_by__gt=now,
    )
    return [
        arm(
            lapsing,
            kind="voucher.use",
            turn=Turn.YOURS,
            subject=F("id"),
            title=_title("version__"),
            who=F("organisation__name"),
            amount=F("amount_micros"),
            since=F("released_at"),
            due=F("expires_at"),
            order="expires_at",
        ),
        arm(
            due,
            kind="claim.submit",
            turn=Turn.YOURS,
            subject=F("order_id"),
            title=_title("voucher__version__"),
            who=F("voucher__organisation__name"),
            amount=F("amount_micros"),
            since=F("settled_at"),
            due=F("claim_by"),
            order="claim_by",
        ),
        _application(
            Application.objects.filter(organisation__in=own, state=ApplicationState.SUBMITTED),
            "application.awaited",
            Turn.OTHERS,
        ),
        _claim(
            Claim.objects.filter(organisation__in=own, state__in=[ClaimState.SUBMITTED, ClaimState.APPROVED]),
            "claim.awaited",
            Turn.OTHERS,
        ),
    ]


def _application(rows: QuerySet[Application], kind: str, turn: Turn) -> QuerySet[Any, Any]:
    return arm(
        rows,
        kind=kind,
        turn=turn,
        subject=F("id"),
        title=_title("version__"),
        who=F("organisation__name"),
        amount=F("amount_micros"),
        since=F("submitted_at"),
    )


def _claim(rows: QuerySet[Claim], kind: str, turn: Turn) -> QuerySet[Any, Any]:
    return arm(
        rows,
        kind=kind,
        turn=turn,
        subject=F("id"),
        who=F("organisation__name"),
        amount=F("amount_micros"),
        since=F("submitted_at"),
    )


def _title(path: str) -> F:
    """A programme's title in the language of whoever looks."""
    return F(f"{path}title_zh" if (get_language() or "").startswith("zh") else f"{path}title_en")
