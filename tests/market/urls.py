"""The counter's operations alone, so that its tests need no other context's."""

from django.urls import path
from ninja import NinjaAPI

from mosu.market.api import routers
from mosu.platform.problems import install

api = NinjaAPI(urls_namespace="market-tests")
install(api)
for prefix, router in routers:
    api.add_router(prefix, router)

urlpatterns = [path("api/v1/", api.urls)]
