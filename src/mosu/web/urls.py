"""Every address of the hub's control plane. The data plane's are in `asgi.py`."""

from collections.abc import Sequence

from django.urls import URLPattern, URLResolver, include, path
from django.views.generic import RedirectView

from mosu.web import admin_site, look
from mosu.web.api import api
from mosu.web.failing import failed
from mosu.web.views import (
    account,
    books,
    documents,
    findings,
    money,
    notices,
    orders,
    organisation,
    programmes,
    shelf,
    vouchers,
)

API_URLS, API_APP, API_NAMESPACE = api.urls


def by_first_word(patterns: Sequence[URLPattern | URLResolver]) -> list[URLPattern | URLResolver]:
    """The same addresses, those that begin with the same word together: Django tries one after the other."""
    groups: dict[str, list[URLPattern]] = {}
    alone: list[URLPattern | URLResolver] = []
    for pattern in patterns:
        word, slash, rest = str(pattern.pattern).partition("/")
        if isinstance(pattern, URLPattern) and slash and "<" not in word:
            shorter = path(rest, pattern.callback, pattern.default_args, pattern.name)
            groups.setdefault(f"{word}/", []).append(shorter)
        else:
            alone.append(pattern)
    return [*(path(word, include(group)) for word, group in groups.items()), *alone]


handler500 = failed

urlpatterns: list[URLPattern | URLResolver] = [
    path("api/v1/", (by_first_word(API_URLS), API_APP, API_NAMESPACE)),
    path("api/docs", RedirectView.as_view(url="/api/v1/docs")),
    path("", shelf.shelf, name="home"),
    path("compute/", shelf.shelf, name="shelf"),
    path("quote/", shelf.quote, name="quote"),
    path("quotes/<str:quote_id>/accept/", shelf.accept, name="accept"),
    path("orders/", orders.orders, name="orders"),
    path("orders/<str:order_id>/", orders.order, name="order"),
    path("orders/<str:order_id>/now/", orders.order_now, name="order_now"),
    path("orders/<str:order_id>/cancel/", orders.cancel, name="cancel"),
    path("receipts/<str:receipt_id>/", orders.receipt, name="receipt"),
    path("verify/<str:number>/<str:code>/", orders.verify, name="verify"),
    path("you/", account.account, name="account"),
    path("you/tokens/", account.tokens, name="tokens"),
    path("you/organisation/", organisation.choose_organisation, name="choose_organisation"),
    path("you/found/", organisation.found, name="found"),
    path("invitations/<str:secret>", organisation.invitation, name="invitation"),
    path("organisation/", organisation.organisation, name="organisation"),
    path("organisation/members/", organisation.members, name="members"),
    path("organisation/members/<str:member_id>/", organisation.member, name="member"),
    path("organisation/projects/", organisation.projects, name="projects"),
    path("organisation/projects/<str:project_id>/", organisation.project, name="project"),
    path("organisation/facts/", documents.facts, name="facts"),
    path("organisation/documents/", documents.documents, name="documents"),
    path("documents/<str:document_id>/", documents.document, name="document"),
    path("money/", money.money, name="money"),
    path("money/deposits/", money.deposits, name="deposits"),
    path("vouchers/", vouchers.vouchers, name="vouchers"),
    path("vouchers/<str:voucher_id>/", vouchers.voucher, name="voucher"),
    path("programmes/", programmes.programmes, name="programmes"),
    path("programmes/<str:programme_id>/", programmes.programme, name="programme"),
    path("applications/", programmes.applications, name="applications"),
    path("claims/", programmes.claims, name="claims"),
    path("notices/", notices.notices, name="notices"),
    path("notices/read/", notices.all_read, name="all_read"),
    path("notices/<str:notice_id>/", notices.notice, name="notice"),
    path("account/", include("allauth.urls")),
    path("language/", account.choose_language, name="set_language"),
    path("light/", account.set_light, name="set_light"),
    path("books/", books.books, name="books"),
    path("books/audit/", books.audit, name="books_audit"),
    path("books/public/", books.public, name="books_public"),
    path("books/samples/", books.samples, name="samples"),
    path("books/samples/<str:sample_id>/", books.sample, name="sample"),
    path("books/samples/<str:sample_id>/checks.csv", books.sample_checks, name="sample_checks"),
    path("books/orders/<str:order_id>/", books.chain, name="chain"),
    path("books/accounts/<str:account_id>/", books.account, name="book_account"),
    path("books/findings/", findings.findings, name="findings"),
    path("books/findings/new/", findings.open_finding, name="finding_new"),
    path("books/findings/<str:finding_id>/", findings.finding, name="finding"),
    path("admin/", admin_site.site.urls),
    path("look/", look.look, name="look"),
]
