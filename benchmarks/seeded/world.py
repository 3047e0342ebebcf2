"""Who there is on a made-up hub: organisations, their people and projects, the hub's own people, programmes."""

# ruff: noqa: PLC0415 - Django is set up before these are called; made-up people need no secrecy
import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import psycopg
from psycopg.types.json import Jsonb

from benchmarks.seeded.rows import Ids, Table

PASSWORD: Final = "a password of the seeded hub"  # noqa: S105 - of nobody
_NAMES: Final = (
    "明",
    "启",
    "曜",
    "澜",
    "衡",
    "图",
    "灵",
    "元",
    "知",
    "行",
    "格",
    "致",
    "深",
    "语",
    "境",
    "源",
)
_FIELDS: Final = ("智能", "生物", "机器人", "视觉", "语音", "芯片", "教育", "医疗", "出行", "材料")
_KINDS: Final = ("company", "company", "company", "company", "institute", "team")
_PROGRAMMES: Final = (
    (
        "compute-2026",
        "算力券 2026",
        "Compute vouchers 2026",
        "compute_voucher",
        "checkout",
        "0.30",
        "6000.00",
    ),
    (
        "domestic-2026",
        "国产算力券",
        "Vouchers for domestic cards",
        "compute_voucher",
        "checkout",
        "0.40",
        "4000.00",
    ),
    ("training-2026", "训练补贴", "Training refunds", "compute_voucher", "reimbursement", "0.20", "3000.00"),
)
_DOCUMENT: Final = """id: {code}
version: 1
title: {{zh: {zh}, en: {en}}}
kind: {kind}
mode: {mode}
source: Made up for a benchmark.
funders:
  - {{name: City, share: "1"}}
rate: "{rate}"
pool: "900000000.00"
cap_per_order: "{cap}"
cap_per_organisation_year: "2000000.00"
validity_days: 365
{claim}shelves: [compute]
spend_kinds: [card_hours, core_hours]
unrelated_parties: true
eligibility:
  - id: resident
    when: "'resident' in organisation.capabilities"
    reason: {{zh: 须为入驻单位, en: Only residents of the hub may have it}}
"""


@dataclass(slots=True)
class Resident:
    """An organisation that buys."""

    id: UUID
    name: str
    owner_id: UUID
    developer_id: UUID
    projects: Sequence[UUID]
    vouchers: list["VoucherHeld"] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Programme:
    """A released programme with its one version."""

    id: UUID
    version_id: UUID
    code: str
    title_zh: str
    title_en: str
    rate: str
    is_refund: bool
    cap_micros: int
    pool_micros: int


@dataclass(frozen=True, slots=True)
class VoucherHeld:
    """A voucher, its account, and the cap of its organisation's year."""

    id: UUID
    programme: Programme
    account_id: UUID
    cap_id: UUID
    cap_account_id: UUID
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class People:
    """By whom pages are looked at; all have `PASSWORD`."""

    operator_id: UUID
    checker_id: UUID
    auditor_id: UUID
    supplier_owner_id: UUID


