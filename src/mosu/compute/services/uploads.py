"""Bytes between the hub, people and agents: who may bring and take what. The bytes themselves are the store's."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Final, NamedTuple
from uuid import UUID

from mosu.compute.models import Attempt
from mosu.compute.queries import run_visible_to
from mosu.compute.requests import RunRequest
from mosu.compute.services.identity import pool_of
from mosu.compute.states import HELD
from mosu.kernel.refusals import Forbidden, NotFound
from mosu.platform.actors import Actor
from mosu.platform.policy import require
from mosu.store.services import has_blobs, missing_of, read_manifest

BLOB_BYTES_MAX: Final = 2 * 1024**3
_HELD: Final = [state.value for state in HELD]


class Destination(NamedTuple):
    """Whose the bytes become, how many there may be, and whether they are there already."""

    organisation_id: UUID
    size_bytes_max: int
    is_there: bool


def upload_of(*, actor: Actor, sha256: str) -> Destination:
    """Where a file goes that a person sends for a run.

    Raises:
        Forbidden: the actor may not upload, or speaks for no organisation.
        Invalid: not a sha256.
    """
    organisation_id = _uploader(actor)
    there = sha256 in has_blobs([sha256], organisation_id=organisation_id)
    return Destination(organisation_id, BLOB_BYTES_MAX, there)


def missing_for(*, actor: Actor, sha256s: Sequence[str]) -> list[str]:
    """Which of these the actor's organisation must still send. What only others have is missing too.

    Raises: as `upload_of`.
    """
    return missing_of(sha256s, organisation_id=_uploader(actor))


def output_of(*, actor: Actor, attempt_id: UUID, sha256: str) -> Destination:
    """Where an output goes that an agent sends for an attempt it holds: to the run's organisation.

    Raises:
        NotFound: this pool does not hold that attempt.
        Invalid: not a sha256.
    """
    held = Attempt.objects.filter(id=attempt_id, pool_id=pool_of(actor), state__in=_HELD)
    attempt = held.select_related("run").first()
    if attempt is None:
        raise NotFound(
            "This pool does not hold that attempt.",
            hint="Send outputs of leased attempts, before the report.",
        )
    organisation_id = attempt.run.organisation_id
    size_bytes_max = min(BLOB_BYTES_MAX, RunRequest.of_json(attempt.run.request).disk_bytes)
    there = sha256 in has_blobs([sha256], organisation_id=organisation_id)
    return Destination(organisation_id, size_bytes_max, there)


def check_input(*, actor: Actor, sha256: str) -> None:
    """Pass if the bytes are an input of an attempt that the agent's pool holds.

    Raises:
        NotFound: they are not.
    """
    held = Attempt.objects.filter(pool_id=pool_of(actor), state__in=_HELD).select_related("run")
    for attempt in held.order_by("id"):
        written = attempt.run.outputs_manifest if attempt.epoch > 1 else ""
        for manifest in (RunRequest.of_json(attempt.run.request).workdir_manifest, written):
            if manifest and sha256 in _digests_of(manifest):
                return
    raise NotFound("These are not an input of an attempt of this pool.", hint="Ask for inputs of a lease.")


def output_named(*, actor: Actor, run_id: UUID, path: str) -> tuple[str, int]:
    """The sha256 and size of a run's output.

    Raises:
        NotFound: no such run or output, or not of an organisation of the actor's.
    """
    run = run_visible_to(actor, run_id)
    for output in run.outputs:
        if output["path"] == path:
            return output["sha256"], output["size_bytes"]
    raise NotFound("This run has no such output.", hint="See the run's outputs.", found=path[:200])


@lru_cache(maxsize=256)
def _digests_of(manifest: str) -> frozenset[str]:
    """Content-addressed, so it never changes."""
    return frozenset(entry.sha256 for entry in read_manifest(manifest))


def _uploader(actor: Actor) -> UUID:
    if actor.organisation_id is None:
        raise Forbidden("Uploads belong to an organisation.", hint="Use a token made for one organisation.")
    require(actor, "blob.put", actor.organisation_id)
    return actor.organisation_id
