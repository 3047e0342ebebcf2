"""Usage records of one attempt: on disk before they are sent, so that a restart loses and doubles none."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from mosu.site_agent.files import read_json_if_whole, write_durably
from mosu.wire.agent import AttemptSpec, Meter, Usage


@dataclass(frozen=True, slots=True)
class Metered:
    """How far one meter has come."""

    next_sequence: int
    quantity: int
    until: datetime


def next_record(
    attempt_id: str,
    meter: Meter,
    units: int,
    before: Metered,
    *,
    started_at: datetime,
    now: datetime,
    final: bool = False,
) -> tuple[Usage | None, Metered]:
    """The record for the time since `before`, in whole unit-seconds, and how far the meter is then.

    Rounded down over the whole attempt, not per record: the sum is never more than units x time. What is `final`
    may be less than was claimed, since engines can have shown a job running for longer than their books have it:
    then the record takes back the rest.
    """
    total = max(0, int(units * (now - started_at).total_seconds()))
    if total == before.quantity or (not final and (total < before.quantity or now <= before.until)):
        return None, before
    record = Usage(
        attempt_id=attempt_id,
        meter=meter,
        sequence=before.next_sequence,
        quantity=total - before.quantity,
        start=min(before.until, now),
        end=max(before.until, now),
    )
    return record, Metered(before.next_sequence + 1, total, now)


class UsageBook:
    """The meters of one attempt and the records that the hub has not yet taken.

    Where the disk lost how far they had come, nothing more is claimed: nobody pays twice.
    """

    def __init__(self, path: Path, spec: AttemptSpec) -> None:
        self._path, self._spec = path, spec
        found: dict[str, Any] = read_json_if_whole(path) or {"meters": {}, "unsent": []}
        self._is_lost = path.with_name(f"{path.name}.garbled").exists()
        self._meters = {
            name: Metered(item["next_sequence"], item["quantity"], datetime.fromisoformat(item["until"]))
            for name, item in found["meters"].items()
        }
        self.unsent = tuple(Usage.model_validate(item) for item in found["unsent"])

    def advance(
        self,
        *,
        started_at: datetime,
        now: datetime,
        units: Mapping[Meter, int] | None = None,
        final: bool = False,
    ) -> None:
        """Write down what was used up to `now`: `units` by the engine's own account, else what was asked for.

        `final`: it has ended, and this is all of it.
        """
        if self._is_lost:
            return
        made = []
        for meter, count in (units or self._spec.units).items():
            before = self._meters.get(meter) or Metered(0, 0, started_at)
            record, self._meters[meter] = next_record(
                self._spec.attempt_id, meter, count, before, started_at=started_at, now=now, final=final
            )
            made += [record] if record else []
        if made:
            self.unsent += tuple(made)
            self._save()

    def taken(self, records: tuple[Usage, ...]) -> None:
        """The hub has these."""
        self.unsent = tuple(record for record in self.unsent if record not in records)
        self._save()

    def _save(self) -> None:
        meters = {
            name: {
                "next_sequence": item.next_sequence,
                "quantity": item.quantity,
                "until": item.until.isoformat(),
            }
            for name, item in self._meters.items()
        }
        unsent = [record.model_dump(mode="json") for record in self.unsent]
        write_durably(self._path, {"meters": meters, "unsent": unsent})
