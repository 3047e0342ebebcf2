"""The hub's own choices that the counter needs."""

from zoneinfo import ZoneInfo

from django.conf import settings


def hub_zone() -> ZoneInfo:
    """The zone of the hub's days and years."""
    return ZoneInfo(settings.HUB_ZONE)


def hub_currency() -> str:
    """The one currency in which the hub settles."""
    return str(settings.HUB_CURRENCY)


def hub_name() -> str:
    """By which the hub issues bills."""
    return str(settings.HUB_NAME)
