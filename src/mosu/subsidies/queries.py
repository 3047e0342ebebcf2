"""Reads of subsidies."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Any, Final
from uuid import UUID
from zoneinfo import ZoneInfo

from django.conf import settings
from django.db import connection
from django.db.models import QuerySet, Sum

from mosu.kernel.time import year_in
from mosu.ledger.queries import Balance, available_by_kind, balances_of
from mosu.platform.actors import Actor
from mosu.platform.models import AuditRecord, Organisation
from mosu.platform.queries import verified_facts
from mosu.subsidies.models import (
    Application,
    Claim,
    Disbursement,
    Programme,
    ProgrammeVersion,
    Redemption,
    Voucher,
    YearCap,
)
from mosu.subsidies.rules import (
    ClauseResult,
    ProgrammeKind,
    RedemptionState,
    Terms,
    VersionState,
    VoucherState,
    names_in,
    results_of,
)


def hub_year(at: datetime) -> int:
    """The year whose caps an acceptance at `at` counts against."""
    return year_in(ZoneInfo(settings.HUB_ZONE), at)


def terms_of(version: ProgrammeVersion) -> Terms:
    """What the version promises."""
    return Terms.from_json(version.terms)


def released_version(programme_id: UUID) -> ProgrammeVersion | None:
    """The version that new vouchers are issued under: the highest released."""
    return (
        ProgrammeVersion.objects.filter(programme_id=programme_id, state=VersionState.RELEASED)
        .order_by("-number")
        .first()
    )


def draft_versions(programme_id: UUID) -> list[ProgrammeVersion]:
    """What waits for a second person, the lowest number first."""
    rows = ProgrammeVersion.objects.filter(programme_id=programme_id, state=VersionState.DRAFT)
    return list(rows.order_by("number"))


def versions_of(programme_ids: Collection[UUID]) -> dict[UUID, list[ProgrammeVersion]]:
    """All versions of each programme, the highest number first; for the hub's people, who see the programmes."""
    found: dict[UUID, list[ProgrammeVersion]] = {}
    rows = ProgrammeVersion.objects.filter(programme_id__in=programme_ids).select_related("maker", "checker")
    for version in rows.order_by("programme_id", "-number"):
        found.setdefault(version.programme_id, []).append(version)
    return found


def trial_version(now: datetime) -> ProgrammeVersion | None:
    """The highest released version of the first trial programme whose time is now."""
    rows = ProgrammeVersion.objects.filter(
        state=VersionState.RELEASED, programme__kind=ProgrammeKind.TRIAL
    ).order_by("programme__code", "-number")
    return next((version for version in rows if is_open(terms_of(version), now)), None)


def versions_in_force() -> list[ProgrammeVersion]:
    """The highest released version of each programme, by the programme's code. Policies are public."""
    rows = ProgrammeVersion.objects.filter(state=VersionState.RELEASED).select_related("programme")
    return list(rows.order_by("programme__code", "-number").distinct("programme__code"))


def programmes_open(now: datetime) -> list[Terms]:
    """What the programmes whose time is now promise, by code."""
    every = (terms_of(version) for version in versions_in_force())
    return [terms for terms in every if is_open(terms, now)]


def is_open(terms: Terms, now: datetime) -> bool:
    """Whether the programme's time is now."""
    start, end = window_of(terms)
    return (start is None or start <= now) and (end is None or now < end)


def window_of(terms: Terms) -> tuple[datetime | None, datetime | None]:
    """From the first hub day's start to the last hub day's end."""
    zone = ZoneInfo(settings.HUB_ZONE)
    start = datetime.combine(terms.valid_from, time(), zone).astimezone(UTC) if terms.valid_from else None
    end = (
        datetime.combine(terms.valid_to + timedelta(days=1), time(), zone).astimezone(UTC)
        if terms.valid_to
        else None
    )
    return start, end


def facts_of(organisation: Organisation, *, now: datetime) -> Mapping[str, Any]:
    """What clauses may ask of an organisation: verified facts, kind and capabilities."""
    # A fact's name is a slug; CEL reads `-` as minus.
    named = {name.replace("-", "_"): value for name, value in verified_facts(organisation.id, at=now).items()}
    return {**named, "kind": organisation.kind, "capabilities": list(organisation.capabilities)}


