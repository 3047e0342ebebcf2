"""Vouchers issued by one person, one or many at once; another releases them."""

from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import Q
from django.db.models.functions import Lower

from mosu.kernel.digests import sha256_of
from mosu.kernel.ids import uuid7
from mosu.kernel.money import MICROS, MINOR_DIGITS, decimal_of
from mosu.kernel.refusals import DomainError, Invalid, NotFound
from mosu.platform.actors import Actor
from mosu.platform.models import Organisation
from mosu.platform.policy import person_of, require
from mosu.platform.services import claim_key
from mosu.subsidies import queries
from mosu.subsidies.models import ProgrammeVersion, Voucher
from mosu.subsidies.rules import (
    BatchRefused,
    Grant,
    Problem,
    Terms,
    matched,
    parse_grants,
    results_of,
)
from mosu.subsidies.services.states import record_birth


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
    return issued(
        version=version_in_force(programme_id),
        organisation_id=organisation_id,
        amount_micros=amount_micros,
        actor=actor,
        now=now,
        voucher_id=voucher_id,
    )


@transaction.atomic(durable=True)
def issue_vouchers(
    *,
    actor: Actor,
    programme_id: UUID,
    text: str,
    now: datetime,
    source: str = "vouchers.csv",
    idempotency_key: str = "",
) -> list[Voucher]:
    """A voucher for each line of a list (`organisation,amount`), all or none; each waits for its release.

    Repeating it with the same key returns the first ones; without a key they are others.

    Raises:
        KeyReused: the key was used for another list.
        BatchRefused: lines break rules or organisations fail clauses; every problem is named, nothing changed.
        ProgrammeClosed: nothing is released, or the programme's time is over.
    """
    require(actor, "voucher.issue")
    grants = parse_grants(text, source=source)
    first = uuid7()
    if idempotency_key:
        earlier = claim_key(
            scope=f"vouchers.issue:{actor.id}",
            key=idempotency_key,
            digest=sha256_of([str(programme_id), text]),
            result_id=first,
        )
        if earlier is not None:
            return list(Voucher.objects.filter(id__in=_ids_from(earlier, len(grants))).order_by("id"))
    version = version_in_force(programme_id)
    if not queries.is_open(queries.terms_of(version), now):
        raise ProgrammeClosed(f"{version.title_en} is not open now.", hint="See its time in its file.")
    lines = matched(grants, _organisations_named(grants), source=source)
    vouchers: list[Voucher] = []
    problems: list[Problem] = []
    for (grant, organisation_id), voucher_id in zip(lines, _ids_from(first, len(lines)), strict=True):
        try:
            vouchers.append(
                issued(
                    version=version,
                    organisation_id=organisation_id,
                    amount_micros=grant.amount_micros,
                    actor=actor,
                    now=now,
                    voucher_id=voucher_id,
                )
            )
        except (Ineligible, Invalid) as refused:
            field = "amount" if isinstance(refused, Invalid) else "organisation"
            problems.append(Problem(grant.line, field, refused.message[:200], refused.hint[:200]))
    if problems:
        raise BatchRefused(source, problems)  # takes back what was issued above
    return vouchers


def _ids_from(first: UUID, count: int) -> list[UUID]:
    """Of a list's vouchers, by line: they follow each other, so that the first one names all."""
    return [UUID(int=first.int + line) for line in range(count)]


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


def version_in_force(programme_id: UUID) -> ProgrammeVersion:
    """
    Raises:
        ProgrammeClosed: nothing is released.
    """
    version = queries.released_version(programme_id)
    if version is None:
        raise ProgrammeClosed(
            "This programme has no released version.", hint="See GET /api/v1/programmes for those in force."
        )
    return version


def checked(version: ProgrammeVersion, *, organisation_id: UUID, amount_micros: int, now: datetime) -> Terms:
    """The terms, if the organisation may have a voucher of this amount under them.

    Raises:
        Ineligible: the organisation fails clauses of the programme.
        ProgrammeClosed: its time is over, or has not come.
        Invalid: the amount is not positive, or not in whole minor units.
        NotFound: no such organisation.
    """
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


def issued(
    *,
    version: ProgrammeVersion,
    organisation_id: UUID,
    amount_micros: int,
    actor: Actor,
    now: datetime,
    by_rule: bool = False,
    voucher_id: UUID | None = None,
) -> Voucher:
    """The voucher, for another person to release, or by rule for nobody.

    Raises:
        Ineligible, ProgrammeClosed, Invalid, NotFound: as of `checked`.
    """
    terms = checked(version, organisation_id=organisation_id, amount_micros=amount_micros, now=now)
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