class Population:
    """Makes them; `residents` and `programmes` are there afterwards."""

    def __init__(
        self, connection: psycopg.Connection[Any], chance: random.Random, ids: Ids, *, since: datetime
    ) -> None:
        from allauth.account.models import EmailAddress
        from django.contrib.auth.hashers import make_password

        from mosu.platform import models
        from mosu.subsidies import models as subsidies

        self._chance, self._ids, self._since = chance, ids, since
        self._password = make_password(PASSWORD, salt="benchmark")
        self._user = Table(
            connection, models.User, ("id", "email", "name", "language", "password", "date_joined")
        )
        self._email = Table(connection, EmailAddress, ("user_id", "email", "verified", "primary"))
        self._member = Table(
            connection, models.Membership, ("id", "organisation_id", "user_id", "role", "created_at")
        )
        self._hub_member = Table(connection, models.HubMembership, ("id", "user_id", "role", "created_at"))
        self._organisation = Table(
            connection, models.Organisation, ("id", "name", "kind", "capabilities", "state", "created_at")
        )
        self._project = Table(connection, models.Project, ("id", "organisation_id", "name", "created_at"))
        self._fact = Table(
            connection, models.Fact, ("id", "organisation_id", "name", "value", "source", "recorded_at")
        )
        self._programme = Table(connection, subsidies.Programme, ("id", "code", "kind", "mode", "created_at"))
        self._version = Table(
            connection,
            subsidies.ProgrammeVersion,
            (
                "id", "programme_id", "number", "document", "sha256", "terms", "pool_micros", "title_zh", "title_en",
                "state", "maker_id", "checker_id", "proposed_at", "released_at",
            ),
        )  # fmt: skip

    @property
    def tables(self) -> Sequence[Table]:
        return (
            self._user, self._email, self._member, self._hub_member, self._organisation, self._project, self._fact,
            self._programme, self._version,
        )  # fmt: skip

    def hub_people(self, supplier_id: UUID) -> People:
        """One of each hub role, and the owner of a supplier."""
        made = {}
        for role in ("operator", "checker", "auditor"):
            made[role] = self._person(role)
            self._hub_member.add(self._ids.at(self._since), made[role], role, self._since)
        owner = self._person("supplier")
        self._join(supplier_id, owner, "owner")
        return People(made["operator"], made["checker"], made["auditor"], owner)

    def resident(self, number: int) -> Resident:
        at = self._since + timedelta(minutes=number)
        key = self._ids.at(at)
        name = f"{self._chance.choice(_NAMES)}{self._chance.choice(_NAMES)}{self._chance.choice(_FIELDS)} {number:04d}"
        self._organisation.add(key, name, _KINDS[number % len(_KINDS)], ["resident"], "active", at)
        owner, developer = self._person(f"owner{number}"), self._person(f"developer{number}")
        self._join(key, owner, "owner")
        self._join(key, developer, "developer")
        projects = []
        for project in ("default", "训练 training", "评测 evaluation")[: 1 + number % 3]:
            projects.append(self._ids.at(at))
            self._project.add(projects[-1], key, project, at)
        for fact, value in (
            ("registered_in", "shanghai"),
            ("staff", self._chance.randrange(3, 300)),
            ("founded", 2024),
        ):
            self._fact.add(self._ids.at(at), key, fact, Jsonb(value), "made up", at)
        return Resident(key, name, owner, developer, projects)

    def programmes(self, people: People) -> list[Programme]:
        from mosu.subsidies.rules import parse_programme

        found = []
        for code, zh, en, kind, mode, rate, cap in _PROGRAMMES:
            claim = "claim_days: 365\n" if mode == "reimbursement" else ""
            text = _DOCUMENT.format(
                code=code, zh=zh, en=en, kind=kind, mode=mode, rate=rate, cap=cap, claim=claim
            )
            terms = parse_programme(text, source="seed.yaml", currency="CNY")
            key, version = self._ids.at(self._since), self._ids.at(self._since)
            self._programme.add(key, code, kind, mode, self._since)
            self._version.add(
                version, key, 1, text, hashlib.sha256(text.encode()).hexdigest(), Jsonb(terms.to_json()),
                terms.pool_micros, zh, en, "released", people.operator_id, people.checker_id, self._since, self._since,
            )  # fmt: skip
            found.append(
                Programme(
                    id=key,
                    version_id=version,
                    code=code,
                    title_zh=zh,
                    title_en=en,
                    rate=rate,
                    is_refund=mode == "reimbursement",
                    cap_micros=terms.cap_per_order_micros or 0,
                    pool_micros=terms.pool_micros,
                )
            )
        return found

    def _person(self, name: str) -> UUID:
        key = self._ids.at(self._since)
        email = f"{name}@seeded.example"
        self._user.add(
            key, email, name, ("zh-hans", "en")[self._chance.randrange(2)], self._password, self._since
        )
        self._email.add(key, email, True, True)
        return key

    def _join(self, organisation_id: UUID, user_id: UUID, role: str) -> None:
        self._member.add(self._ids.at(self._since), organisation_id, user_id, role, self._since)