def programmes_visible_to(actor: Actor) -> QuerySet[Programme]:
    """Programmes with a released version; the hub's people see drafts too."""
    rows = Programme.objects.order_by("code", "id")
    if actor.sees_all:
        return rows
    return rows.filter(
        id__in=ProgrammeVersion.objects.filter(state=VersionState.RELEASED).values("programme_id")
    )


def vouchers_visible_to(actor: Actor) -> QuerySet[Voucher]:
    """Vouchers of the actor's organisations, or all for the hub's people; newest first."""
    rows = Voucher.objects.select_related("version__programme").order_by("-issued_at", "-id")
    return rows if actor.sees_all else rows.filter(organisation_id__in=actor.organisation_ids)


@dataclass(frozen=True, slots=True)
class VoucherBalance:
    """A voucher and its money; one that is not released has none."""

    voucher: Voucher
    remaining_micros: int
    """What is left to spend, without what orders hold."""
    held_micros: int


def vouchers_with_balances(vouchers: Iterable[Voucher]) -> list[VoucherBalance]:
    """The vouchers with what is left and held of each, in one further query."""
    rows = list(vouchers)
    balances = balances_of([row.account_id for row in rows if row.account_id])
    nothing = Balance(balance_micros=0, held_micros=0, available_micros=0)
    found = [(row, balances[row.account_id] if row.account_id else nothing) for row in rows]
    return [VoucherBalance(row, money.available_micros, money.held_micros) for row, money in found]


def reason_of_decision(actor: Actor, application: Application) -> str:
    """Why it was decided as it was, or taken back; for who sees the application."""
    if not applications_visible_to(actor).filter(id=application.id).exists():
        return ""
    records = AuditRecord.objects.filter(subject_id=application.id, after=application.state)
    return records.order_by("-id").values_list("why", flat=True).first() or ""


def applications_visible_to(actor: Actor) -> QuerySet[Application]:
    """Applications of the actor's organisations, or all for the hub's people; newest first."""
    rows = Application.objects.select_related("version__programme").order_by("-submitted_at", "-id")
    return rows if actor.sees_all else rows.filter(organisation_id__in=actor.organisation_ids)


@dataclass(frozen=True, slots=True)
class Standing:
    """How an organisation stands to a version's terms at an instant."""

    terms: Terms
    is_open: bool
    results: Sequence[ClauseResult]

    @property
    def passes(self) -> bool:
        return self.is_open and all(result.passed for result in self.results)

    @property
    def needs(self) -> list[str]:
        """Names of facts that are not known."""
        return [result.needs for result in self.results if result.needs]


def standings_of(
    organisation: Organisation, versions: Iterable[ProgrammeVersion], *, now: datetime
) -> list[Standing]:
    """Each clause of each version on what is known of the organisation; one query for all."""
    facts = facts_of(organisation, now=now)
    every = [terms_of(version) for version in versions]
    return [Standing(terms, is_open(terms, now), results_of(terms.eligibility, facts)) for terms in every]


@dataclass(frozen=True, slots=True)
class Asked:
    """A fact that a programme asks for."""

    name: str
    title_zh: str
    title_en: str


def facts_asked() -> list[Asked]:
    """The facts that the programmes in force ask for, by name; each with one of those programmes."""
    found: dict[str, Asked] = {}
    for version in versions_in_force():
        for clause in terms_of(version).eligibility:
            for name in names_in(clause.when):
                found.setdefault(name, Asked(name, version.title_zh, version.title_en))
    return [found[name] for name in sorted(found)]


def redemptions_visible_to(actor: Actor) -> QuerySet[Redemption]:
    """Uses of vouchers of the actor's organisations, or all for the hub's people; newest first."""
    rows = Redemption.objects.select_related("voucher__version").order_by("-held_at", "-id")
    return rows if actor.sees_all else rows.filter(voucher__organisation_id__in=actor.organisation_ids)


def refunds_due(actor: Actor, organisation_id: UUID, *, now: datetime) -> list[Redemption]:
    """Refunds that settled orders earned and nobody has claimed yet, the one that lapses first first."""
    rows = redemptions_visible_to(actor).filter(
        voucher__organisation_id=organisation_id, state=RedemptionState.DUE, claim_by__gt=now
    )
    return list(rows.exclude(order_id__in=Claim.objects.values("order_id")).order_by("claim_by", "id"))


