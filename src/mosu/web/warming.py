"""What a web process reads before it says that it is ready."""

import ctypes
import gc
import logging
from threading import Event

from django.db import connection
from django.template.loader import get_template
from django.urls import reverse
from django.utils import timezone

from mosu.market.catalogue import catalogue_at

_under_way = Event()


def is_warming() -> bool:
    """Whether this process still reads the offers for the first time. It answers meanwhile; the shelf waits."""
    return _under_way.is_set()


def begin() -> None:
    """From now on until `warm_up` has ended, this process is not ready."""
    _under_way.set()


def warm_up() -> None:
    """Load pages and read the catalogue before the first visitor asks for them.

    After a failure, who comes first tries again.
    """
    try:
        reverse("shelf")  # every address, and so every view
        get_template("pages/landing.html")
        catalogue_at(timezone.now())
    except Exception:
        logging.getLogger(__name__).warning("the catalogue was not read at the start", exc_info=True)
    finally:
        connection.close()
        # What stands now stands for as long as the process: not to be gone through at every collection. What reading
        # took goes back to the system.
        gc.collect()
        gc.freeze()
        ctypes.CDLL(None).malloc_trim(0)
        _under_way.clear()
