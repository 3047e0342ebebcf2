"""What subsidies do when something happens elsewhere."""

from typing import Final
from uuid import UUID

from django.db import transaction

from mosu.platform.models import Event
from mosu.subsidies.services.vouchers import issue_trial

FOUNDED: Final = "platform.organisation_founded"


def give_trial(event: Event) -> None:
    """Give a founder's first organisation its trial voucher: a person gets one trial, however much they found."""
    founded = Event.objects.filter(name=event.name, payload__founder_id=event.payload["founder_id"])
    if founded.filter(id__lt=event.id).exists():
        return
    issue_trial(organisation_id=event.subject_id, now=event.at)


@transaction.atomic
def give_founders_trial(*, organisation_id: UUID) -> None:
    """What the founding's event will give, given already; its delivery then changes nothing.

    For whoever founds and at once shows what the newcomer has. Takes the locks of `issue_trial`: call it last.
    """
    give_trial(Event.objects.get(name=FOUNDED, subject_id=organisation_id))
