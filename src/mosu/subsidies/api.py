"""The doors of subsidies: programmes, vouchers, applications, claims."""

from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

from django.conf import settings
from django.http import HttpRequest
from django.utils import timezone
from ninja import Query, Router, Status
from pydantic import Field, StringConstraints

from mosu.kernel.ids import typeid, uuid_of
from mosu.kernel.money import decimal_of, micros_of
from mosu.kernel.refusals import Invalid, NotFound
from mosu.platform.auth import token_auth
from mosu.platform.cursors import Listed, Paging, page_of
from mosu.platform.doors import door
from mosu.platform.models import Organisation
from mosu.platform.requests import actor_of
from mosu.platform.schemas import In, Out
from mosu.store.models import Document
from mosu.subsidies import queries, services
from mosu.subsidies.models import Application, Claim, Programme, ProgrammeVersion, Voucher

router = Router(tags=["subsidies"], auth=token_auth)
routers = [("", router)]

ORDER_PREFIX = "order"

Id = Annotated[str, StringConstraints(max_length=80)]
Reason = Annotated[str, StringConstraints(min_length=1, max_length=1000, pattern=r"^[^\x00]*$")]


class Bilingual(Out):
    zh: str
    en: str


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
            pool=_money(terms.pool_micros),
            currency=settings.HUB_CURRENCY,
            cap_per_order=_money_or_none(terms.cap_per_order_micros),
            cap_per_organisation_year=_money_or_none(terms.cap_per_organisation_year_micros),
            grant=_money_or_none(terms.grant_micros),
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


class ProgrammeRef(Out):
    id: str
    title: Bilingual
    version: int


class VoucherOut(Out):
    id: str
    organisation_id: str
    programme: ProgrammeRef
    kind: str
    state: str
    amount: str
    remaining: str
    held: str
    currency: str
    rate: str
    cap_per_order: str | None
    valid_from: datetime
    expires_at: datetime
    shelves: list[str]

    @classmethod
    def of(cls, voucher: Voucher) -> "VoucherOut":
        (shown,) = queries.vouchers_with_balances([voucher])
        return cls.shown(shown)

    @classmethod
    def shown(cls, balance: queries.VoucherBalance) -> "VoucherOut":
        voucher = balance.voucher
        version = voucher.version
        terms = queries.terms_of(version)
        return cls(
            id=voucher.public_id,
            organisation_id=typeid(Organisation.prefix, voucher.organisation_id),
            programme=ProgrammeRef(
                id=version.programme.public_id,
                title=Bilingual(zh=terms.title_zh, en=terms.title_en),
                version=version.number,
            ),
            kind=terms.kind.value,
            state=voucher.state,
            amount=_money(voucher.amount_micros),
            remaining=_money(balance.remaining_micros),
            held=_money(balance.held_micros),
            currency=settings.HUB_CURRENCY,
            rate=terms.rate,
            cap_per_order=_money_or_none(terms.cap_per_order_micros),
            valid_from=voucher.valid_from.astimezone(UTC),
            expires_at=voucher.expires_at.astimezone(UTC),
            shelves=list(terms.shelves),
        )


class VoucherIn(In):
    """`organisation_id`: for whom; when applying, the actor's own is meant if it is left out."""

    programme_id: Id
    organisation_id: Id | None = None
    amount: str = Field(max_length=30)


class BatchIn(In):
    """A list of vouchers to issue: CSV with the head `organisation,amount`; organisations by id or whole name."""

    programme_id: Id
    text: str = Field(max_length=300_000)
    source: str = Field("vouchers.csv", max_length=100, pattern=r"^[^\x00\n\r]+$")


class ApplicationIn(VoucherIn):
    note: str = Field("", max_length=2000, pattern=r"^[^\x00]*$")
    document_ids: list[Id] = Field(default_factory=list, max_length=20)


class ApplicationOut(Out):
    id: str
    organisation_id: str
    programme: ProgrammeRef
    amount: str
    currency: str
    note: str
    state: str
    voucher_id: str | None
    submitted_at: datetime
    decided_at: datetime | None

    @classmethod
    def of(cls, application: Application) -> "ApplicationOut":
        version = application.version
        return cls(
            id=application.public_id,
            organisation_id=typeid(Organisation.prefix, application.organisation_id),
            programme=ProgrammeRef(
                id=version.programme.public_id,
                title=Bilingual(zh=version.title_zh, en=version.title_en),
                version=version.number,
            ),
            amount=_money(application.amount_micros),
            currency=settings.HUB_CURRENCY,
            note=application.note,
            state=application.state,
            voucher_id=typeid(Voucher.prefix, application.voucher_id) if application.voucher_id else None,
            submitted_at=application.submitted_at,
            decided_at=application.decided_at,
        )


