"""The calls of `/api/v1`, typed."""

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from hashlib import file_digest, sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self
from urllib.parse import quote as quoted
from uuid import uuid4

import httpx

from mosu.client.calls import folder_of, given, read, segment
from mosu.client.endpoints import EndpointCalls
from mosu.client.errors import BrokenAnswer, DamagedOutput
from mosu.client.logs import LogEvent, follow
from mosu.client.models import (
    Answer,
    App,
    Apps,
    Balance,
    Bill,
    Bills,
    Block,
    Budget,
    Connection,
    Difference,
    Guest,
    Guests,
    Imported,
    Me,
    NewToken,
    Offer,
    Order,
    Output,
    Page,
    Party,
    Payout,
    Quote,
    Quotes,
    Receipt,
    Run,
    SshCertificate,
    Statement,
    Ticket,
    Voucher,
)
from mosu.client.transport import Transport, checked
from mosu.client.volumes import VolumeCalls
from mosu.wire.paths import safe_relative_path

if TYPE_CHECKING:
    from mosu.wire.manifest import LocalFile

Progress = Callable[[Imported], None]
_POLL_S = 0.1
_POLL_S_MAX = 0.5
_CHUNK_BYTES = 1_048_576
_DIGESTS_PER_CALL = 1000


def _unseen(made: Imported) -> None:
    """Nobody looks at how far it is."""


