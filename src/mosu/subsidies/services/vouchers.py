"""Vouchers: applied for, issued by one person, released by another, expired by the clock."""

from collections.abc import Collection, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Q
from django.db.models.functions import Lower

from mosu.kernel.digests import sha256_of
from mosu.kernel.ids import uuid7
from mosu.kernel.money import MICROS, MINOR_DIGITS, decimal_of
from mosu.kernel.refusals import DomainError, Invalid, NotFound
from mosu.ledger.queries import balance_of
from mosu.ledger.services import (
    InsufficientFunds,
    Move,
    lock_accounts,
    open_account,
    post_entry,
)
from mosu.platform.actors import SYSTEM, Actor
from mosu.platform.models import Organisation
from mosu.platform.policy import person_of, require
from mosu.platform.services import claim_key, two_persons
from mosu.store.documents import attach
from mosu.subsidies import queries
from mosu.subsidies.models import Application, ProgrammeVersion, Voucher
from mosu.subsidies.rules import (
    ApplicationState,
    BatchRefused,
    Grant,
    Problem,
    Terms,
    VoucherState,
    matched,
    parse_grants,
    results_of,
)
from mosu.subsidies.services.programmes import pool_account
from mosu.subsidies.services.states import move, record_birth


class Ineligible(DomainError):
    """The organisation does not meet the programme's conditions; the message names each that fails."""

    code = "ineligible"


class ProgrammeClosed(DomainError):
    """The programme has no released version, or its time is over."""

    code = "programme_closed"


@transaction.atomic(durable=True)
def issue_voucher(
    *,
    actor: Actor,
    organisation_id: UUID,
    programme_id: UUID,
    amount_micros: int,
    now: datetime,
    idempotency_key: str = "",
) -> Voucher:
    """A voucher that another person must release; until then no money moves.

    Repeating it with the same key returns the first; without a key it is another.

    Raises:
        KeyReused: the key was used for another voucher.
        Ineligible: the organisation fails clauses of the programme.
        ProgrammeClosed: nothing is released, or the programme's time is over.
        Invalid: the amount is not positive, or not in whole minor units.
        NotFound: no such organisation or programme.
    """
    require(actor, "voucher.issue")
    voucher_id = uuid7()
    if idempotency_key:
        earlier = claim_key(
            scope=f"voucher.issue:{actor.id}",
            key=idempotency_key,
            digest=sha256_of([str(programme_id), str(organisation_id), amount_micros]),
            result_id=voucher_id,
        )
        if earlier is not None:
            return Voucher.objects.get(id=earlier)
    return _issue(
        version=_version_in_force(programme_id),
        organisation_id=organisation_id,
        amount_micros=amount_micros,
        actor=actor,
        now=now,
        voucher_id=voucher_id,
    )


@transaction.atomic(durable=True)
def issue_vouchers(
    *, actor: Actor, programme_id: UUID, text: str, now: datetime, source: str = "vouchers.csv"
) -> list[Voucher]:
    """A voucher for each line of a list (`organisation,amount`), all or none; each waits for its release.

    Raises:
        BatchRefused: lines break rules or organisations fail clauses; every problem is named, nothing changed.
        ProgrammeClosed: nothing is released, or the programme's time is over.
    """
    require(actor, "voucher.issue")
    version = _version_in_force(programme_id)
    if not queries.is_open(queries.terms_of(version), now):
        raise ProgrammeClosed(f"{version.title_en} is not open now.", hint="See its time in its file.")
    grants = parse_grants(text, source=source)
    lines = matched(grants, _organisations_named(grants), source=source)
    vouchers: list[Voucher] = []
    problems: list[Problem] = []
    for grant, organisation_id in lines:
        try:
            vouchers.append(
                _issue(
                    version=version,
                    organisation_id=organisation_id,
                    amount_micros=grant.amount_micros,
                    actor=actor,
                    now=now,
                )
            )
        except (Ineligible, Invalid) as refused:
            field = "amount" if isinstance(refused, Invalid) else "organisation"
            problems.append(Problem(grant.line, field, refused.message[:200], refused.hint[:200]))
    if problems:
        raise BatchRefused(source, problems)  # takes back what was issued above
    return vouchers


