"""Every address of the hub's control plane. The data plane's are in `asgi.py`."""

from django.urls import URLPattern, URLResolver, include, path
from django.views.generic import RedirectView
from django.views.i18n import set_language

from mosu.web import look
from mosu.web.api import api
from mosu.web.views import account, orders, shelf

urlpatterns: list[URLPattern | URLResolver] = [
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
    path("you/organisation/", account.choose_organisation, name="choose_organisation"),
    path("you/found/", account.found, name="found"),
    path("invitations/<str:secret>", account.invitation, name="invitation"),
    path("account/", include("allauth.urls")),
    path("language/", set_language, name="set_language"),
    path("light/", account.set_light, name="set_light"),
    path("look/", look.look, name="look"),
    path("api/docs", RedirectView.as_view(url="/api/v1/docs")),
    path("api/v1/", api.urls),
]
