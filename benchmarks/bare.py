"""The least that Django can do: one view, no middleware, no database, a constant answer."""

import django
from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpRequest, JsonResponse
from django.urls import path

settings.configure(ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, MIDDLEWARE=[])
django.setup()


def row(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"id": "order_01m7zzzz", "state": "settled", "total": "1.60", "currency": "CNY"})


urlpatterns = [path("row", row)]
application = WSGIHandler()
