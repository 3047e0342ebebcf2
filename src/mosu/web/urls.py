"""Every address of the hub's control plane. The data plane's are in `asgi.py`."""

from django.urls import URLPattern, URLResolver, include, path
from django.views.generic import RedirectView
from django.views.i18n import set_language

from mosu.web import views
from mosu.web.api import api
from mosu.web.failing import failed

handler500 = failed

urlpatterns: list[URLPattern | URLResolver] = [
    path("", views.shelf, name="home"),
    path("compute/", views.shelf, name="shelf"),
    path("quote/", views.quote, name="quote"),
    path("quotes/<str:quote_id>/accept/", views.accept, name="accept"),
    path("orders/", views.orders, name="orders"),
    path("orders/<str:order_id>/", views.order, name="order"),
    path("orders/<str:order_id>/now/", views.order_now, name="order_now"),
    path("orders/<str:order_id>/cancel/", views.cancel, name="cancel"),
    path("receipts/<str:receipt_id>/", views.receipt, name="receipt"),
    path("verify/<str:number>/<str:code>/", views.verify, name="verify"),
    path("you/", views.account, name="account"),
    path("you/organisation/", views.choose_organisation, name="choose_organisation"),
    path("you/found/", views.found, name="found"),
    path("invitations/<str:secret>", views.invitation, name="invitation"),
    path("account/", include("allauth.urls")),
    path("language/", set_language, name="set_language"),
    path("api/docs", RedirectView.as_view(url="/api/v1/docs")),
    path("api/v1/", api.urls),
]
