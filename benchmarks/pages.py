"""Every page of a seeded hub, for each role: how long the server takes, how many queries, what is sent at first.

Pages are found by the hub's own addresses and their ids filled from rows that the role may see, so that a new page is
measured the day it comes.
"""

# ruff: noqa: PLC0415 - Django is set up before these are called
import gzip
import http.client
import re
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlencode, urljoin, urlsplit
from uuid import UUID

from benchmarks.bars import Figure
from benchmarks.seeded.hub import Seeded
from benchmarks.shelf import mix
from benchmarks.traffic import Asked

P95_MS: Final = 150.0
QUERIES: Final = 12
FIRST_LOAD_KB: Final = 150.0
_OWNERS: Final = ("organisation_id", "supplier_id", "owner_id", "buyer_organisation_id", "user_id")
_PREFIXES: Final = {
    "organisation": "org",
    "membership": "member",
    "invitation": "invite",
    "allocation": "alloc",
    "note": "credit",
}
_SKIPPED: Final = ("/api/", "/static/", "/account/logout", "/language/", "/light/")
_TRIES: Final = 4
_AGAIN: Final = 4
_FIRST: Final = 8
_SHELF: Final = "/compute/"
_ASSETS: Final = re.compile(r'(?:href|src)="(/static/[^"]+\.(?:css|js|svg))"')
_FONTS: Final = re.compile(r'url\("?([^")]+\.woff2)"?\)')


@dataclass(frozen=True, slots=True)
class Persona:
    """Somebody who looks: the session's cookie, and whose rows fill the addresses."""

    name: str
    cookie: str
    owner_ids: tuple[UUID, ...]


@dataclass(frozen=True, slots=True)
class Page:
    """One page for one persona."""

    path: str
    address: str
    who: str
    p95_ms: float
    median_ms: float
    queries: int
    sent_kb: float
    first_load_kb: float
    is_list: bool
    """Whether it lists; what stands at an id is one record, which may hold tables of its own."""

    @property
    def shortfalls(self) -> list[str]:
        found = []
        if self.p95_ms > P95_MS:
            found.append(f"{self.p95_ms:.0f} ms")
        if self.is_list and self.queries > QUERIES:
            found.append(f"{self.queries} queries")
        if self.first_load_kb > FIRST_LOAD_KB:
            found.append(f"{self.first_load_kb:.0f} KB")
        return found


def measured(url: str, seeded: Seeded, *, times: int) -> tuple[list[Figure], list[Page]]:
    """The worst of all pages beside the bars, and each page."""
    _warm(url)
    pages: list[Page] = []
    unseen: set[str] = set()
    for persona in personas(seeded):
        for path in _paths():
            page = _page(url, path, persona, times=times)
            if page is None:
                unseen.add(path)
            else:
                pages.append(page)
    unseen -= {page.path for page in pages}
    return _figures(pages, unseen), pages


def personas(seeded: Seeded) -> list[Persona]:
    """A stranger, the resident's owner, the supplier's owner, the operator, the auditor; each signed in."""
    people = seeded.people
    resident, supplier = (seeded.resident.id, seeded.resident.owner_id), (seeded.supplier_id,)
    return [
        Persona("nobody", "", resident),
        Persona("resident owner", signed_in(seeded.resident.owner_id), resident),
        Persona("supplier owner", signed_in(people.supplier_owner_id), (*supplier, people.supplier_owner_id)),
        Persona("operator", signed_in(people.operator_id), (*resident, people.operator_id)),
        Persona("auditor", signed_in(people.auditor_id), (*resident, people.auditor_id)),
    ]


def signed_in(user_id: UUID) -> str:
    """A session of the user's, as a cookie."""
    from django.conf import settings
    from django.test import Client

    from mosu.platform.models import User

    client = Client()
    client.force_login(User.objects.get(id=user_id), backend=settings.AUTHENTICATION_BACKENDS[0])
    return client.cookies[settings.SESSION_COOKIE_NAME].value


