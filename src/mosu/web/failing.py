"""What answers where no view does: the machine's trouble by its name, a bug without a word of it, no such address."""

import sys

from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest, HttpResponse
from django.template import loader
from django.views.defaults import bad_request, page_not_found

from mosu.kernel.refusals import DomainError
from mosu.platform.database.troubles import trouble_of
from mosu.platform.problems import BodyTooLarge, Malformed, nothing_here, refusal_of, response_of
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
    answer = _refused(trouble)
    if "retry_after_s" in trouble.facts:
        answer["Retry-After"] = str(trouble.facts["retry_after_s"])
    return answer


def nothing_there(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Programs get a problem: a page would hand them a cookie for its forms."""
    if is_api(request):
        return response_of(request, nothing_here())
    return page_not_found(request, exception)


def malformed(request: HttpRequest, exception: Exception) -> HttpResponse:
    """The same for what Django itself cannot read; what is too large is told so."""
    if is_api(request):
        return response_of(
            request, Malformed("The request cannot be read.", hint="Send valid JSON in UTF-8.")
        )
    if isinstance(exception, RequestDataTooBig):
        size = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
        return _refused(BodyTooLarge(f"The request is larger than {size} bytes.", hint="Send less at once."))
    return bad_request(request, exception)


def _refused(refusal: DomainError) -> HttpResponse:
    said = loader.render_to_string("pages/refused.html", {"refusal": said_of(refusal)})
    return HttpResponse(said, status=refusal.status)