def _organisations_named(grants: Sequence[Grant]) -> dict[str, UUID]:
    """By public id and by name in small letters, those of the list that there are."""
    names = {grant.organisation.lower() for grant in grants}
    ids = []
    for grant in grants:
        with suppress(NotFound):
            ids.append(Organisation.key_of(grant.organisation))
    rows = Organisation.objects.annotate(small=Lower("name")).filter(Q(small__in=names) | Q(id__in=ids))
    known = {}
    for organisation in rows:
        known[organisation.public_id] = known[organisation.name.lower()] = organisation.id
    return known


@transaction.atomic(durable=True)
def release_voucher(*, actor: Actor, voucher_id: UUID, now: datetime) -> Voucher:
    """The voucher with its money, taken from the programme's pool. Repeating it returns the same.

    Raises:
        SamePerson: the actor issued it.
        InsufficientFunds: the pool has less left.
        IllegalMove: it was revoked.
        NotFound: no such voucher.
    """
    require(actor, "voucher.release")
    voucher = _locked(voucher_id)
    if voucher.state == VoucherState.RELEASED:
        return voucher
    two_persons(voucher.maker_id, person_of(actor))
    _release(voucher, actor=actor, now=now, checker_id=actor.id)
    return voucher


@transaction.atomic(durable=True)
def revoke_voucher(*, actor: Actor, voucher_id: UUID, why: str, now: datetime) -> Voucher:
    """The voucher taken back: what is not held returns to the pool now, the rest when its orders end.

    Raises:
        IllegalMove: it is expired, exhausted or revoked.
        NotFound: no such voucher.
    """
    require(actor, "voucher.issue")
    voucher = _locked_with_money(voucher_id)
    move(voucher, to=VoucherState.REVOKED, actor=actor, now=now, why=why)
    _return_to_pool(voucher, now=now)
    return voucher


@transaction.atomic
def issue_trial(*, organisation_id: UUID, now: datetime) -> Voucher | None:
    """The organisation's trial voucher: by rule, once, from the pool of the released trial programme.

    None where there is no such programme, its clauses do not fit, or its pool is empty. Takes the locks of the
    pool and the voucher: call it last.
    """
    known = Voucher.objects.filter(organisation_id=organisation_id, by_rule=True).first()
    if known is not None:
        return known
    version = queries.trial_version(now)
    if version is None:
        return None
    grant = queries.terms_of(version).grant_micros
    try:
        # A savepoint: two calls at once, an empty pool or a clause leave nothing behind.
        with transaction.atomic():
            voucher = _issue(
                version=version,
                organisation_id=organisation_id,
                amount_micros=grant or 0,
                actor=SYSTEM,
                now=now,
                by_rule=True,
            )
            _release(voucher, actor=SYSTEM, now=now)
    except (IntegrityError, InsufficientFunds, Ineligible):
        return Voucher.objects.filter(organisation_id=organisation_id, by_rule=True).first()
    return voucher


def expire_vouchers(*, now: datetime) -> int:
    """How many vouchers gave money back: what is not held returns to their pools. For the nightly task.

    Takes in what orders gave back to vouchers that had expired or been revoked meanwhile.
    """
    ended = Q(state=VoucherState.RELEASED, expires_at__lte=now) | Q(owes_pool=True)
    swept = 0
    for voucher_id in list(Voucher.objects.filter(ended).order_by("id").values_list("id", flat=True)):
        swept += _sweep(voucher_id, now=now)
    return swept


@transaction.atomic(durable=True)
def _sweep(voucher_id: UUID, *, now: datetime) -> bool:
    voucher = _locked_with_money(voucher_id)
    if voucher.state == VoucherState.RELEASED and voucher.expires_at <= now:
        move(voucher, to=VoucherState.EXPIRED, actor=SYSTEM, now=now, why="its time was over")
    elif not voucher.owes_pool:
        return False
    _return_to_pool(voucher, now=now)
    return True