def _warm(url: str) -> None:
    """Until every process of the hub has answered a few times, and this one has read the catalogue."""
    nobody = Persona("nobody", "", ())
    _queries(_SHELF, nobody)
    for _ in range(20):
        for address in ("/", _SHELF):
            _get(url, address, nobody)
        time.sleep(0.1)


def after_a_start(url: str) -> list[Figure]:
    """The first answers of a hub that has only just said that it is ready: a figure of its own."""
    nobody = Persona("nobody", "", ())
    found = []
    for name, address in (("front page", "/"), ("shelf", _SHELF)):
        took = []
        for _ in range(_FIRST):
            began = time.perf_counter()
            status, _, _ = _get(url, address, nobody)
            took.append((time.perf_counter() - began) * 1000)
            if status != 200:
                raise RuntimeError(f"{address} answered {status}")
        note = f"slowest of the first {_FIRST} after /readyz said yes; then {statistics.median(took):.0f} ms"
        found.append(Figure(f"{name} after a start", max(took), "ms", note=note))
    return found


def mixed_reads(url: str, seeded: Seeded) -> list[Asked]:
    """What people and programs read: the shelf's page and search, order and receipt pages, runs as JSON, Today."""
    from django.conf import settings

    from mosu.platform.actors import Scope
    from mosu.platform.models import User
    from mosu.platform.queries import actor_for_user
    from mosu.platform.services import make_token

    resident = personas(seeded)[1]
    user = User.objects.get(id=seeded.resident.owner_id)
    _, secret = make_token(
        actor=actor_for_user(user), name="reads", scopes=[Scope.READ], organisation_id=seeded.resident.id,
        now=datetime.now(UTC),
    )  # fmt: skip
    bearer = {"Authorization": f"Bearer {secret}"}
    cookie = {"Cookie": f"{settings.SESSION_COOKIE_NAME}={resident.cookie}", "Accept-Encoding": "gzip"}
    _warm(url)
    runs, orders, receipts = (_values(name, resident)[0] for name in ("run_id", "order_id", "receipt_id"))
    found = [
        *[
            Asked("/api/v1/offers?" + urlencode({**query, "facets": "true"}, doseq=True), {})
            for query in mix(40)
        ],
        *[Asked("/?" + urlencode(query, doseq=True), {"Accept-Encoding": "gzip"}) for query in mix(20)],
        *[Asked(f"/api/v1/runs/{runs}", bearer)] * 20,
        *[Asked(f"/orders/{orders}/", cookie)] * 10,
        *[Asked(f"/receipts/{receipts}/", cookie)] * 10,
        *[Asked("/orders/", cookie)] * 10,
    ]
    return found + ([Asked("/today/", cookie)] * 10 if _get(url, "/today/", resident)[0] == 200 else [])


def _paths() -> Iterator[str]:
    """`/orders/<str:order_id>/` and its like; none that no browser opens."""
    from django.urls import URLPattern, get_resolver

    def walk(patterns: Sequence[Any], prefix: str) -> Iterator[str]:
        for pattern in patterns:
            path = prefix + str(pattern.pattern)
            if isinstance(pattern, URLPattern):
                yield path
            else:
                yield from walk(pattern.url_patterns, path)

    for path in walk(get_resolver().url_patterns, "/"):
        if not path.startswith(_SKIPPED) and "^" not in path and "(?P" not in path:
            yield path


def _page(url: str, path: str, persona: Persona, *, times: int) -> Page | None:
    """The page with the first ids that it can be opened with; None when it is not this persona's to see."""
    for address in addresses(path, persona):
        status, _, _ = _get(url, address, persona)
        if status >= 500:
            raise RuntimeError(f"{address} as {persona.name} answered {status}")
        if status == 200:
            return _measure(url, path, address, persona, times=times)
    return None


