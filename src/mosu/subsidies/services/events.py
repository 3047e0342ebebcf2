"""What subsidies do when something happens elsewhere."""

from mosu.platform.models import Event
from mosu.subsidies.services.vouchers import issue_trial


def give_trial(event: Event) -> None:
    """Give the organisation that was founded its trial voucher."""
    issue_trial(organisation_id=event.subject_id, now=event.at)