@transaction.atomic(durable=True)
def apply_for_voucher(
    *,
    actor: Actor,
    organisation_id: UUID,
    programme_id: UUID,
    amount_micros: int,
    now: datetime,
    note: str = "",
    document_ids: Collection[UUID] = (),
) -> Application:
    """An application that the operator decides, with documents of the organisation.

    Raises:
        NotFound: the organisation has no such document.
        Ineligible: the organisation fails clauses of the programme.
        ProgrammeClosed: nothing is released, or the programme's time is over.
        Invalid: the amount is not positive, or not in whole minor units.
    """
    require(actor, "voucher.apply", organisation_id)
    version = _version_in_force(programme_id)
    _check(version, organisation_id=organisation_id, amount_micros=amount_micros, now=now)
    application = Application.objects.create(
        organisation_id=organisation_id,
        version=version,
        amount_micros=amount_micros,
        note=note[:2000],
        applicant_id=person_of(actor),
        submitted_at=now,
    )
    record_birth(application, actor=actor, now=now)
    attach(
        actor=actor,
        organisation_id=organisation_id,
        document_ids=document_ids,
        subject_id=application.id,
        now=now,
    )
    return application


@transaction.atomic(durable=True)
def approve_application(*, actor: Actor, application_id: UUID, now: datetime) -> Voucher:
    """The voucher that the application asked for, issued; another person must release it.

    Raises:
        IllegalMove: the application was decided.
        Ineligible: what made the organisation eligible has lapsed.
        NotFound: no such application.
    """
    require(actor, "voucher.issue")
    application = _locked_application(application_id)
    voucher = _issue(
        version=application.version,
        organisation_id=application.organisation_id,
        amount_micros=application.amount_micros,
        actor=actor,
        now=now,
    )
    move(
        application,
        to=ApplicationState.APPROVED,
        actor=actor,
        now=now,
        decided_by_id=actor.id,
        decided_at=now,
        voucher=voucher,
    )
    return voucher


@transaction.atomic(durable=True)
def reject_application(*, actor: Actor, application_id: UUID, why: str, now: datetime) -> Application:
    """The application, refused with a reason.

    Raises:
        IllegalMove: it was decided.
        NotFound: no such application.
    """
    require(actor, "voucher.issue")
    application = _locked_application(application_id)
    move(
        application,
        to=ApplicationState.REJECTED,
        actor=actor,
        now=now,
        why=why,
        decided_by_id=actor.id,
        decided_at=now,
    )
    return application


@transaction.atomic(durable=True)
def withdraw_application(*, actor: Actor, application_id: UUID, why: str, now: datetime) -> Application:
    """The application taken back by its organisation while nobody has decided it. Repeating it returns the same.

    Raises:
        IllegalMove: it was approved or rejected.
        NotFound: the actor's organisations have no such application.
    """
    seen = queries.applications_visible_to(actor).filter(id=application_id).first()
    if seen is None:
        raise _no_application()
    require(actor, "voucher.apply", seen.organisation_id)
    application = _locked_application(application_id)
    if application.state != ApplicationState.WITHDRAWN:
        move(application, to=ApplicationState.WITHDRAWN, actor=actor, now=now, why=why, decided_at=now)
    return application


def _version_in_force(programme_id: UUID) -> ProgrammeVersion:
    version = queries.released_version(programme_id)
    if version is None:
        raise ProgrammeClosed(
            "This programme has no released version.", hint="See GET /api/v1/programmes for those in force."
        )
    return version


def _check(version: ProgrammeVersion, *, organisation_id: UUID, amount_micros: int, now: datetime) -> Terms:
    """The terms, if the organisation may have a voucher of this amount under them."""
    terms = queries.terms_of(version)
    _check_amount(amount_micros, pool_micros=terms.pool_micros)
    if not queries.is_open(terms, now):
        raise ProgrammeClosed(
            f"{version.title_en} is not open now.",
            hint=f"It is open from {terms.valid_from or 'now'} to {terms.valid_to or 'its end'}.",
        )
    organisation = Organisation.objects.filter(id=organisation_id).first()
    if organisation is None:
        raise NotFound("There is no such organisation.", hint="See GET /api/v1/me.")
    results = results_of(terms.eligibility, queries.facts_of(organisation, now=now))
    failed = [result for result in results if not result.passed]
    if failed:
        raise Ineligible(
            f"{version.title_en}: " + "; ".join(result.message for result in failed),
            hint="The organisation records the facts named above, the hub verifies them; then it fits.",
            clauses=", ".join(result.clause.id for result in failed),
            needs=", ".join(result.needs for result in failed if result.needs),
        )
    return terms


