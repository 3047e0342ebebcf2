"""The page for what nothing refused: the machine's trouble by its name, a bug without a word of it."""

import sys

from django.http import HttpRequest, HttpResponse
from django.template import loader

from mosu.platform.database.troubles import trouble_of
from mosu.platform.problems import refusal_of, response_of
from mosu.web.middleware import is_api
from mosu.web.words import said_of


def failed(request: HttpRequest) -> HttpResponse:
    """Django calls it while the exception is being handled. Nothing here asks the database: it may be what failed."""
    error = sys.exc_info()[1]
    if is_api(request):
        return response_of(request, refusal_of(error or RuntimeError()))
    trouble = trouble_of(error) if error else None
    if trouble is None:
        return HttpResponse(loader.render_to_string("500.html"), status=500)
    said = loader.render_to_string("pages/refused.html", {"refusal": said_of(trouble)})
    answer = HttpResponse(said, status=trouble.status)
    if "retry_after_s" in trouble.facts:
        answer["Retry-After"] = str(trouble.facts["retry_after_s"])
    return answer
