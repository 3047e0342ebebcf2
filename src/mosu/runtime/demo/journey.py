"""One order, from shelf to receipt, through the public API alone: as a startup would do it."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from mosu.client import Client
from mosu.client.logs import LogText
from mosu.client.models import Order, Quote, Receipt, Run
from mosu.kernel.languages import language_of_environment
from mosu.kernel.refusals import DomainError
from mosu.wire.manifest import files_of
from mosu.wire.task import parse_task

JOB = Path(__file__).with_name("job")
WEIGHTS, CURVE = "model.npz", "loss.csv"
WAIT_S_MAX = 600.0
FREE_S_MAX = 300.0

Say = Callable[[str], None]


class JourneyFailed(DomainError):
    """Something that the demo promises did not hold."""

    code = "journey_failed"


class NotHeld(JourneyFailed):
    """It came to its end, and something is not as promised."""

    code = "not_held"

    def __init__(self, message: str) -> None:
        super().__init__(message, hint="This is a bug of mosu's.")


@dataclass(frozen=True, slots=True)
class Journey:
    """What came of it."""

    quote: Quote
    order: Order
    run: Run
    receipt: Receipt
    files: tuple[Path, ...]


def travel(client: Client, *, outputs: Path, say: Say) -> Journey:
    """Find the cheapest fitting plan, buy it, watch it run, fetch what it made, take the receipt.

    Raises:
        JourneyFailed: no plan fits, the run fails, or there is no receipt.
    """
    text = (JOB / "task.yaml").read_text(encoding="utf-8")
    parse_task(text)
    language = language_of_environment()
    _until_free(client)
    offers = client.offers(shelf="compute", sort="price")
    live = [offer for offer in offers.items if offer.live]
    say(f"{len(offers.items)} offers on the shelf, {len(live)} of them live")

    files = files_of(JOB)
    say(f"{client.upload_workdir(files)} files of the job go up")
    found = client.make_quotes(text, files=files)
    for refused in found.refused[:3]:
        say(f"refused: {refused.title.in_language(language)}: {refused.reasons[0].message}")
    if len(found.refused) > 3:
        say(f"... and {len(found.refused) - 3} more, each with its reason")
    if not found.quotes:
        raise JourneyFailed("No plan fits the demo's job.", hint="See the refusals above.")
    quote = found.quotes[0]
    say(
        f"cheapest plan: {quote.offer.title.in_language(language)}, at most {quote.total_max} {quote.currency}:"
    )
    say(
        f"  {quote.voucher_now} by voucher now, {quote.pay_now} from the balance, {quote.refund_later} back later"
    )

    order = client.accept(quote.id)
    if order.run_id is None:
        raise JourneyFailed("The order has no run.", hint="This is a bug of mosu's.")
    say(f"order {order.number} placed; what it may cost is held")
    rest = ""
    for event in client.follow_log(order.run_id):
        if isinstance(event, LogText):
            *lines, rest = (rest + event.text).split("\n")  # a piece of the log may end inside a line
            for line in lines:
                say(f"  | {line}")
    if rest:
        say(f"  | {rest}")
    run = _ended(client, order.run_id)
    if run.state != "succeeded" or run.exit_code != 0:
        raise JourneyFailed(f"The run {run.state}: {run.reason}", hint=client.log(run.id)[-500:] or "No log.")

    order = client.order(order.id)
    if order.receipt_id is None:
        raise JourneyFailed("The run has ended and there is no receipt.", hint="This is a bug of mosu's.")
    receipt = client.receipt(order.receipt_id)
    paths = tuple(client.download_output(run.id, output, outputs) for output in run.outputs)
    say(f"{len(paths)} files came back to {outputs}")
    return Journey(quote=quote, order=order, run=run, receipt=receipt, files=paths)


def _until_free(client: Client) -> None:
    """A node takes jobs once it has passed its health test, seconds after its agent came.

    Raises:
        JourneyFailed: none does.
    """
    until = time.monotonic() + FREE_S_MAX
    while not client.offers(shelf="compute", free_now=True).items:
        if time.monotonic() > until:
            raise JourneyFailed("No node of this machine's pool takes jobs.", hint="mosu doctor says why.")
        time.sleep(0.2)


def check_held(journey: Journey, *, balanced: bool) -> None:
    """Nothing, if all held that the demo promises; `balanced` says whether the ledger does.

    Raises:
        NotHeld: something did not hold; the first such thing is named.
    """
    run, receipt = journey.run, journey.receipt
    came = {output.path: file for output, file in zip(run.outputs, journey.files, strict=True)}
    true_copies = all(
        sha256(came[output.path].read_bytes()).hexdigest() == output.sha256 for output in run.outputs
    )
    for holds, otherwise in (
        ((run.state, run.exit_code) == ("succeeded", 0), NotHeld(f"The run {run.state}: {run.reason}")),
        (
            receipt.total == receipt.voucher_share + receipt.paid,
            NotHeld(f"{receipt.total} is not {receipt.voucher_share} + {receipt.paid}."),
        ),
        (receipt.voucher_share > 0, NotHeld("No voucher paid a part.")),
        (receipt.paid > 0, NotHeld("Nothing was paid from the balance.")),
        ({WEIGHTS, CURVE} <= came.keys(), NotHeld("The weights and the loss curve did not come back.")),
        (true_copies, NotHeld("A file came back with another sha256 than the hub names.")),
        (balanced, NotHeld("The ledger does not add up.")),
    ):
        if not holds:
            raise otherwise


def _ended(client: Client, run_id: str) -> Run:
    until = time.monotonic() + WAIT_S_MAX
    while (run := client.run(run_id)).ended_at is None:
        if time.monotonic() > until:
            raise JourneyFailed(f"The run is still {run.state}.", hint="mosu doctor says what is wrong.")
        time.sleep(0.2)
    return run


def summary(
    journey: Journey, *, url: str, balanced: bool, setup_s: float, journey_s: float
) -> dict[str, object]:
    """What `--json` writes when all held: money as decimal strings, instants as ISO 8601."""
    run, receipt = journey.run, journey.receipt
    return {
        "ok": True,
        "url": url,
        "order": {
            "id": journey.order.id,
            "currency": receipt.currency,
            "total": str(receipt.total),
            "voucher_share": str(receipt.voucher_share),
            "paid": str(receipt.paid),
        },
        "run": {
            "id": run.id,
            "state": run.state,
            "exit_code": run.exit_code,
            "started_at": run.started_at.isoformat() if run.started_at else None,
            "ended_at": run.ended_at.isoformat() if run.ended_at else None,
            "outputs": [json.loads(output.model_dump_json()) for output in run.outputs],
        },
        "receipt": {"number": receipt.number},
        "ledger": {"balanced": balanced},
        "seconds": {"setup": round(setup_s, 2), "journey": round(journey_s, 2)},
    }
