"""Times as they come in: with their zone, and within what every clock, database and calendar here can hold."""

from datetime import UTC, datetime
from typing import Annotated, Final

from pydantic import AfterValidator, AwareDatetime

_FIRST: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LAST: Final = datetime(2200, 1, 1, tzinfo=UTC)


def _within(moment: datetime) -> datetime:
    """Compared, not converted: near the years 1 and 9999 another zone's time is none that Python can hold."""
    if not _FIRST <= moment < _LAST:
        raise ValueError("must lie in the years 1970 to 2199")
    return moment


Moment = Annotated[AwareDatetime, AfterValidator(_within)]