class WhyIn(In):
    why: Reason


class ClaimIn(In):
    """`evidence`: sha256, in hex, of the receipt, the invoice, the delivery certificate."""

    order_id: Id
    evidence: list[Annotated[str, StringConstraints(max_length=64)]] = Field(max_length=20)


class ClaimOut(Out):
    id: str
    organisation_id: str
    order_id: str
    amount: str
    currency: str
    evidence: list[str]
    state: str
    submitted_at: datetime
    decided_at: datetime | None

    @classmethod
    def of(cls, claim: Claim) -> "ClaimOut":
        return cls(
            id=claim.public_id,
            organisation_id=typeid(Organisation.prefix, claim.organisation_id),
            order_id=typeid(ORDER_PREFIX, claim.order_id),
            amount=_money(claim.amount_micros),
            currency=settings.HUB_CURRENCY,
            evidence=claim.evidence,
            state=claim.state,
            submitted_at=claim.submitted_at,
            decided_at=claim.decided_at,
        )


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
    programme = _found(queries.programmes_visible_to(actor), Programme.key_of(programme_id), "programme")
    return ProgrammeOut.of(programme, drafts=actor.sees_all)


@router.post("/programmes/{programme_id}/release", response=ProgrammeOut, operation_id="releaseProgramme")
@door("programme.release")
def release_programme(request: HttpRequest, programme_id: str, body: ReleaseIn) -> ProgrammeOut:
    actor = actor_of(request)
    programme = _found(queries.programmes_visible_to(actor), Programme.key_of(programme_id), "programme")
    version = _version_named(programme, body.version)
    services.release_programme(actor=actor, version_id=version.id, now=timezone.now())
    return ProgrammeOut.of(programme, drafts=True)


@router.get("/vouchers", response=Listed[VoucherOut], operation_id="listVouchers")
@door("voucher.read")
def list_vouchers(request: HttpRequest, paging: Query[Paging]) -> dict[str, Any]:
    rows, further = page_of(queries.vouchers_visible_to(actor_of(request)), paging.cursor, paging.limit)
    return {"items": [VoucherOut.shown(one) for one in queries.vouchers_with_balances(rows)], "next": further}


@router.post("/vouchers", response={201: VoucherOut}, operation_id="issueVoucher")
@door("voucher.issue")
def issue_voucher(request: HttpRequest, body: VoucherIn) -> Status[VoucherOut]:
    actor = actor_of(request)
    voucher = services.issue_voucher(
        actor=actor,
        organisation_id=_organisation_id(body.organisation_id, actor.organisation_id),
        programme_id=Programme.key_of(body.programme_id),
        amount_micros=micros_of(body.amount),
        now=timezone.now(),
    )
    return Status(201, VoucherOut.of(voucher))


@router.post("/vouchers/batch", response={201: list[VoucherOut]}, operation_id="issueVouchers")
@door("voucher.issue")
def issue_vouchers(request: HttpRequest, body: BatchIn) -> Status[list[VoucherOut]]:
    """A voucher for each line of a list, all or none."""
    vouchers = services.issue_vouchers(
        actor=actor_of(request),
        programme_id=Programme.key_of(body.programme_id),
        text=body.text,
        source=body.source,
        now=timezone.now(),
    )
    return Status(201, [VoucherOut.shown(one) for one in queries.vouchers_with_balances(vouchers)])


@router.get("/vouchers/{voucher_id}", response=VoucherOut, operation_id="getVoucher")
@door("voucher.read")
def get_voucher(request: HttpRequest, voucher_id: str) -> VoucherOut:
    rows = queries.vouchers_visible_to(actor_of(request))
    return VoucherOut.of(_found(rows, Voucher.key_of(voucher_id), "voucher"))


@router.post("/vouchers/{voucher_id}/release", response=VoucherOut, operation_id="releaseVoucher")
@door("voucher.release")
def release_voucher(request: HttpRequest, voucher_id: str) -> VoucherOut:
    return VoucherOut.of(
        services.release_voucher(
            actor=actor_of(request), voucher_id=Voucher.key_of(voucher_id), now=timezone.now()
        )
    )


@router.post("/vouchers/{voucher_id}/revoke", response=VoucherOut, operation_id="revokeVoucher")
@door("voucher.issue")
def revoke_voucher(request: HttpRequest, voucher_id: str, body: WhyIn) -> VoucherOut:
    return VoucherOut.of(
        services.revoke_voucher(
            actor=actor_of(request), voucher_id=Voucher.key_of(voucher_id), why=body.why, now=timezone.now()
        )
    )