def claims_visible_to(actor: Actor) -> QuerySet[Claim]:
    """Claims of the actor's organisations, or all for the hub's people; newest first."""
    rows = Claim.objects.order_by("-submitted_at", "-id")
    return rows if actor.sees_all else rows.filter(organisation_id__in=actor.organisation_ids)


@dataclass(frozen=True, slots=True)
class PublicMoney:
    """Where a programme's money is, in micros: `pool = in_pool + with_holders + held + captured`."""

    programme: Programme
    title_zh: str
    title_en: str
    version: int
    """The one in force; 0: none is released yet."""
    pool_micros: int
    """What the programme was given in all."""
    granted_micros: int
    """What released vouchers were made out for; what came back of them was granted again or is in the pool."""
    captured_micros: int
    held_micros: int
    with_holders_micros: int
    """Left on vouchers, without what orders hold."""
    in_pool_micros: int
    returned_micros: int
    """What came back from vouchers that ended."""

    @property
    def adds_up(self) -> bool:
        """Whether the ledger's accounts and the redemptions, two records of their own, say the same."""
        parts = self.in_pool_micros + self.with_holders_micros + self.held_micros + self.captured_micros
        return parts == self.pool_micros


def public_money(actor: Actor) -> list[PublicMoney]:
    """Each programme with where its money is, by code. For the hub's people alone; a fixed number of queries."""
    if not actor.sees_all:
        return []
    rows = list(Programme.objects.order_by("code").prefetch_related("versions"))
    with connection.cursor() as cursor:
        cursor.execute(_PUBLIC_MONEY)
        money = {row[0]: [int(figure) for figure in row[1:]] for row in cursor.fetchall()}
    return [_public_money(row, money.get(row.id, [0] * 5)) for row in rows]


def _public_money(programme: Programme, figures: Sequence[int]) -> PublicMoney:
    granted, on_vouchers, held, captured, in_pool = figures
    released = [one for one in programme.versions.all() if one.state == VersionState.RELEASED]
    last = max(released or programme.versions.all(), key=lambda one: one.number, default=None)
    pool = max((one.pool_micros for one in released), default=0)
    return PublicMoney(
        programme=programme,
        title_zh=last.title_zh if last else programme.code,
        title_en=last.title_en if last else programme.code,
        version=last.number if last and released else 0,
        pool_micros=pool,
        granted_micros=granted,
        captured_micros=captured,
        held_micros=held,
        with_holders_micros=on_vouchers - held,
        in_pool_micros=in_pool,
        returned_micros=granted - captured - on_vouchers,
    )


_PUBLIC_MONEY: Final = """
    with vouchers as (
        select r.programme_id, sum(v.amount_micros) as granted, sum(a.balance_micros) as balance,
               sum(a.held_micros) as held
          from subsidies_voucher v join subsidies_programmeversion r on r.id = v.version_id
          join ledger_account a on a.id = v.account_id
         group by r.programme_id),
    used as (
        select r.programme_id, sum(d.captured) as captured
          from (select voucher_id, sum(amount_micros) as captured from subsidies_redemption
                 where state = 'captured' group by voucher_id) d
          join subsidies_voucher v on v.id = d.voucher_id
          join subsidies_programmeversion r on r.id = v.version_id
         group by r.programme_id)
    select p.id, coalesce(v.granted, 0), coalesce(v.balance, 0), coalesce(v.held, 0), coalesce(u.captured, 0),
           coalesce(a.balance_micros, 0)
      from subsidies_programme p left join vouchers v on v.programme_id = p.id
      left join used u on u.programme_id = p.id
      left join ledger_account a on a.kind = 'pool' and a.owner_id = p.id"""


def redemptions_of(actor: Actor, order_id: UUID) -> list[Redemption]:
    """What of an order vouchers pay, in the order of the waterfall, each with its voucher, version and programme."""
    rows = Redemption.objects.filter(order_id=order_id)
    if not actor.sees_all:
        rows = rows.filter(voucher__organisation_id__in=actor.organisation_ids)
    people = [f"voucher__{path}{who}" for path in ("", "version__") for who in ("maker", "checker")]
    return list(rows.select_related("voucher__version__programme", "cap", *people).order_by("position"))


def drawn_from(voucher_ids: Collection[UUID]) -> dict[UUID, int]:
    """What all orders together took from each voucher, in micros."""
    rows = Redemption.objects.filter(voucher_id__in=voucher_ids, state=RedemptionState.CAPTURED)
    return dict(rows.order_by().values_list("voucher_id").annotate(sum=Sum("amount_micros")))