def addresses(path: str, persona: Persona) -> Iterator[str]:
    """The path with its parameters filled, from rows of the persona's first."""
    names = re.findall(r"<(?:\w+:)?(\w+)>", path)
    choices = [_values(name, persona) for name in names]
    if not names:
        yield path
    elif names == ["number", "code"]:
        yield from (_filled(path, pair) for pair in _verifiable())
    elif all(choices):
        for turn in range(max(map(len, choices))):
            yield _filled(path, [one[min(turn, len(one) - 1)] for one in choices])


def _filled(path: str, values: Sequence[str]) -> str:
    rest = iter(values)
    return re.sub(r"<(?:\w+:)?\w+>", lambda _: next(rest), path)


def _verifiable() -> list[tuple[str, str]]:
    from mosu.market.models import Receipt
    from mosu.market.receipts import code_of

    return [(row.number, code_of(row)) for row in Receipt.objects.order_by("-id")[:1]]


def _values(name: str, persona: Persona) -> list[str]:
    """Public ids (or names) that a parameter may have."""
    from django.apps import apps
    from django.db.models import Q

    word = name.removesuffix("_id")
    prefix = _PREFIXES.get(word, word)
    if word == "year":
        return [time.strftime("%Y")]
    if word == "month":
        return [time.strftime("%Y-%m"), str(int(time.strftime("%m")))]
    if word == "version":
        return ["1.2"]
    if word in ("kind", "code", "shelf"):
        return ["compute", "compute-2026"]
    for model in apps.get_models():
        if getattr(model, "prefix", None) != prefix:
            continue
        fields = {field.attname for field in model._meta.concrete_fields}
        own = Q(pk__in=[])
        for owner in _OWNERS:
            if owner in fields:
                own |= Q(**{f"{owner}__in": persona.owner_ids})
        if model.__name__ == "Organisation":
            own |= Q(id__in=persona.owner_ids)
        rows: list[Any] = [*model._default_manager.filter(own).order_by("-pk")[:2]]
        rows += [*model._default_manager.order_by("-pk")[:_TRIES]]
        return [row.public_id for row in rows]
    return []


def _measure(url: str, path: str, address: str, persona: Persona, *, times: int) -> Page:
    """A page that seems slow is asked for again: of twenty answers, the 95th part is hardly more than the slowest."""
    _, sent, text = _get(url, address, persona)
    took = _took(url, address, persona, times=times)
    if _p95(took) > P95_MS:
        took += _took(url, address, persona, times=times * _AGAIN)
    rest = _assets_kb(url, text, persona)
    return Page(
        path=path,
        address=address,
        who=persona.name,
        p95_ms=_p95(took),
        median_ms=statistics.median(took),
        queries=_queries(address, persona),
        sent_kb=len(sent) / 1024,
        first_load_kb=len(sent) / 1024 + rest,
        is_list='<table class="list"' in text and not path.endswith(">/"),
    )


def _took(url: str, address: str, persona: Persona, *, times: int) -> list[float]:
    took = []
    for _ in range(times):
        began = time.perf_counter()
        status, _, _ = _get(url, address, persona)
        took.append((time.perf_counter() - began) * 1000)
        if status != 200:
            raise RuntimeError(f"{address} as {persona.name} answered {status} where it had answered 200")
    return took


def _p95(took: Sequence[float]) -> float:
    return statistics.quantiles(took, n=20)[-1] if len(took) > 1 else took[0]


def _queries(address: str, persona: Persona) -> int:
    """Statements that the page asks, by Django's own count in this process, which joined the hub."""
    from django.conf import settings
    from django.db import connection
    from django.test import Client
    from django.test.utils import CaptureQueriesContext

    client = Client(SERVER_NAME="localhost")
    if persona.cookie:
        client.cookies[settings.SESSION_COOKIE_NAME] = persona.cookie
    client.get(address)
    with CaptureQueriesContext(connection) as asked:
        client.get(address)
    return len(asked)


_ASSET_KB: dict[str, float] = {}


