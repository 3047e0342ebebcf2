"""Bringing a file of offers in, first half: it is read whole and compared; nothing on the shelf changes yet."""

import os
import re
from datetime import datetime
from pathlib import PurePosixPath
from typing import Final
from uuid import UUID

from django.db import transaction

from mosu.kernel.refusals import Invalid, NotFound
from mosu.market.gates import UNRELEASABLE
from mosu.market.models import Gone, ImportState, OfferImport, OfferImportRow
from mosu.market.rates import rates_of
from mosu.market.services.imports.diff import compare
from mosu.market.services.imports.moves import hand_over
from mosu.market.services.imports.progress import Progress
from mosu.market.services.imports.staging import Judge, stage
from mosu.market.services.offers import NotYours, check_supplier
from mosu.market.shelves import shelf_of
from mosu.platform.actors import Actor
from mosu.platform.models import Organisation
from mosu.platform.policy import require
from mosu.platform.services import record_audit
from mosu.store.services import open_blob
from mosu.wire.offers import read_offers

FILE_BYTES_MAX: Final = 256 << 20
_READING: Final = 0.6
"""Of a preview's time; the rest is comparing."""
_SOURCE = re.compile(r"[\w.@:/+-][\w .@:/+-]{0,199}")


@transaction.atomic(durable=True)
def preview_import(
    *,
    actor: Actor,
    supplier_id: UUID,
    file_sha256: str,
    sent_to: UUID,
    filename: str,
    now: datetime,
    source: str = "",
    shelf: str = "compute",
    subject_id: UUID | None = None,
    currency: str = "",
    gone: Gone = Gone.KEEP,
) -> OfferImport:
    """The import of a file in the store, which the hub now reads in the background: see `read_and_compare`.

    The file is a blob of the organisation `sent_to`. It will be compared with the supplier's offers of the same
    `source` (else the file's name without its ending). Offers without goods of their own (`pool`, or `subject_id` for
    all) are shown and cannot be bought.

    Raises:
        Forbidden: the actor may not manage the supplier's offers.
        NotASupplier: the organisation does not have the capability.
        NotYours: the goods are another's.
        NotFound: no such organisation, or it has no such blob.
        Invalid: no name for the source, or a file that is too large.
    """
    require(actor, "offer.manage", supplier_id)
    supplier = Organisation.objects.filter(id=supplier_id).first()
    if supplier is None:
        raise NotFound("There is no such organisation.", hint="See GET /me.")
    check_supplier(supplier)
    if subject_id is not None and not shelf_of(shelf).owns(supplier_id=supplier_id, subject_id=subject_id):
        raise NotYours(
            "These goods are not this supplier's.", hint="Name goods of your own, such as one of your pools."
        )
    with open_blob(file_sha256, organisation_id=sent_to) as file:
        if file.seek(0, 2) > FILE_BYTES_MAX:
            raise Invalid(
                "The file is too large.", hint=f"At most {FILE_BYTES_MAX >> 20} MiB; split it.", field="file"
            )
    name = PurePosixPath(filename.replace("\\", "/")).name[:300]
    made = OfferImport(
        supplier_id=supplier_id,
        shelf=shelf,
        source=_source_of(source or PurePosixPath(name).stem),
        filename=name,
        file_sha256=file_sha256,
        subject_id=subject_id,
        currency=currency,
        gone=gone,
        created_at=now,
    )
    record_audit(
        actor=actor,
        action="import.preview",
        subject_id=made.id,
        before=None,
        after=ImportState.READING,
        now=now,
        organisation_id=supplier_id,
        facts={"file": name, "sha256": file_sha256, "source": made.source},
    )
    made.save(force_insert=True)
    hand_over(made)
    return made


def read_and_compare(
    row: OfferImport, *, actor: Actor, why: str, progress: Progress, now: datetime
) -> ImportState:
    """Preview an import: its `rows` become what it would change, `counts` how many of each kind.

    A row that looks wrong waits in quarantine and the rest goes on; a file that cannot be read is refused whole.
    Takes seconds for 100,000 offers, with only a batch of them in memory.

    Raises:
        OffersRefused: something in the file cannot be read; with file, line, field, what was found, what is allowed.
        Damaged: a disk lost the file.
    """
    rates = rates_of(now=now)
    judge = Judge(
        supplier_id=row.supplier_id,
        shelf=shelf_of(row.shelf),
        subject_id=row.subject_id,
        rates=rates,
        now=now,
    )
    with open_blob(row.file_sha256) as file:
        size_bytes = os.fstat(file.fileno()).st_size
        offers = read_offers(file, source=row.filename, currency=row.currency)
        for rows_read in stage(offers, judge):
            progress.tell(_READING * file.tell() / size_bytes, rows_read=rows_read)
    row.counts = compare(row, rates=rates, progress=progress, now=now)
    row.held = _held(row)
    return ImportState.PREVIEWED


def _held(row: OfferImport) -> int:
    """Lines in quarantine that may be let through."""
    found = OfferImportRow.objects.filter(offer_import=row).exclude(doubt="").exclude(doubt__in=UNRELEASABLE)
    return found.values("line").distinct().count()


def _source_of(text: str) -> str:
    """The catalogue's name: visible letters, digits and a few signs."""
    name = " ".join(text.split())
    if _SOURCE.fullmatch(name):
        return name
    raise Invalid(
        f"source: {name[:60]!r} is no name of a catalogue.",
        hint="Use letters, digits and . _ - @ : / +, at most 200 characters.",
        field="source",
        found=name[:60],
    )
