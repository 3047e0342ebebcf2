"""Bringing a file of offers in, first half: it is read whole and compared; nothing on the shelf changes yet."""

import hashlib
import re
from datetime import datetime
from pathlib import PurePosixPath
from typing import BinaryIO, Final
from uuid import UUID

from django.db import transaction

from mosu.kernel.refusals import Invalid, NotFound
from mosu.market.models import Gone, ImportState, OfferImport
from mosu.market.rates import rates_of
from mosu.market.services.imports.diff import compare
from mosu.market.services.imports.staging import Judge, stage
from mosu.market.services.offers import NotASupplier, NotYours
from mosu.market.shelves import shelf_of
from mosu.platform.actors import Actor
from mosu.platform.models import Capability, Organisation
from mosu.platform.policy import require
from mosu.platform.services import record_audit
from mosu.wire.offers import read_offers

FILE_BYTES_MAX: Final = 256 << 20
_SOURCE = re.compile(r"[\w.@:/+-][\w .@:/+-]{0,199}")


@transaction.atomic(durable=True)
def preview_import(
    *,
    actor: Actor,
    supplier_id: UUID,
    file: BinaryIO,
    filename: str,
    now: datetime,
    source: str = "",
    shelf: str = "compute",
    subject_id: UUID | None = None,
    currency: str = "",
    gone: Gone = Gone.KEEP,
) -> OfferImport:
    """The import of a file, previewed: its `rows` are what it would change, `counts` how many of each kind.

    It is compared with the supplier's offers of the same `source` (else the file's name without its ending). Offers
    without goods of their own (`pool`, or `subject_id` for all) are shown and cannot be bought. A row that looks
    wrong waits in quarantine and the rest goes on; a file that cannot be read is refused whole. Takes seconds for
    100,000 offers, with only a batch of them in memory.

    Raises:
        Forbidden: the actor may not manage the supplier's offers.
        NotASupplier: the organisation does not have the capability.
        NotYours: the goods are another's.
        OffersRefused: something in the file cannot be read; with file, line, field, what was found, what is allowed.
        Invalid: no name for the source, or a file that is too large.
    """
    require(actor, "offer.manage", supplier_id)
    supplier = Organisation.objects.filter(id=supplier_id).first()
    if supplier is None:
        raise NotFound("There is no such organisation.", hint="See GET /me.")
    if Capability.SUPPLIER not in supplier.capabilities:
        raise NotASupplier(f"{supplier.name} is not a supplier.", hint="The hub's operator admits suppliers.")
    sold_on = shelf_of(shelf)
    if subject_id is not None and not sold_on.owns(supplier_id=supplier_id, subject_id=subject_id):
        raise NotYours(
            "These goods are not this supplier's.", hint="Name goods of your own, such as one of your pools."
        )
    name = PurePosixPath(filename.replace("\\", "/")).name[:300]
    file_sha256 = _sha256_of(file)
    made = OfferImport(
        supplier_id=supplier_id,
        shelf=shelf,
        source=_source_of(source or PurePosixPath(name).stem),
        filename=name,
        file_sha256=file_sha256,
        gone=gone,
        created_at=now,
    )
    rates = rates_of(now=now)
    judge = Judge(supplier_id=supplier_id, shelf=sold_on, subject_id=subject_id, rates=rates, now=now)
    stage(read_offers(file, source=name, currency=currency), judge)
    record_audit(
        actor=actor,
        action="import.preview",
        subject_id=made.id,
        before=None,
        after=ImportState.PREVIEWED,
        now=now,
        organisation_id=supplier_id,
        facts={"file": name, "sha256": file_sha256, "source": made.source},
    )
    made.counts = compare(made, rates=rates, now=now)
    made.save(force_insert=True)
    return made


def _sha256_of(file: BinaryIO) -> str:
    """The file's digest; it is at its start again."""
    if file.seek(0, 2) > FILE_BYTES_MAX:
        raise Invalid(
            "The file is too large.", hint=f"At most {FILE_BYTES_MAX >> 20} MiB; split it.", field="file"
        )
    file.seek(0)
    digest = hashlib.sha256()
    while chunk := file.read(1 << 20):
        digest.update(chunk)
    file.seek(0)
    return digest.hexdigest()


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
