"""Doors by which offers come in: files, their previews, exchange rates, and the history of prices."""

from decimal import Decimal
from typing import Annotated, Literal

from django.http import HttpRequest
from django.utils import timezone
from ninja import Query, Router, Status

from mosu.kernel.refusals import Invalid, NotFound
from mosu.market import queries, services
from mosu.market.models import Gone, Offer, OfferImport
from mosu.market.shapes import (
    DifferenceOut,
    DiscardIn,
    ImportIn,
    ImportOut,
    PriceThenOut,
    RateIn,
    RateOut,
    ReleaseRowIn,
    UndoIn,
)
from mosu.market.shelves import shelf_of
from mosu.platform.actors import Actor
from mosu.platform.auth import public_auth, token_auth
from mosu.platform.cursors import Listed, Paging, page_of
from mosu.platform.doors import door
from mosu.platform.models import Organisation
from mosu.platform.requests import actor_of
from mosu.platform.rows import row_of

router = Router(tags=["market"])


@router.post("/offer-imports", response={201: ImportOut}, auth=token_auth, operation_id="previewOffers")
@door("offer.manage")
def preview_offers(request: HttpRequest, body: ImportIn) -> Status[ImportOut]:
    """Have a file of offers read and compared. Nothing on the shelf changes until it is applied.

    Send the file first: `PUT /blobs/{sha256}`. The hub reads it in the background: ask for the import until it is no
    longer `reading`. A file that cannot be read is `refused` whole; `refusal` lists the places.
    """
    actor = actor_of(request)
    if actor.organisation_id is None:
        raise Invalid(
            "For which organisation did you send the file?",
            hint="Use a token of one organisation.",
            field="file",
        )
    subject_id = shelf_of(body.shelf).subject_of(body.subject_id) if body.subject_id else None
    made = services.preview_import(
        actor=actor,
        supplier_id=Organisation.key_of(body.supplier_id) if body.supplier_id else actor.organisation_id,
        file_sha256=body.file.sha256,
        sent_to=actor.organisation_id,
        filename=body.file.name,
        source=body.source,
        shelf=body.shelf,
        subject_id=subject_id,
        currency=body.currency,
        gone=Gone(body.gone),
        now=timezone.now(),
    )
    return Status(201, ImportOut.of(made))


@router.get("/offer-imports", response=Listed[ImportOut], auth=token_auth, operation_id="listOfferImports")
@door("import.read")
def list_imports(request: HttpRequest, paging: Annotated[Paging, Query()]) -> dict[str, object]:
    page, after = page_of(queries.imports_visible_to(actor_of(request)), paging.cursor, paging.limit)
    return {"items": [ImportOut.of(row) for row in page], "next": after}


@router.get("/offer-imports/{import_id}", response=ImportOut, auth=token_auth, operation_id="getOfferImport")
@door("import.read")
def get_import(request: HttpRequest, import_id: str) -> ImportOut:
    return ImportOut.of(_import_of(actor_of(request), import_id))


@router.get(
    "/offer-imports/{import_id}/rows",
    response=Listed[DifferenceOut],
    auth=token_auth,
    operation_id="listOfferDifferences",
)
@door("import.read")
def list_differences(
    request: HttpRequest,
    import_id: str,
    paging: Annotated[Paging, Query()],
    change: Literal["", "new", "price", "changed", "gone"] = "",
    quarantined: bool | None = None,
) -> dict[str, object]:
    """What the file changes, in its order; unchanged rows are only counted."""
    found = queries.differences(
        _import_of(actor_of(request), import_id), change=change, quarantined=quarantined
    )
    page, after = page_of(found, paging.cursor, paging.limit)
    return {"items": [DifferenceOut.of(row) for row in page], "next": after}