@router.get("/applications", response=Listed[ApplicationOut], operation_id="listApplications")
@door("voucher.read")
def list_applications(request: HttpRequest, paging: Query[Paging]) -> dict[str, Any]:
    rows, further = page_of(queries.applications_visible_to(actor_of(request)), paging.cursor, paging.limit)
    return {"items": [ApplicationOut.of(row) for row in rows], "next": further}


@router.post("/applications", response={201: ApplicationOut}, operation_id="applyForVoucher")
@door("voucher.apply")
def apply_for_voucher(request: HttpRequest, body: ApplicationIn) -> Status[ApplicationOut]:
    actor = actor_of(request)
    application = services.apply_for_voucher(
        actor=actor,
        organisation_id=_organisation_id(body.organisation_id, actor.organisation_id),
        programme_id=Programme.key_of(body.programme_id),
        amount_micros=micros_of(body.amount),
        note=body.note,
        document_ids=[Document.key_of(one) for one in body.document_ids],
        now=timezone.now(),
    )
    return Status(201, ApplicationOut.of(application))


@router.post("/applications/{application_id}/approve", response=VoucherOut, operation_id="approveApplication")
@door("voucher.issue")
def approve_application(request: HttpRequest, application_id: str) -> VoucherOut:
    return VoucherOut.of(
        services.approve_application(
            actor=actor_of(request), application_id=Application.key_of(application_id), now=timezone.now()
        )
    )


@router.post(
    "/applications/{application_id}/reject", response=ApplicationOut, operation_id="rejectApplication"
)
@door("voucher.issue")
def reject_application(request: HttpRequest, application_id: str, body: WhyIn) -> ApplicationOut:
    return ApplicationOut.of(
        services.reject_application(
            actor=actor_of(request),
            application_id=Application.key_of(application_id),
            why=body.why,
            now=timezone.now(),
        )
    )


@router.get("/claims", response=Listed[ClaimOut], operation_id="listClaims")
@door("voucher.read")
def list_claims(request: HttpRequest, paging: Query[Paging]) -> dict[str, Any]:
    rows, further = page_of(queries.claims_visible_to(actor_of(request)), paging.cursor, paging.limit)
    return {"items": [ClaimOut.of(row) for row in rows], "next": further}


@router.post("/claims", response={201: ClaimOut}, operation_id="submitClaim")
@door("voucher.apply")
def submit_claim(request: HttpRequest, body: ClaimIn) -> Status[ClaimOut]:
    claim = services.submit_claim(
        actor=actor_of(request),
        order_id=uuid_of(ORDER_PREFIX, body.order_id),
        evidence=body.evidence,
        now=timezone.now(),
    )
    return Status(201, ClaimOut.of(claim))


@router.post("/claims/{claim_id}/approve", response=ClaimOut, operation_id="approveClaim")
@door("voucher.issue")
def approve_claim(request: HttpRequest, claim_id: str) -> ClaimOut:
    return ClaimOut.of(
        services.approve_claim(actor=actor_of(request), claim_id=Claim.key_of(claim_id), now=timezone.now())
    )


@router.post("/claims/{claim_id}/reject", response=ClaimOut, operation_id="rejectClaim")
@door("voucher.issue")
def reject_claim(request: HttpRequest, claim_id: str, body: WhyIn) -> ClaimOut:
    return ClaimOut.of(
        services.reject_claim(
            actor=actor_of(request), claim_id=Claim.key_of(claim_id), why=body.why, now=timezone.now()
        )
    )


@router.post("/claims/{claim_id}/disburse", response=ClaimOut, operation_id="disburseClaim")
@door("voucher.release")
def disburse_claim(request: HttpRequest, claim_id: str) -> ClaimOut:
    return ClaimOut.of(
        services.disburse_claim(actor=actor_of(request), claim_id=Claim.key_of(claim_id), now=timezone.now())
    )


def _money(micros: int) -> str:
    return decimal_of(micros, currency=settings.HUB_CURRENCY)


def _money_or_none(micros: int | None) -> str | None:
    return None if micros is None else _money(micros)


def _found(rows: Any, key: UUID, what: str) -> Any:
    """The row, if the actor may see it.

    Raises:
        NotFound: there is none that they may see.
    """
    row = rows.filter(id=key).first()
    if row is None:
        raise NotFound(f"There is no such {what}.", hint=f"See GET /api/v1/{what}s.")
    return row


def _organisation_id(named: str | None, own: UUID | None) -> UUID:
    if named is not None:
        return Organisation.key_of(named)
    if own is None:
        raise Invalid("For which organisation?", hint="Name organisation_id.", field="organisation_id")
    return own


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
