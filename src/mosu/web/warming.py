"""What a web process reads before it listens."""

import ctypes
import gc
import logging
from typing import Final
from urllib.parse import urlsplit

from django.conf import settings
from django.db import connection
from django.urls import reverse
from django.utils import timezone

from mosu.kernel.memory import nothing_collected
from mosu.market.catalogue import catalogue_at
from mosu.web.bridge import WsgiApp, answered, environ_of

_FIRST_SEEN: Final = ("home", "shelf")
"""The pages that a stranger opens first: drawn once, with their templates and all that they are made of."""


def warm_up(application: WsgiApp) -> None:
    """Load every view, read the catalogue and draw the first pages, so that no visitor waits for it.

    After a failure, who comes first tries again.
    """
    try:
        with nothing_collected():
            reverse(_FIRST_SEEN[0])  # loads every view
        catalogue_at(timezone.now())
        for name in _FIRST_SEEN:
            _draw(application, reverse(name))
    except Exception:
        logging.getLogger(__name__).warning("the catalogue was not read at the start", exc_info=True)
    finally:
        connection.close()
        # What stands now stands for as long as the process: not to be gone through at every collection. What reading
        # took goes back to the system.
        gc.collect()
        gc.freeze()
        ctypes.CDLL(None).malloc_trim(0)


def _draw(application: WsgiApp, address: str) -> None:
    """Answer `address` as if a stranger had asked."""
    hub = urlsplit(settings.MOSU_URL)
    scope = {
        "method": "GET",
        "path": address,
        "query_string": b"",
        "http_version": "1.1",
        "scheme": hub.scheme,
        "headers": [(b"host", hub.netloc.encode())],
    }
    answered(application, environ_of(scope, b""))
