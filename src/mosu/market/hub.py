"""The hub's own choices that the counter needs."""

from typing import Final
from uuid import UUID
from zoneinfo import ZoneInfo

from django.conf import settings

HUB_ID: Final = UUID(int=0)
"""Owner of the hub's own ledger accounts (fee)."""


def hub_zone() -> ZoneInfo:
    """The zone of the hub's days and years."""
    return ZoneInfo(settings.HUB_ZONE)