def _check_amount(amount_micros: int, *, pool_micros: int) -> None:
    unit = MICROS // 10 ** MINOR_DIGITS[settings.HUB_CURRENCY]
    if not 0 < amount_micros <= pool_micros or amount_micros % unit:
        pool = decimal_of(pool_micros, currency=settings.HUB_CURRENCY)
        raise Invalid(
            f"A voucher of {decimal_of(amount_micros, currency=settings.HUB_CURRENCY)} cannot be issued.",
            hint=f"Give a positive amount in whole minor units, at most the pool, {pool}.",
            field="amount",
            found=decimal_of(amount_micros, currency=settings.HUB_CURRENCY),
            allowed=f"up to {pool}",
        )


def _issue(
    *,
    version: ProgrammeVersion,
    organisation_id: UUID,
    amount_micros: int,
    actor: Actor,
    now: datetime,
    by_rule: bool = False,
    voucher_id: UUID | None = None,
) -> Voucher:
    terms = _check(version, organisation_id=organisation_id, amount_micros=amount_micros, now=now)
    _, end = queries.window_of(terms)
    ends = [now + timedelta(days=terms.validity_days)] if terms.validity_days else []
    voucher = Voucher.objects.create(
        id=voucher_id or uuid7(),
        organisation_id=organisation_id,
        version=version,
        amount_micros=amount_micros,
        valid_from=now,
        expires_at=min([*ends, *([end] if end else [])]),
        by_rule=by_rule,
        maker_id=None if by_rule else person_of(actor),
        issued_at=now,
    )
    record_birth(voucher, actor=actor, now=now, why="by rule: a new organisation" if by_rule else "")
    return voucher


def _locked(voucher_id: UUID) -> Voucher:
    voucher = (
        Voucher.objects.select_for_update(of=("self",), no_key=True)
        .select_related("version")
        .filter(id=voucher_id)
        .first()
    )
    if voucher is None:
        raise NotFound("There is no such voucher.", hint="See GET /api/v1/vouchers.")
    return voucher


def _locked_application(application_id: UUID) -> Application:
    application = (
        Application.objects.select_for_update(of=("self",), no_key=True)
        .select_related("version")
        .filter(id=application_id)
        .first()
    )
    if application is None:
        raise _no_application()
    return application


def _no_application() -> NotFound:
    return NotFound("There is no such application.", hint="See GET /api/v1/applications.")


def _release(voucher: Voucher, *, actor: Actor, now: datetime, **changes: Any) -> None:
    """Move the voucher's money from the pool to its own account."""
    pool = pool_account(voucher.version.programme_id)
    account = open_account(
        kind="voucher", owner_id=voucher.id, currency=settings.HUB_CURRENCY, floor_micros=0
    )
    lock_accounts([pool, account])
    move(
        voucher,
        to=VoucherState.RELEASED,
        actor=actor,
        now=now,
        released_at=now,
        account_id=account,
        **changes,
    )
    post_entry(
        key=f"voucher:{voucher.id}:released",
        kind="voucher.released",
        moves=[Move(pool, account, voucher.amount_micros)],
        subject_id=voucher.id,
        now=now,
    )


def _locked_with_money(voucher_id: UUID) -> Voucher:
    """The voucher under the locks of its account and its pool, then of its row.

    In this order, because whoever settles an order holds the account's lock before it writes the row.
    """
    seen = Voucher.objects.select_related("version").filter(id=voucher_id).first()
    if seen is not None and seen.account_id is not None:
        lock_accounts([seen.account_id, pool_account(seen.version.programme_id)])
    return _locked(voucher_id)


def _return_to_pool(voucher: Voucher, *, now: datetime) -> None:
    """Move what is not held back to the pool; the caller holds all locks."""
    if voucher.account_id is None:
        return
    if voucher.owes_pool:
        voucher.owes_pool = False
        voucher.save(update_fields=["owes_pool"])
    left = balance_of(voucher.account_id).available_micros
    if left:
        post_entry(
            key=f"voucher:{voucher.id}:returned:{now.isoformat()}",
            kind="voucher.returned",
            moves=[Move(voucher.account_id, pool_account(voucher.version.programme_id), left)],
            subject_id=voucher.id,
            now=now,
        )
