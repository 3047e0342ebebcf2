"""Programmes: proposed as a file by one person, released with their pool by another."""

import hashlib
from datetime import datetime
from decimal import Decimal
from typing import Final
from uuid import UUID, uuid5

from django.conf import settings
from django.db import transaction

from mosu.kernel.money import decimal_of, rounded
from mosu.kernel.refusals import DomainError, NotFound
from mosu.ledger.services import Move, lock_accounts, open_account, post_entry
from mosu.platform.actors import Actor
from mosu.platform.policy import person_of, require
from mosu.platform.services import two_persons
from mosu.subsidies import queries
from mosu.subsidies.models import Programme, ProgrammeVersion
from mosu.subsidies.rules import Terms, VersionState, parse_programme
from mosu.subsidies.services.states import move, record_birth

TITLE_MAX: Final = 200


class VersionTaken(DomainError):
    """The programme has this version already, with other terms."""

    code = "version_taken"


class TermsFixed(DomainError):
    """A new version changes what stays for a programme's life, or takes back what was promised."""

    code = "terms_fixed"


@transaction.atomic(durable=True)
def propose_programme(
    *, actor: Actor, text: str, now: datetime, source: str = "programme.yaml"
) -> ProgrammeVersion:
    """A draft of a new programme, or of a new version of one. The same file again returns the same draft.

    Raises:
        ProgrammeRefused: the file breaks rules; every problem is named, nothing changed.
        VersionTaken: this version exists with another text; give the next number.
        TermsFixed: kind, mode or exclusivity group differ from the programme's, or the pool shrinks.
    """
    require(actor, "programme.propose")
    terms = parse_programme(text, source=source, currency=settings.HUB_CURRENCY)
    programme, fresh = Programme.objects.get_or_create(
        code=terms.code,
        defaults={
            "kind": terms.kind.value,
            "mode": terms.mode.value,
            "exclusivity_group": terms.exclusivity_group,
            "created_at": now,
        },
    )
    digest = hashlib.sha256(text.encode()).hexdigest()
    if not fresh:
        # The programme's row is the lock that keeps two proposals of one version apart.
        programme = Programme.objects.select_for_update().get(id=programme.id)
        same = programme.versions.filter(number=terms.version).first()
        if same is not None:
            return _same(same, digest)
        _check_fixed(programme, terms)
    version = ProgrammeVersion.objects.create(
        programme=programme,
        number=terms.version,
        document=text,
        sha256=digest,
        terms=terms.to_json(),
        pool_micros=terms.pool_micros,
        title_zh=terms.title_zh[:TITLE_MAX],
        title_en=terms.title_en[:TITLE_MAX],
        maker_id=person_of(actor),
        proposed_at=now,
    )
    record_birth(version, actor=actor, now=now)
    return version


def _same(version: ProgrammeVersion, digest: str) -> ProgrammeVersion:
    if version.sha256 == digest:
        return version
    raise VersionTaken(
        f"Version {version.number} of {version.programme.code} exists with another text.",
        hint="Raise `version`.",
        field="version",
        found=version.number,
    )


def _check_fixed(programme: Programme, terms: Terms) -> None:
    found = {
        "kind": terms.kind.value,
        "mode": terms.mode.value,
        "exclusivity_group": terms.exclusivity_group,
    }
    for field, value in found.items():
        kept = getattr(programme, field)
        if value != kept:
            raise TermsFixed(
                f"{field} of {programme.code} is {kept!r} and stays so.",
                hint="Write a programme with another id.",
                field=field,
                found=value,
                allowed=kept,
            )
    latest = programme.versions.order_by("-number").first()
    if latest is None:
        return
    if terms.version < latest.number:
        raise TermsFixed(
            f"{programme.code} has version {latest.number} already.",
            hint="Raise `version`.",
            field="version",
            found=terms.version,
            allowed=f"above {latest.number}",
        )
    if terms.pool_micros < latest.pool_micros:
        kept = decimal_of(latest.pool_micros, currency=settings.HUB_CURRENCY)
        raise TermsFixed(
            f"The pool of {programme.code} is {kept} and does not shrink.",
            hint="Write the whole pool, with what was given before.",
            field="pool",
            found=decimal_of(terms.pool_micros, currency=settings.HUB_CURRENCY),
            allowed=f"from {kept} on",
        )


@transaction.atomic(durable=True)
def release_programme(*, actor: Actor, version_id: UUID, now: datetime) -> ProgrammeVersion:
    """The version in force: its pool filled from the funders by their shares. Repeating it returns the same.

    Of a later version only what the pool grows by is posted.

    Raises:
        NotFound: no such version.
        SamePerson: the actor proposed it.
        IllegalMove: a later version was released already.
    """
    require(actor, "programme.release")
    version = (
        ProgrammeVersion.objects.select_for_update(of=("self", "programme"))
        .select_related("programme")
        .filter(id=version_id)
        .first()
    )
    if version is None:
        raise NotFound("There is no such programme version.", hint="See GET /api/v1/programmes.")
    if version.state == VersionState.RELEASED:
        return version
    two_persons(version.maker_id, person_of(actor))
    before = queries.released_version(version.programme_id)
    if before is not None and before.number > version.number:
        raise TermsFixed(
            f"Version {before.number} of {version.programme.code} is in force already.",
            hint="Propose a higher version.",
            field="version",
            found=version.number,
            allowed=f"above {before.number}",
        )
    grown = version.pool_micros - (before.pool_micros if before else 0)
    move(version, to=VersionState.RELEASED, actor=actor, now=now, checker_id=actor.id, released_at=now)
    _fill_pool(version, grown_micros=grown, now=now)
    return version


def pool_account(programme_id: UUID) -> UUID:
    """The programme's pool, opened if it is not there."""
    return open_account(kind="pool", owner_id=programme_id, currency=settings.HUB_CURRENCY, floor_micros=0)


def _fill_pool(version: ProgrammeVersion, *, grown_micros: int, now: datetime) -> None:
    """Post each funder's part; the last one bears what rounding leaves."""
    pool = pool_account(version.programme_id)
    if grown_micros == 0:
        return
    funders = queries.terms_of(version).funders
    parts = [
        rounded(Decimal(funder.share) * grown_micros, currency=settings.HUB_CURRENCY)
        for funder in funders[:-1]
    ]
    parts.append(grown_micros - sum(parts))
    sources = [
        open_account(
            kind="funder",
            owner_id=uuid5(version.programme_id, funder.name),
            currency=settings.HUB_CURRENCY,
            floor_micros=None,
        )
        for funder in funders
    ]
    lock_accounts([pool, *sources])
    moves = [Move(source, pool, part) for source, part in zip(sources, parts, strict=True) if part]
    post_entry(
        key=f"programme:{version.id}:pool",
        kind="pool.filled",
        moves=moves,
        subject_id=version.programme_id,
        now=now,
        memo=f"{version.programme.code} v{version.number}",
    )