class Client(EndpointCalls, VolumeCalls):
    """A hub, spoken to as the owner of `token`. A context manager; `close` it otherwise.

    Every call raises `ProblemError` if the hub refuses and `Unreachable` if it does not answer.
    Refusals are said in `language` (zh or en); the hub's own choice is English.
    """

    def __init__(
        self, url: str, token: str, *, language: str = "", transport: Transport | None = None
    ) -> None:
        self._hub = transport or Transport(url, token, language=language)

    @property
    def url(self) -> str:
        return self._hub.url

    @property
    def headers(self) -> dict[str, str]:
        """What every request carries, the token among it: not to be shown."""
        return self._hub.headers

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._hub.close()

    # Who

    def me(self) -> Me:
        return self._get(Me, "/me")

    def projects(self, *, limit: int | None = None, cursor: str | None = None) -> Page[Party]:
        return self._page(Party, "/projects", limit=limit, cursor=cursor)

    def login(
        self,
        *,
        email: str,
        password: str,
        otp: str | None = None,
        name: str | None = None,
        scopes: Sequence[str] | None = None,
        organisation_id: str | None = None,
    ) -> NewToken:
        """A new API token; the client itself goes on with the one it has."""
        body = given(
            email=email,
            password=password,
            otp=otp,
            name=name,
            scopes=list(scopes) if scopes is not None else None,
            organisation_id=organisation_id,
        )
        return read(NewToken, self._hub.json("POST", "/tokens", repeat=False, json=body))

    # Buying

    def offers(
        self,
        *,
        shelf: str | None = None,
        text: str | None = None,
        accelerator: str | None = None,
        vendor: str | None = None,
        region: str | None = None,
        supplier: str | None = None,
        live: bool | None = None,
        free_now: bool | None = None,
        sort: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Page[Offer]:
        params = given(
            shelf=shelf,
            text=text,
            accelerator=accelerator,
            vendor=vendor,
            region=region,
            supplier=supplier,
            live=None if live is None else str(live).lower(),
            free_now=None if free_now is None else str(free_now).lower(),
            sort=sort,
        )
        return self._page(Offer, "/offers", limit=limit, cursor=cursor, **params)

    def offer(self, offer_id: str) -> Offer:
        return self._get(Offer, f"/offers/{segment(offer_id)}")

    # Bringing offers in

    def preview_offers(
        self,
        file: Path,
        *,
        supplier_id: str | None = None,
        source: str = "",
        subject_id: str | None = None,
        currency: str = "",
        gone: Literal["keep", "withdraw"] = "keep",
        progress: Progress = _unseen,
    ) -> Imported:
        """Send a file of offers, and learn what it would change; nothing changes until it is applied.

        Waits until the hub has read it; `progress` gets the import each time that it was asked for. A file that cannot
        be read is `refused`.
        """
        with file.open("rb") as stream:
            digest = file_digest(stream, "sha256").hexdigest()
        answer = self._hub.json("POST", "/blobs/missing", repeat=True, json={"sha256": [digest]})
        if digest in _missing(answer):
            self._upload(digest, file)
        body = given(
            file={"name": file.name, "sha256": digest},
            supplier_id=supplier_id,
            source=source,
            subject_id=subject_id,
            currency=currency,
            gone=gone,
        )
        made = read(Imported, self._hub.json("POST", "/offer-imports", repeat=False, json=body))
        return self._ended(made, progress)

    def offer_import(self, import_id: str) -> Imported:
        return self._get(Imported, f"/offer-imports/{segment(import_id)}")

    def offer_differences(
        self,
        import_id: str,
        *,
        change: str | None = None,
        quarantined: bool | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Page[Difference]:
        params = given(change=change, quarantined=None if quarantined is None else str(quarantined).lower())
        return self._page(
            Difference, f"/offer-imports/{segment(import_id)}/rows", limit=limit, cursor=cursor, **params
        )

    def apply_offers(self, import_id: str, *, progress: Progress = _unseen) -> Imported:
        """The import, applied, or `failed` if the shelf changed since its preview; safe to repeat."""
        path = f"/offer-imports/{segment(import_id)}/apply"
        return self._ended(read(Imported, self._hub.json("POST", path, repeat=True)), progress)

    def undo_offers(self, import_id: str, *, why: str, progress: Progress = _unseen) -> Imported:
        """The import, undone; or still `applied`, with the reason, if what it touched changed since."""
        path = f"/offer-imports/{segment(import_id)}/undo"
        return self._ended(
            read(Imported, self._hub.json("POST", path, repeat=True, json={"why": why})), progress
        )

    def discard_offers(self, import_id: str) -> Imported:
        path = f"/offer-imports/{segment(import_id)}/discard"
        return read(Imported, self._hub.json("POST", path, repeat=True, json={}))

    def _ended(self, made: Imported, progress: Progress) -> Imported:
        """The import once the hub no longer works on it."""
        wait_s = _POLL_S
        while made.under_way:
            progress(made)
            self._hub.sleep(wait_s)
            wait_s = min(_POLL_S_MAX, wait_s * 1.3)
            made = self.offer_import(made.id)
        progress(made)
        return made

    def make_quotes(
        self,
        task: str,
        *,
        files: "Sequence[LocalFile]" = (),
        vouchers: Literal["auto", "none"] | Sequence[str] | None = None,
        project_id: str | None = None,
    ) -> Quotes:
        """Ranked quotes for the text of a task file; without `vouchers` the task's own choice holds."""
        body = given(
            task=task,
            workdir=folder_of(files),
            vouchers=vouchers if vouchers is None or isinstance(vouchers, str) else list(vouchers),
            project_id=project_id,
        )
        return read(Quotes, self._hub.json("POST", "/quotes", repeat=False, json=body))

    def make_block_quote(
        self,
        offer_id: str,
        *,
        start: datetime,
        end: datetime,
        nodes: int = 1,
        per_node: int | None = None,
        vouchers: Literal["auto", "none"] | Sequence[str] | None = None,
        project_id: str | None = None,
    ) -> Quote:
        """What nodes of a reserved offer cost from `start` to `end`; accepting it takes them."""
        body = given(
            offer_id=offer_id,
            nodes=nodes,
            per_node=per_node,
            start=start.isoformat(),
            end=end.isoformat(),
            vouchers=vouchers if vouchers is None or isinstance(vouchers, str) else list(vouchers),
            project_id=project_id,
        )
        return read(Quote, self._hub.json("POST", "/blocks/quotes", repeat=False, json=body))

    def blocks(self, *, limit: int | None = None, cursor: str | None = None) -> Page[Block]:
        return self._page(Block, "/blocks", limit=limit, cursor=cursor)

    def block(self, block_id: str) -> Block:
        return self._get(Block, f"/blocks/{segment(block_id)}")

    def block_of_order(self, order_id: str) -> Block:
        """The block that an order bought."""
        return self._page(Block, "/blocks", limit=1, cursor=None, order_id=order_id).items[0]

    def quote(self, quote_id: str) -> Quote:
        return self._get(Quote, f"/quotes/{segment(quote_id)}")

    def accept(self, quote_id: str, *, idempotency_key: str | None = None) -> Order:
        """The order made of a quote: one, however often this has to be sent until an answer comes."""
        headers = {"Idempotency-Key": idempotency_key or str(uuid4())}
        answer = self._hub.json("POST", "/orders", repeat=True, json={"quote_id": quote_id}, headers=headers)
        return read(Order, answer)

    def orders(self, *, limit: int | None = None, cursor: str | None = None) -> Page[Order]:
        return self._page(Order, "/orders", limit=limit, cursor=cursor)

    def order(self, order_id: str) -> Order:
        return self._get(Order, f"/orders/{segment(order_id)}")

    def cancel_order(self, order_id: str) -> Order:
        return read(Order, self._hub.json("POST", f"/orders/{segment(order_id)}/cancel", repeat=False))

    # Running

    def runs(self, *, limit: int | None = None, cursor: str | None = None) -> Page[Run]:
        return self._page(Run, "/runs", limit=limit, cursor=cursor)

    def run(self, run_id: str) -> Run:
        return self._get(Run, f"/runs/{segment(run_id)}")

    def apps(self, run_id: str) -> tuple[App, ...]:
        """What the hub started in a session that runs, each with what lets a browser in."""
        return self._get(Apps, f"/runs/{segment(run_id)}/apps").items

    def connections(
        self, run_id: str, *, limit: int | None = None, cursor: str | None = None
    ) -> Page[Connection]:
        """Who was joined to the run's ports, newest first."""
        return self._page(Connection, f"/runs/{segment(run_id)}/connections", limit=limit, cursor=cursor)

    def guests(self, run_id: str) -> tuple[Guest, ...]:
        """With whom a session is shared."""
        return self._get(Guests, f"/runs/{segment(run_id)}/guests").items

    def share_run(self, run_id: str, email: str) -> Guest:
        """Let a member of the organisation be joined to the session, as its orderer is."""
        asked = self._hub.json("POST", f"/runs/{segment(run_id)}/guests", json={"email": email}, repeat=True)
        return read(Guest, asked)

    def end_sharing(self, run_id: str, guest_id: str) -> None:
        self._hub.exchange("DELETE", f"/runs/{segment(run_id)}/guests/{segment(guest_id)}", repeat=True)

    def make_extension_quote(
        self,
        run_id: str,
        *,
        seconds: int,
        vouchers: Literal["auto", "none"] | Sequence[str] | None = None,
    ) -> Quote:
        """What more time for a run that runs costs, from its wall limit on; accepting it buys it."""
        body = given(
            seconds=seconds,
            vouchers=vouchers if vouchers is None or isinstance(vouchers, str) else list(vouchers),
        )
        return read(Quote, self._hub.json("POST", f"/runs/{segment(run_id)}/quotes", json=body, repeat=False))

    def keep_run(self, run_id: str) -> Run:
        """A session counts as used now: the time after which it is stopped starts anew."""
        return read(Run, self._hub.json("POST", f"/runs/{segment(run_id)}/keep", repeat=True))

    def set_idle_stop(self, run_id: str, stop_after_s: int | None) -> Run:
        """Have a session stopped when nobody used it for so long; None: by the organisation's rule alone."""
        body = {"stop_after_s": stop_after_s}
        return read(Run, self._hub.json("PUT", f"/runs/{segment(run_id)}/idle-stop", json=body, repeat=True))

    def ticket(self, run_id: str, *, port: int) -> Ticket:
        """A link that opens a port of a session in a browser, once and soon."""
        asked = self._hub.json("POST", f"/runs/{segment(run_id)}/tickets", json={"port": port}, repeat=False)
        return read(Ticket, asked)

    def certify_key(self, run_id: str, public_key: str) -> SshCertificate:
        """Let the holder of the key (a line as in a `.pub` file) into the session by ssh."""
        body = {"public_key": public_key}
        answer = self._hub.json("POST", f"/runs/{segment(run_id)}/ssh-certificates", repeat=False, json=body)
        return read(SshCertificate, answer)

    def cancel_run(self, run_id: str) -> Run:
        return read(Run, self._hub.json("POST", f"/runs/{segment(run_id)}/cancel", repeat=False))

    def log(self, run_id: str, *, offset: int = 0) -> str:
        """The log so far, from `offset` (in bytes) on."""
        data = b""
        while True:
            response = self._hub.exchange(
                "GET", f"/runs/{segment(run_id)}/log", repeat=True, params={"offset": offset}
            )
            data += response.content
            after = int(response.headers.get("X-Next-Offset", offset + len(response.content)))
            if after <= offset:
                return data.decode(errors="replace")
            offset = after

    def follow_log(self, run_id: str, *, offset: int = 0) -> Iterator[LogEvent]:
        """The log as it grows, and the run's states, until the end; taken up again when the line is lost."""
        return follow(self._hub, f"/runs/{segment(run_id)}/log", offset=offset)

    def download_output(self, run_id: str, output: Output, into: Path) -> Path:
        """The file under `into`, whole and checked, or no file.

        Raises:
            UnsafePath: the output's path leaves `into`.
            DamagedOutput: the bytes are not those that the hub names.
        """
        target = _target(output.path, into)
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=".mosu-")
        try:
            with os.fdopen(handle, "wb") as stream:
                digest = self._download(
                    f"/runs/{segment(run_id)}/outputs/{quoted(output.path, safe='/')}", stream
                )
            if digest != output.sha256:
                raise DamagedOutput(
                    f"{output.path} came with another sha256 than the hub names.", hint="Fetch it again."
                )
            Path(name).chmod(0o644)
            Path(name).replace(target)
        finally:
            Path(name).unlink(missing_ok=True)
        return target

    def _save(self, path: str, target: Path, params: dict[str, str | int | bool] | None = None) -> int:
        """What the hub sends, whole, in the file; broken off, the file stays as it was."""
        handle, name = tempfile.mkstemp(dir=target.absolute().parent, prefix=".mosu-")
        try:
            with os.fdopen(handle, "wb") as stream:
                self._download(path, stream, params)
                size = stream.tell()
            Path(name).chmod(0o644)
            Path(name).replace(target)
        finally:
            Path(name).unlink(missing_ok=True)
        return size

    def _download(self, path: str, stream: Any, params: dict[str, str | int | bool] | None = None) -> str:
        digest = sha256()
        try:
            with self._hub.stream("GET", path, params=params) as response:
                if not response.is_success:
                    response.read()
                    checked(response)
                for chunk in response.iter_bytes(_CHUNK_BYTES):
                    digest.update(chunk)
                    stream.write(chunk)
        except httpx.TransportError as error:
            raise self._hub.unreachable(error) from error
        return digest.hexdigest()

    def upload_workdir(self, files: "Sequence[LocalFile]") -> int:
        """Send the bytes that the hub has not yet; how many files went."""
        sources = {file.entry.sha256: file.source for file in files}
        digests = sorted(sources)
        sent = 0
        for start in range(0, len(digests), _DIGESTS_PER_CALL):
            batch = digests[start : start + _DIGESTS_PER_CALL]
            answer = self._hub.json("POST", "/blobs/missing", repeat=True, json={"sha256": batch})
            for digest in _missing(answer):
                if digest in sources:
                    self._upload(digest, sources[digest])
                    sent += 1
        return sent

    def _upload(self, digest: str, source: Path) -> None:
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(source.stat().st_size)}
        self._hub.exchange(
            "PUT", f"/blobs/{digest}", repeat=True, body=lambda: _chunks_of(source), headers=headers
        )

    # Money

    def receipts(self, *, limit: int | None = None, cursor: str | None = None) -> Page[Receipt]:
        return self._page(Receipt, "/receipts", limit=limit, cursor=cursor)

    def receipt(self, receipt_id: str) -> Receipt:
        return self._get(Receipt, f"/receipts/{segment(receipt_id)}")

    def budgets(self, *, limit: int | None = None, cursor: str | None = None) -> Page[Budget]:
        """Budgets in force, with how this month stands."""
        return self._page(Budget, "/budgets", limit=limit, cursor=cursor)

    def bills(self) -> Bills:
        return self._get(Bills, "/bills")

    def costs(
        self, month: str, target: Path, *, version: str = "1.2", format: Literal["csv", "parquet"] = "csv"
    ) -> int:
        """A month's costs in FOCUS, written to a file as they come; its size in bytes."""
        return self._save(f"/bills/{segment(month)}/focus", target, {"version": version, "format": format})

    def bill_paper(self, month: str, target: Path) -> int:
        """The month's frozen bill as PDF, in the client's language; its size in bytes."""
        return self._save(f"/bills/{segment(month)}/pdf", target)

    def receipt_paper(self, receipt_id: str, target: Path) -> int:
        """A receipt as PDF, in the client's language; its size in bytes."""
        return self._save(f"/receipts/{segment(receipt_id)}/pdf", target)

    def statements(
        self, *, month: str = "", limit: int | None = None, cursor: str | None = None
    ) -> Page[Statement]:
        """What closed months came to for the organisation as a supplier; newest first."""
        return self._page(Statement, "/statements", limit=limit, cursor=cursor, **given(month=month or None))

    def settlement_statement(self, statement_id: str) -> Statement:
        return self._get(Statement, f"/statements/{segment(statement_id)}")

    def statement_paper(self, statement_id: str, target: Path) -> int:
        """A settlement statement as PDF, in the client's language; its size in bytes."""
        return self._save(f"/statements/{segment(statement_id)}/pdf", target)

    def payouts(self, *, limit: int | None = None, cursor: str | None = None) -> Page[Payout]:
        """What the hub paid for statements, or is about to; newest first."""
        return self._page(Payout, "/payouts", limit=limit, cursor=cursor)

    def bill(self, month: str) -> Bill:
        """One month, such as `2026-11`."""
        return self._get(Bill, f"/bills/{segment(month)}")

    def balance(self) -> Balance:
        return self._get(Balance, "/balance")

    def vouchers(self, *, limit: int | None = None, cursor: str | None = None) -> Page[Voucher]:
        return self._page(Voucher, "/vouchers", limit=limit, cursor=cursor)

    def statement(
        self, *, account: str | None = None, limit: int | None = None, cursor: str | None = None
    ) -> Page[Answer]:
        return self._page(Answer, "/statement", limit=limit, cursor=cursor, **given(account=account))


def _missing(answer: object) -> list[str]:
    missing = answer.get("missing") if isinstance(answer, dict) else None
    if not isinstance(missing, list):
        raise BrokenAnswer("The hub did not say which files it needs.", hint="Update mosu.")
    return [str(digest) for digest in missing]


def _target(path: str, into: Path) -> Path:
    """Where an output goes; its folders are made, and none of them may be a link that leaves `into`."""
    target = into / safe_relative_path(path, field="output")
    into.mkdir(parents=True, exist_ok=True)
    inside = into.resolve()
    folder = inside
    for part in Path(path).parent.parts:
        folder = (folder / part).resolve()
        if not folder.is_relative_to(inside):
            raise DamagedOutput(
                f"{path} would be written outside {into}.", hint="Fetch into an empty folder."
            )
        folder.mkdir(exist_ok=True)
    return target


def _chunks_of(source: Path) -> Iterable[bytes]:
    with source.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            yield chunk
