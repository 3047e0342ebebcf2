"""What subsidies do when something happens elsewhere."""

from mosu.platform.models import Event
from mosu.subsidies.services.vouchers import issue_trial


def give_trial(event: Event) -> None:
    """Give a founder's first organisation its trial voucher: a person gets one trial, however much they found."""
    founded = Event.objects.filter(name=event.name, payload__founder_id=event.payload["founder_id"])
    if founded.filter(id__lt=event.id).exists():
        return
    issue_trial(organisation_id=event.subject_id, now=event.at)