def _assets_kb(url: str, text: str, persona: Persona) -> float:
    """Style sheets, scripts, the icon, and every font that a sheet names, whether the page needs it or not."""
    total = 0.0
    for address in dict.fromkeys(_ASSETS.findall(text)):
        _, sent, content = _get(url, address, persona)
        total += _ASSET_KB.setdefault(address, len(sent) / 1024)
        if address.endswith(".css"):
            for font in dict.fromkeys(_FONTS.findall(content)):
                where = urljoin(address, font)
                if where not in _ASSET_KB:
                    _ASSET_KB[where] = len(_get(url, where, persona)[1]) / 1024
                total += _ASSET_KB[where]
    return total


def _get(url: str, address: str, persona: Persona) -> tuple[int, bytes, str]:
    """Status, what was sent, and what it says."""
    from django.conf import settings

    headers: Mapping[str, str] = {"Accept-Encoding": "gzip", "Accept-Language": "zh-CN"}
    if persona.cookie:
        headers = {**headers, "Cookie": f"{settings.SESSION_COOKIE_NAME}={persona.cookie}"}
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=180)
    try:
        connection.request("GET", address, headers=dict(headers))
        answer = connection.getresponse()
        sent = answer.read()
    finally:
        connection.close()
    whole = gzip.decompress(sent) if answer.headers.get("Content-Encoding") == "gzip" else sent
    return answer.status, sent, whole.decode("utf-8", "replace")


def _figures(pages: Sequence[Page], unseen: set[str]) -> list[Figure]:
    short = [page for page in pages if page.shortfalls]
    slow = max(pages, key=lambda page: page.p95_ms)
    lists = [page for page in pages if page.is_list] or list(pages)
    asking = max(lists, key=lambda page: page.queries)
    record = max(pages, key=lambda page: page.queries)
    heavy = max(pages, key=lambda page: page.first_load_kb)
    note = f"{len(pages)} pages with their roles"
    return [
        Figure("slowest page, p95", slow.p95_ms, "ms", P95_MS, note=f"{slow.path} as {slow.who}; {note}"),
        Figure("most queries of a list page", asking.queries, "", QUERIES, note=f"{asking.path} as {asking.who}"),
        Figure("most queries of any page", record.queries, "", note=f"{record.path} as {record.who}"),
        Figure("heaviest first load, gzip", heavy.first_load_kb, "KB", FIRST_LOAD_KB, note=heavy.path),
        Figure(
            "pages that fall short", len(short), "", 0,
            note="; ".join(f"{page.path} as {page.who}: {', '.join(page.shortfalls)}" for page in short[:12]),
        ),
        *_by_role(pages),
        Figure("addresses that nobody opened", len(unseen), "", note=", ".join(sorted(unseen))),
    ]  # fmt: skip


def _by_role(pages: Sequence[Page]) -> list[Figure]:
    """For each role, the page that is slowest."""
    found = []
    for who in dict.fromkeys(page.who for page in pages):
        own = [page for page in pages if page.who == who]
        slow = max(own, key=lambda page: page.p95_ms)
        median = statistics.median(page.median_ms for page in own)
        note = f"{slow.path}; {len(own)} pages, half of them under {median:.0f} ms"
        found.append(Figure(f"slowest page as {who}, p95", slow.p95_ms, "ms", P95_MS, note=note))
    return found


WORST: Final = 10
"""So many pages are told one by one."""


def table_of(pages: Sequence[Page]) -> list[tuple[str, ...]]:
    """The slowest pages."""
    head = ("page", "as", "median ms", "p95 ms", "queries", "KB", "first load KB")
    rows = [
        (
            page.path, page.who, f"{page.median_ms:.0f}", f"{page.p95_ms:.0f}", str(page.queries),
            f"{page.sent_kb:.1f}", f"{page.first_load_kb:.0f}",
        )
        for page in sorted(pages, key=lambda page: -page.p95_ms)[:WORST]
    ]  # fmt: skip
    return [head, *rows]