@router.post(
    "/offer-imports/{import_id}/apply", response=ImportOut, auth=token_auth, operation_id="applyOfferImport"
)
@door("offer.manage")
def apply_import(request: HttpRequest, import_id: str) -> ImportOut:
    """Make the shelf as the preview showed, at once; what waits in quarantine is left as it is.

    The hub does it in the background: ask for the import until it is no longer `applying`. If the shelf changed since
    the preview it is `failed`, and nothing of it was applied.
    """
    actor, key = actor_of(request), OfferImport.key_of(import_id)
    return ImportOut.of(services.apply_import(actor=actor, import_id=key, now=timezone.now()))


@router.post(
    "/offer-imports/{import_id}/discard",
    response=ImportOut,
    auth=token_auth,
    operation_id="discardOfferImport",
)
@door("offer.manage")
def discard_import(request: HttpRequest, import_id: str, body: DiscardIn) -> ImportOut:
    actor, key = actor_of(request), OfferImport.key_of(import_id)
    return ImportOut.of(services.discard_import(actor=actor, import_id=key, why=body.why, now=timezone.now()))


@router.post(
    "/offer-imports/{import_id}/undo", response=ImportOut, auth=token_auth, operation_id="undoOfferImport"
)
@door("offer.manage")
def undo_import(request: HttpRequest, import_id: str, body: UndoIn) -> ImportOut:
    """Make the shelf as it was before an applied import; a price comes back as a new price.

    The hub does it in the background: ask for the import until it is no longer `undoing`. If something that it touched
    changed since, it stays `applied`, nothing is undone and `refusal` lists what changed.
    """
    actor, key = actor_of(request), OfferImport.key_of(import_id)
    return ImportOut.of(services.undo_import(actor=actor, import_id=key, why=body.why, now=timezone.now()))


@router.post(
    "/offer-imports/{import_id}/rows/{line}/release",
    response=DifferenceOut,
    auth=token_auth,
    operation_id="releaseOfferRow",
)
@door("import.release")
def release_row(request: HttpRequest, import_id: str, line: int, body: ReleaseRowIn) -> DifferenceOut:
    """Let a quarantined row through, for a reason that is kept."""
    return DifferenceOut.of(
        services.release_row(
            actor=actor_of(request),
            import_id=OfferImport.key_of(import_id),
            line=line,
            why=body.why,
            now=timezone.now(),
        )
    )


@router.get(
    "/offers/{offer_id}/prices",
    response=Listed[PriceThenOut],
    auth=public_auth,
    operation_id="listOfferPrices",
)
@door("offer.read")
def list_prices(request: HttpRequest, offer_id: str, paging: Annotated[Paging, Query()]) -> dict[str, object]:
    """Every list price that the offer had, latest first."""
    actor, key = actor_of(request), Offer.key_of(offer_id)
    if not queries.offers_visible_to(actor).filter(id=key).exists():
        raise NotFound("There is no such offer.", hint="See GET /offers.")
    page, after = page_of(queries.prices_of(actor, key), paging.cursor, paging.limit)
    return {"items": [PriceThenOut.of(price) for price in page], "next": after}


@router.get("/exchange-rates", response=Listed[RateOut], auth=public_auth, operation_id="listExchangeRates")
@door("offer.read")
def list_rates(request: HttpRequest, paging: Annotated[Paging, Query()]) -> dict[str, object]:
    """By what foreign list prices are converted, latest first."""
    page, after = page_of(queries.latest_rates(), paging.cursor, paging.limit)
    return {"items": [RateOut.of(row) for row in page], "next": after}


@router.post("/exchange-rates", response={201: RateOut}, auth=token_auth, operation_id="recordExchangeRate")
@door("rate.record")
def record_rate(request: HttpRequest, body: RateIn) -> Status[RateOut]:
    row = services.record_rate(
        actor=actor_of(request),
        currency=body.currency,
        rate=Decimal(body.rate),
        dated=body.dated,
        source=body.source,
        why=body.why,
        now=timezone.now(),
    )
    return Status(201, RateOut.of(row))


def _import_of(actor: Actor, import_id: str) -> OfferImport:
    return row_of(queries.imports_visible_to(actor), import_id)
