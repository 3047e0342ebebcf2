"""Every address of the hub's control plane. The data plane's are in `asgi.py`."""

from collections.abc import Sequence

from django.urls import URLPattern, URLResolver, include, path
from django.views.generic import RedirectView
from django.views.i18n import set_language

from mosu.web import look
from mosu.web.api import api
from mosu.web.failing import failed
from mosu.web.views import account, front, offers, orders, shelf

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
    path("compute/", offers.shelf, name="shelf"),
    path("compute/saved/", offers.saved, name="saved"),
    path("compute/saved/<str:search_id>/delete/", offers.delete_saved, name="delete_search"),
    path("search/", offers.search, name="search"),
    path("offers/<str:offer_id>/", offers.offer, name="offer"),
    path("compare/", offers.compare, name="compare"),
    path("quote/", shelf.quote, name="quote"),
    path("quotes/<str:quote_id>/accept/", shelf.accept, name="accept"),
    path("orders/", orders.orders, name="orders"),
    path("orders/<str:order_id>/", orders.order, name="order"),
    path("orders/<str:order_id>/now/", orders.order_now, name="order_now"),
    path("orders/<str:order_id>/cancel/", orders.cancel, name="cancel"),
    path("receipts/<str:receipt_id>/", orders.receipt, name="receipt"),
    path("verify/<str:number>/<str:code>/", orders.verify, name="verify"),
    path("you/", account.account, name="account"),
    path("you/organisation/", account.choose_organisation, name="choose_organisation"),
    path("you/found/", account.found, name="found"),
    path("invitations/<str:secret>", account.invitation, name="invitation"),
    path("account/", include("allauth.urls")),
    path("language/", set_language, name="set_language"),
    path("light/", account.set_light, name="set_light"),
    path("look/", look.look, name="look"),
]
