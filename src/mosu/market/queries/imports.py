"""Reads of what was brought in from outside: offers and exchange rates."""

from django.db.models import QuerySet

from mosu.market.models import ExchangeRate, OfferImport, OfferImportRow
from mosu.platform.actors import Actor
from mosu.platform.policy import allows


def imports_visible_to(actor: Actor) -> QuerySet[OfferImport]:
    """Imports of the suppliers whose offers the actor manages, or all for the hub's people; newest first."""
    rows = OfferImport.objects.select_related("supplier").order_by("-created_at", "-id")
    if actor.sees_all:
        return rows
    mine = [one for one in actor.organisation_ids if allows(actor, "import.read", one)]
    return rows.filter(supplier_id__in=mine)


def differences(
    offer_import: OfferImport, *, change: str = "", quarantined: bool | None = None
) -> QuerySet[OfferImportRow]:
    """What an import would change (or did), in the file's order; the caller has shown that it may be seen."""
    rows = OfferImportRow.objects.filter(offer_import=offer_import).order_by("id")
    if change:
        rows = rows.filter(change=change)
    if quarantined is not None:
        rows = rows.exclude(doubt="") if quarantined else rows.filter(doubt="")
    return rows


def latest_rates() -> QuerySet[ExchangeRate]:
    """Every rate ever recorded, latest first. Anyone may see by what a quote was converted."""
    return ExchangeRate.objects.order_by("-dated", "-recorded_at", "-id")
