"""Only the API: the pages are tested with the pages."""

from django.urls import path

from mosu.web.api import api

urlpatterns = [path("api/v1/", api.urls)]
