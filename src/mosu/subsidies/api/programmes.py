"""Programmes and their versions."""

from datetime import datetime
from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.utils import timezone
from ninja import Query, Router, Status
from pydantic import Field

from mosu.kernel.refusals import Invalid
from mosu.platform.auth import token_auth
from mosu.platform.cursors import Listed, Paging, page_of
from mosu.platform.doors import door
from mosu.platform.requests import actor_of
from mosu.platform.rows import row_of
from mosu.platform.schemas import Bilingual, In, Out
from mosu.subsidies import queries, services
from mosu.subsidies.api.shapes import money_of, money_or_none
from mosu.subsidies.models import Programme, ProgrammeVersion

router = Router(tags=["subsidies"], auth=token_auth)


class FunderOut(Out):
    name: str
    share: str


class ClauseOut(Out):
    id: str
    when: str
    reason: Bilingual


class VersionOut(Out):
    """A programme's terms, as one version of its file says."""

    id: str
    number: int
    state: str
    sha256: str
    title: Bilingual
    source: str
    funders: list[FunderOut]
    rate: str
    pool: str
    currency: str
    cap_per_order: str | None
    cap_per_organisation_year: str | None
    grant: str | None
    validity_days: int | None
    valid_from: str | None
    valid_to: str | None
    claim_days: int | None
    shelves: list[str]
    spend_kinds: list[str]
    regions: list[str]
    domestic_only: bool
    unrelated_parties: bool
    stacking: bool
    eligibility: list[ClauseOut]
    proposed_at: datetime
    released_at: datetime | None

    @classmethod
    def of(cls, version: ProgrammeVersion) -> "VersionOut":
        terms = queries.terms_of(version)
        stored = terms.to_json()
        return cls(
            id=version.public_id,
            number=version.number,
            state=version.state,
            sha256=version.sha256,
            title=Bilingual(zh=terms.title_zh, en=terms.title_en),
            funders=[FunderOut(name=funder.name, share=funder.share) for funder in terms.funders],
            pool=money_of(terms.pool_micros),
            currency=settings.HUB_CURRENCY,
            cap_per_order=money_or_none(terms.cap_per_order_micros),
            cap_per_organisation_year=money_or_none(terms.cap_per_organisation_year_micros),
            grant=money_or_none(terms.grant_micros),
            eligibility=[
                ClauseOut(id=one.id, when=one.when, reason=Bilingual(zh=one.reason_zh, en=one.reason_en))
                for one in terms.eligibility
            ],
            proposed_at=version.proposed_at,
            released_at=version.released_at,
            **{name: stored[name] for name in _PLAIN},
        )


_PLAIN = (
    "source",
    "rate",
    "validity_days",
    "valid_from",
    "valid_to",
    "claim_days",
    "shelves",
    "spend_kinds",
    "regions",
    "domestic_only",
    "unrelated_parties",
    "stacking",
)


class ProgrammeOut(Out):
    """A subsidy policy; `in_force` is its highest released version."""

    id: str
    code: str
    kind: str
    mode: str
    exclusivity_group: str
    in_force: VersionOut | None
    drafts: list[VersionOut]

    @classmethod
    def of(cls, programme: Programme, *, drafts: bool) -> "ProgrammeOut":
        version = queries.released_version(programme.id)
        waiting = queries.draft_versions(programme.id) if drafts else []
        return cls(
            id=programme.public_id,
            code=programme.code,
            kind=programme.kind,
            mode=programme.mode,
            exclusivity_group=programme.exclusivity_group,
            in_force=VersionOut.of(version) if version else None,
            drafts=[VersionOut.of(one) for one in waiting],
        )


class ProgrammeIn(In):
    """A programme's file, whole."""

    text: str = Field(max_length=100_000)
    source: str = Field("programme.yaml", max_length=100, pattern=r"^[^\x00\n\r]+$")


class ReleaseIn(In):
    """Which version to release; without it, the only draft."""

    version: int | None = Field(None, ge=1, le=9999)


@router.get("/programmes", response=Listed[ProgrammeOut], operation_id="listProgrammes")
@door("programme.read")
def list_programmes(request: HttpRequest, paging: Query[Paging]) -> dict[str, Any]:
    actor = actor_of(request)
    rows, further = page_of(queries.programmes_visible_to(actor), paging.cursor, paging.limit)
    return {"items": [ProgrammeOut.of(row, drafts=actor.sees_all) for row in rows], "next": further}


@router.post("/programmes", response={201: ProgrammeOut}, operation_id="proposeProgramme")
@door("programme.propose")
def propose_programme(request: HttpRequest, body: ProgrammeIn) -> Status[ProgrammeOut]:
    version = services.propose_programme(
        actor=actor_of(request), text=body.text, source=body.source, now=timezone.now()
    )
    return Status(201, ProgrammeOut.of(version.programme, drafts=True))


@router.get("/programmes/{programme_id}", response=ProgrammeOut, operation_id="getProgramme")
@door("programme.read")
def get_programme(request: HttpRequest, programme_id: str) -> ProgrammeOut:
    actor = actor_of(request)
    programme = row_of(queries.programmes_visible_to(actor), programme_id)
    return ProgrammeOut.of(programme, drafts=actor.sees_all)


@router.post("/programmes/{programme_id}/release", response=ProgrammeOut, operation_id="releaseProgramme")
@door("programme.release")
def release_programme(request: HttpRequest, programme_id: str, body: ReleaseIn) -> ProgrammeOut:
    actor = actor_of(request)
    programme = row_of(queries.programmes_visible_to(actor), programme_id)
    version = _version_named(programme, body.version)
    services.release_programme(actor=actor, version_id=version.id, now=timezone.now())
    return ProgrammeOut.of(programme, drafts=True)


def _version_named(programme: Programme, number: int | None) -> ProgrammeVersion:
    """The version of that number, or the only draft."""
    versions = queries.draft_versions(programme.id)
    if number is not None:
        versions = list(programme.versions.filter(number=number))
    if len(versions) != 1:
        raise Invalid(
            f"{programme.code} has {len(versions)} such drafts.",
            hint="Name the version to release.",
            field="version",
            found=len(versions),
        )
    return versions[0]