def claim_of(actor: Actor, order_id: UUID) -> Claim | None:
    """The claim for an order's refunds, if there is one to see."""
    return claims_visible_to(actor).select_related("maker", "checker").filter(order_id=order_id).first()


def disbursements_of(actor: Actor, claim_id: UUID) -> QuerySet[Disbursement]:
    """What was paid for a claim, by which entries."""
    rows = Disbursement.objects.filter(claim=claim_id).order_by("id")
    return rows if actor.sees_all else rows.filter(claim__organisation_id__in=actor.organisation_ids)


def year_caps_left(organisation_id: UUID, years: Collection[int]) -> dict[tuple[UUID, int], int]:
    """By programme and year, in micros: what is left of an organisation's caps that were opened; two queries."""
    rows = YearCap.objects.filter(
        organisation_id=organisation_id, year__in=years, entry_id__isnull=False
    ).values_list("programme_id", "year", "account_id")
    accounts = {(programme_id, year): account_id for programme_id, year, account_id in rows}
    left = balances_of(accounts.values()) if accounts else {}
    return {key: left[account_id].available_micros for key, account_id in accounts.items()}


@dataclass(frozen=True, slots=True)
class DrawnVoucher:
    """A voucher as far as drawing on it needs, with its organisation's cap of one year."""

    id: UUID
    organisation_id: UUID
    programme_id: UUID
    state: str
    expires_at: datetime
    account_id: UUID
    cap_of_year_micros: int | None
    """What the terms allow in a year; None without a cap."""
    cap_id: UUID | None
    """None without a cap, and where the year's is not open yet."""
    cap_account_id: UUID | None
    cap_filled: bool


def drawn_vouchers(ids: Collection[UUID], *, year: int) -> dict[UUID, DrawnVoucher]:
    """Vouchers that have ever been released, by id. By SQL: whole rows and terms would cost ten times as much."""
    with connection.cursor() as cursor:
        cursor.execute(_DRAWN, [year, list(ids)])
        return {row[0]: DrawnVoucher(*row) for row in cursor.fetchall()}


_DRAWN: Final = """
    select v.id, v.organisation_id, r.programme_id, v.state, v.expires_at, v.account_id,
        (r.terms ->> 'cap_per_organisation_year_micros')::bigint, c.id, c.account_id, c.entry_id is not null
    from subsidies_voucher v join subsidies_programmeversion r on r.id = v.version_id
    left join subsidies_yearcap c on c.organisation_id = v.organisation_id and c.programme_id = r.programme_id
        and c.year = %s and r.terms ->> 'cap_per_organisation_year_micros' is not null
    where v.id = any(%s::uuid[]) and v.account_id is not null"""


def released_among(ids: Collection[UUID]) -> set[UUID]:
    """Those of the vouchers that are released, as of this statement."""
    with connection.cursor() as cursor:
        cursor.execute(
            "select id from subsidies_voucher where id = any(%s::uuid[]) and state = %s",
            [list(ids), VoucherState.RELEASED.value],
        )
        return {row[0] for row in cursor.fetchall()}


def usable_vouchers(organisation_id: UUID, *, now: datetime) -> list[Voucher]:
    """Released vouchers of an organisation whose time is now, the one that lapses first first."""
    rows = _usable(organisation_id, now=now).select_related("version__programme")
    return list(rows.order_by("expires_at", "id"))


@dataclass(frozen=True, slots=True)
class Purse:
    """What an organisation can spend now: its own money, and what its usable vouchers have left."""

    balance_micros: int
    vouchers_micros: int


def purse_of(organisation_id: UUID, *, now: datetime) -> Purse:
    """The organisation's purse, in one query."""
    left = available_by_kind(
        {
            "balance": [organisation_id],
            "voucher": _usable(organisation_id, now=now).order_by().values_list("id", flat=True),
        }
    )
    return Purse(left.get("balance", 0), left.get("voucher", 0))


def _usable(organisation_id: UUID, *, now: datetime) -> QuerySet[Voucher]:
    return Voucher.objects.filter(
        organisation_id=organisation_id,
        state=VoucherState.RELEASED,
        valid_from__lte=now,
        expires_at__gt=now,
    )
