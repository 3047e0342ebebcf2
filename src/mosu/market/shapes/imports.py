"""JSON of bringing offers in: imports, their differences, prices over time, exchange rates."""

from datetime import date, datetime
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from mosu.kernel.ids import typeid
from mosu.kernel.money import MINOR_DIGITS, decimal_of
from mosu.market.gates import DOUBTS, UNRELEASABLE
from mosu.market.models import ExchangeRate, Offer, OfferImport, OfferImportRow, OfferPrice
from mosu.market.shapes.parts import Key, Named, Slug, Word
from mosu.platform.schemas import Bilingual, In, Out

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Why = Annotated[str, StringConstraints(max_length=1000, pattern=r"^[^\x00]*$")]


class SentFileIn(In):
    """A file that was sent by `PUT /blobs/{sha256}`. Of its name, the ending tells YAML from CSV."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=300)]
    sha256: Sha256


class ImportIn(In):
    """`source` names the catalogue (else the file's name does): offers of the same one are compared."""

    file: SentFileIn
    supplier_id: Key | None = None
    source: Word = ""
    shelf: Slug = "compute"
    subject_id: Key | None = None
    currency: Annotated[str, StringConstraints(pattern=r"^([A-Z]{3})?$")] = ""
    gone: Literal["keep", "withdraw"] = "keep"


class PlaceOut(Out):
    """What is wrong at one place: in the file its line and column, of an offer its line and key."""

    line: int
    field: str
    found: str
    allowed: str
    nearest: str
    message: str


class RefusalOut(Out):
    """Why reading, applying or undoing was refused; of `count` places the first ones."""

    code: str
    message: str
    hint: str
    count: int
    problems: list[PlaceOut]


class ImportOut(Out):
    """A file brought in. `counts`: rows, new, price, changed, gone, unchanged, repeated, quarantined.

    While it is `reading`, `applying` or `undoing` the hub works on it, `percent` and `rows_read` say how far it is.
    `held`: lines in quarantine that the hub's operator may let through.
    """

    id: str
    state: Literal[
        "reading",
        "refused",
        "previewed",
        "applying",
        "failed",
        "applied",
        "undoing",
        "undone",
        "discarded",
    ]
    supplier: Named
    shelf: str
    source: str
    file: str
    sha256: str
    gone: Literal["keep", "withdraw"]
    counts: dict[str, int]
    percent: int
    rows_read: int
    held: int
    refusal: RefusalOut | None
    created_at: datetime
    applied_at: datetime | None
    undone_at: datetime | None

    @classmethod
    def of(cls, row: OfferImport) -> "ImportOut":
        return cls(
            id=row.public_id,
            state=row.state,
            supplier=Named(id=row.supplier.public_id, name=row.supplier.name),
            shelf=row.shelf,
            source=row.source,
            file=row.filename,
            sha256=row.file_sha256,
            gone=row.gone,
            counts=row.counts,
            percent=row.percent,
            rows_read=row.rows_read,
            held=row.held,
            refusal=_refusal(row),
            created_at=row.created_at,
            applied_at=row.applied_at,
            undone_at=row.undone_at,
        )


class ListPrice(Out):
    """A price as it is listed, in its own currency."""

    unit_price: str
    currency: str


class DoubtOut(Out):
    """Why a row waits in quarantine."""

    code: str
    title: Bilingual
    reason: str
    released: bool
    releasable: bool


class DifferenceOut(Out):
    """One row of the diff: what changes, where in the file it stands, the price from and to."""

    change: Literal["new", "price", "changed", "gone"]
    line: int | None
    key: str
    offer_id: str
    title: Bilingual
    accelerator: str | None
    region: str
    mode: str
    unit: str
    old: ListPrice | None
    new: ListPrice | None
    terms: list[str]
    doubt: DoubtOut | None

    @classmethod
    def of(cls, row: OfferImportRow) -> "DifferenceOut":
        terms = row.terms
        attributes = terms.get("attributes", {})
        return cls(
            change=row.change,
            line=row.line,
            key=row.external_key,
            offer_id=typeid(Offer.prefix, row.offer_id),
            title=Bilingual(zh=terms.get("title_zh", ""), en=terms.get("title_en", "")),
            accelerator=attributes.get("accelerator"),
            region=attributes.get("region") or "",
            mode=attributes.get("mode") or "",
            unit=row.unit,
            old=_price(row.old_price_micros, row.old_currency),
            new=_price(row.unit_price_micros, row.currency),
            terms=[name for name in terms if row.old_terms and terms[name] != row.old_terms.get(name)],
            doubt=_doubt(row),
        )


class ReleaseRowIn(In):
    why: Why


class DiscardIn(In):
    why: Why = ""


class UndoIn(In):
    why: Why


class PriceThenOut(Out):
    """A list price, from when on."""

    meter: str
    unit: str
    per: int
    unit_price: str
    currency: str
    valid_from: datetime

    @classmethod
    def of(cls, price: OfferPrice) -> "PriceThenOut":
        return cls(
            meter=price.meter,
            unit=price.unit,
            per=price.per,
            unit_price=money_in(price.unit_price_micros, price.currency),
            currency=price.currency,
            valid_from=price.valid_from,
        )


class RateIn(In):
    """One of `currency` is worth `rate` of the hub's on that day, says `source`."""

    currency: Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")]
    rate: Annotated[str, StringConstraints(pattern=r"^[0-9]{1,9}(\.[0-9]{1,10})?$")]
    dated: date
    source: Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00]*$")]
    why: Why = Field("", description="Needed if the rate is more than a fifth off the last.")


class RateOut(Out):
    id: str
    currency: str
    rate: str
    dated: date
    source: str
    recorded_at: datetime

    @classmethod
    def of(cls, row: ExchangeRate) -> "RateOut":
        return cls(
            id=row.public_id,
            currency=row.currency,
            rate=f"{row.rate.normalize():f}",
            dated=row.dated,
            source=row.source,
            recorded_at=row.recorded_at,
        )


def money_in(micros: int, currency: str) -> str:
    """A list price; one in a currency that the hub does not know has no minor digits of its own."""
    return decimal_of(micros, currency=currency if currency in MINOR_DIGITS else "CNY")


def _refusal(row: OfferImport) -> RefusalOut | None:
    if not row.refusal:
        return None
    places = [
        PlaceOut(**{name: one[name] for name in PlaceOut.model_fields}) for one in row.refusal["problems"]
    ]
    return RefusalOut(**{**row.refusal, "problems": places})


def _price(micros: int | None, currency: str) -> ListPrice | None:
    return None if micros is None else ListPrice(unit_price=money_in(micros, currency), currency=currency)


def _doubt(row: OfferImportRow) -> DoubtOut | None:
    if not row.doubt:
        return None
    return DoubtOut(
        code=row.doubt,
        title=Bilingual(**DOUBTS[row.doubt]),
        reason=row.reason,
        released=row.released,
        releasable=row.doubt not in UNRELEASABLE,
    )
