"""Every address of the hub's control plane. The data plane's are in `asgi.py`."""

from collections.abc import Sequence

from django.urls import URLPattern, URLResolver, include, path
from django.views.generic import RedirectView

from mosu.web import admin_site, look
from mosu.web.api import api
from mosu.web.failing import failed
from mosu.web.views import (
    account,
    admissions,
    applications,
    bills,
    books,
    claims,
    costs,
    documents,
    findings,
    front,
    imports,
    ledger,
    money,
    nodes,
    notices,
    offer_terms,
    offers,
    orders,
    organisation,
    pools,
    programmes,
    quotes,
    receipts,
    sales,
    samples,
    shelf,
    statements,
    today,
    trail,
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
    path("", front.landing, name="home"),
    path("data/", front.data, name="data"),
    path("evaluation/", front.evaluation, name="evaluation"),
    path("finance/", front.finance, name="finance"),
    path("services/", front.services, name="services"),
    path("compute/", shelf.shelf, name="shelf"),
    path("compute/saved/", shelf.saved, name="saved"),
    path("compute/saved/<str:search_id>/delete/", shelf.delete_saved, name="delete_search"),
    path("search/", shelf.search, name="search"),
    path("offers/<str:offer_id>/", shelf.offer, name="offer"),
    path("compare/", shelf.compare, name="compare"),
    path("quote/", quotes.quote, name="quote"),
    path("quotes/<str:quote_id>/", quotes.checkout, name="checkout"),
    path("quotes/<str:quote_id>/accept/", quotes.accept, name="accept"),
    path("orders/", orders.orders, name="orders"),
    path("orders/<str:order_id>/", orders.order, name="order"),
    path("orders/<str:order_id>/now/", orders.order_now, name="order_now"),
    path("orders/<str:order_id>/cancel/", orders.cancel, name="cancel"),
    path("receipts/<str:receipt_id>/", receipts.receipt, name="receipt"),
    path("verify/<str:number>/<str:code>/", receipts.verify, name="verify"),
    path("bills/", bills.bills, name="bills"),
    path("costs/", costs.costs, name="costs"),
    path("costs/<str:month>/focus/<str:version>/", costs.focus, name="costs_focus"),
    path("bills/<str:month>/", bills.bill, name="bill"),
    path("today/", today.today, name="today"),
    path("desk/", include("mosu.web.views.desk.urls")),
    path("ledger/", ledger.search, name="ledger"),
    path("ledger/days/", ledger.days, name="ledger_days"),
    path("ledger/entries/<str:entry_id>/", ledger.entry, name="ledger_entry"),
    path("ledger/accounts/<str:account_id>/", ledger.account, name="ledger_account"),
    path("pools/", pools.pools, name="pools"),
    path("pools/new/", pools.new_pool, name="new_pool"),
    path("pools/<str:pool_id>/", pools.pool, name="pool"),
    path("pools/<str:pool_id>/nodes/", nodes.nodes, name="pool_nodes"),
    path("pools/<str:pool_id>/work/", nodes.work, name="pool_work"),
    path("pools/<str:pool_id>/blackouts/", nodes.blackouts, name="pool_blackouts"),
    path("pools/<str:pool_id>/state/", pools.pool_state, name="pool_state"),
    path("pools/<str:pool_id>/token/", pools.pool_token, name="pool_token"),
    path("nodes/<str:node_id>/", nodes.node, name="node"),
    path("nodes/<str:node_id>/state/", nodes.node_state, name="node_state"),
    path("blackouts/<str:blackout_id>/lift/", nodes.blackout_lift, name="blackout_lift"),
    path("my-offers/", offers.my_offers, name="my_offers"),
    path("my-offers/new/", offers.new_offer, name="new_offer"),
    path("my-offers/imports/", imports.offer_imports, name="offer_imports"),
    path("my-offers/imports/<str:import_id>/", imports.offer_import, name="offer_import"),
    path("my-offers/imports/<str:import_id>/now/", imports.import_now, name="import_now"),
    path("my-offers/imports/<str:import_id>/decide/", imports.import_decide, name="import_decide"),
    path("my-offers/imports/<str:import_id>/release/", imports.import_release, name="import_release"),
    path("my-offers/<str:offer_id>/", offers.my_offer, name="my_offer"),
    path("my-offers/<str:offer_id>/terms/", offer_terms.offer_terms, name="offer_terms"),
    path("my-offers/<str:offer_id>/state/", offers.offer_state, name="offer_state"),
    path("sales/", sales.sales, name="sales"),
    path("statements/", statements.statements, name="statements"),
    path("statements/<str:statement_id>/", statements.statement, name="statement"),
    path("statements/<str:statement_id>/pay/", statements.pay, name="statement_pay"),
    path(
        "statements/<str:statement_id>/payouts/<str:payout_id>/confirm/",
        statements.confirm,
        name="payout_confirm",
    ),
    path(
        "statements/<str:statement_id>/payouts/<str:payout_id>/reject/",
        statements.reject,
        name="payout_reject",
    ),
    path("owed/", sales.owed, name="owed"),
    path("owed/<str:organisation_id>/", sales.owed_to, name="owed_to"),
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
    path("organisation/admission/", admissions.ask_admission, name="ask_admission"),
    path("admissions/<str:admission_id>/withdraw/", admissions.withdraw, name="admission_withdraw"),
    path("documents/<str:document_id>/", documents.document, name="document"),
    path("money/", money.money, name="money"),
    path("money/deposits/", money.deposits, name="deposits"),
    path("vouchers/", vouchers.vouchers, name="vouchers"),
    path("vouchers/<str:voucher_id>/", vouchers.voucher, name="voucher"),
    path("programmes/", programmes.programmes, name="programmes"),
    path("programmes/<str:programme_id>/", programmes.programme, name="programme"),
    path("applications/", applications.applications, name="applications"),
    path("applications/<str:application_id>/", applications.application, name="application"),
    path("applications/<str:application_id>/withdraw/", applications.withdraw, name="application_withdraw"),
    path("claims/", claims.claims, name="claims"),
    path("notices/", notices.notices, name="notices"),
    path("notices/read/", notices.all_read, name="all_read"),
    path("notices/<str:notice_id>/", notices.notice, name="notice"),
    path("account/", include("mosu.web.account_urls")),
    path("language/", account.choose_language, name="set_language"),
    path("light/", account.set_light, name="set_light"),
    path("books/", books.books, name="books"),
    path("books/audit/", trail.audit, name="books_audit"),
    path("books/public/", books.public, name="books_public"),
    path("books/samples/", samples.samples, name="samples"),
    path("books/samples/<str:sample_id>/", samples.sample, name="sample"),
    path("books/samples/<str:sample_id>/checks.csv", samples.sample_checks, name="sample_checks"),
    path("books/orders/<str:order_id>/", samples.chain, name="chain"),
    path("books/accounts/<str:account_id>/", books.account, name="book_account"),
    path("books/findings/", findings.findings, name="findings"),
    path("books/findings/new/", findings.open_finding, name="finding_new"),
    path("books/findings/<str:finding_id>/", findings.finding, name="finding"),
    path("admin/", admin_site.site.urls),
    path("look/", look.look, name="look"),
]
