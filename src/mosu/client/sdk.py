"""The calls of `/api/v1`, typed."""

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any, Literal, Self, TypeVar
from urllib.parse import quote as quoted
from uuid import uuid4

import httpx
from pydantic import BaseModel, ValidationError

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
    Endpoint,
    EndpointKey,
    EndpointRequest,
    Guest,
    Guests,
    Imported,
    Me,
    NewEndpointKey,
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
    Replica,
    Run,
    SshCertificate,
    Statement,
    Ticket,
    Volume,
    Voucher,
)
from mosu.client.transport import Transport, checked
from mosu.wire.manifest import LocalFile
from mosu.wire.paths import safe_relative_path

AnswerT = TypeVar("AnswerT", bound=BaseModel)
Progress = Callable[[Imported], None]
_POLL_S = 0.1
_POLL_S_MAX = 0.5
_CHUNK_BYTES = 1_048_576
_DIGESTS_PER_CALL = 1000


def _unseen(made: Imported) -> None:
    """Nobody looks at how far it is."""


class Client:
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
        body = _given(
            email=email,
            password=password,
            otp=otp,
            name=name,
            scopes=list(scopes) if scopes is not None else None,
            organisation_id=organisation_id,
        )
        return _read(NewToken, self._hub.json("POST", "/tokens", repeat=False, json=body))

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
        params = _given(
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
        return self._get(Offer, f"/offers/{_id(offer_id)}")

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
        body = _given(
            file={"name": file.name, "sha256": digest},
            supplier_id=supplier_id,
            source=source,
            subject_id=subject_id,
            currency=currency,
            gone=gone,
        )
        made = _read(Imported, self._hub.json("POST", "/offer-imports", repeat=False, json=body))
        return self._ended(made, progress)

    def offer_import(self, import_id: str) -> Imported:
        return self._get(Imported, f"/offer-imports/{_id(import_id)}")

    def offer_differences(
        self,
        import_id: str,
        *,
        change: str | None = None,
        quarantined: bool | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Page[Difference]:
        params = _given(change=change, quarantined=None if quarantined is None else str(quarantined).lower())
        return self._page(
            Difference, f"/offer-imports/{_id(import_id)}/rows", limit=limit, cursor=cursor, **params
        )

    def apply_offers(self, import_id: str, *, progress: Progress = _unseen) -> Imported:
        """The import, applied, or `failed` if the shelf changed since its preview; safe to repeat."""
        path = f"/offer-imports/{_id(import_id)}/apply"
        return self._ended(_read(Imported, self._hub.json("POST", path, repeat=True)), progress)

    def undo_offers(self, import_id: str, *, why: str, progress: Progress = _unseen) -> Imported:
        """The import, undone; or still `applied`, with the reason, if what it touched changed since."""
        path = f"/offer-imports/{_id(import_id)}/undo"
        return self._ended(
            _read(Imported, self._hub.json("POST", path, repeat=True, json={"why": why})), progress
        )

    def discard_offers(self, import_id: str) -> Imported:
        path = f"/offer-imports/{_id(import_id)}/discard"
        return _read(Imported, self._hub.json("POST", path, repeat=True, json={}))

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
        files: Sequence[LocalFile] = (),
        vouchers: Literal["auto", "none"] | Sequence[str] | None = None,
        project_id: str | None = None,
    ) -> Quotes:
        """Ranked quotes for the text of a task file; without `vouchers` the task's own choice holds."""
        body = _given(
            task=task,
            workdir=_folder(files),
            vouchers=vouchers if vouchers is None or isinstance(vouchers, str) else list(vouchers),
            project_id=project_id,
        )
        return _read(Quotes, self._hub.json("POST", "/quotes", repeat=False, json=body))

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
        body = _given(
            offer_id=offer_id,
            nodes=nodes,
            per_node=per_node,
            start=start.isoformat(),
            end=end.isoformat(),
            vouchers=vouchers if vouchers is None or isinstance(vouchers, str) else list(vouchers),
            project_id=project_id,
        )
        return _read(Quote, self._hub.json("POST", "/blocks/quotes", repeat=False, json=body))

    def blocks(self, *, limit: int | None = None, cursor: str | None = None) -> Page[Block]:
        return self._page(Block, "/blocks", limit=limit, cursor=cursor)

    def block(self, block_id: str) -> Block:
        return self._get(Block, f"/blocks/{_id(block_id)}")

    def block_of_order(self, order_id: str) -> Block:
        """The block that an order bought."""
        return self._page(Block, "/blocks", limit=1, cursor=None, order_id=order_id).items[0]

    def make_volume_quote(
        self,
        name: str,
        *,
        gb: int,
        days: int = 30,
        offer_id: str | None = None,
        supplier: str = "",
        pool: str = "",
        vouchers: Literal["auto", "none"] | Sequence[str] | None = None,
        project_id: str | None = None,
    ) -> Quote:
        """What room for a volume costs: of the cheapest offer, or of the one that is named; accepting it takes it."""
        body = _given(
            name=name,
            gb=gb,
            days=days,
            offer_id=offer_id,
            supplier=supplier or None,
            pool=pool or None,
            vouchers=vouchers if vouchers is None or isinstance(vouchers, str) else list(vouchers),
            project_id=project_id,
        )
        return _read(Quote, self._hub.json("POST", "/volumes/quotes", repeat=False, json=body))

    def make_volume_time_quote(
        self,
        volume_id: str,
        *,
        days: int = 30,
        vouchers: Literal["auto", "none"] | Sequence[str] | None = None,
    ) -> Quote:
        """What more time for a volume costs, from the end of what is paid for; accepting it buys it."""
        body = _given(
            days=days,
            vouchers=vouchers if vouchers is None or isinstance(vouchers, str) else list(vouchers),
        )
        path = f"/volumes/{_id(volume_id)}/quotes"
        return _read(Quote, self._hub.json("POST", path, repeat=False, json=body))

    def volumes(self, *, limit: int | None = None, cursor: str | None = None) -> Page[Volume]:
        return self._page(Volume, "/volumes", limit=limit, cursor=cursor)

    def volume(self, volume_id: str) -> Volume:
        return self._get(Volume, f"/volumes/{_id(volume_id)}")

    def volume_of_order(self, order_id: str) -> Volume:
        """The volume that an order keeps."""
        return self._page(Volume, "/volumes", limit=1, cursor=None, order_id=order_id).items[0]

    def change_volume(self, volume_id: str, *, renews_days: int) -> Volume:
        path, body = f"/volumes/{_id(volume_id)}", {"renews_days": renews_days}
        return _read(Volume, self._hub.json("PATCH", path, repeat=True, json=body))

    def delete_volume(self, volume_id: str) -> Volume:
        """Delete it with all that is in it; what is left of its time is given back."""
        return _read(Volume, self._hub.json("DELETE", f"/volumes/{_id(volume_id)}", repeat=True))

    def quote(self, quote_id: str) -> Quote:
        return self._get(Quote, f"/quotes/{_id(quote_id)}")

    def accept(self, quote_id: str, *, idempotency_key: str | None = None) -> Order:
        """The order made of a quote: one, however often this has to be sent until an answer comes."""
        headers = {"Idempotency-Key": idempotency_key or str(uuid4())}
        answer = self._hub.json("POST", "/orders", repeat=True, json={"quote_id": quote_id}, headers=headers)
        return _read(Order, answer)

    def orders(self, *, limit: int | None = None, cursor: str | None = None) -> Page[Order]:
        return self._page(Order, "/orders", limit=limit, cursor=cursor)

    def order(self, order_id: str) -> Order:
        return self._get(Order, f"/orders/{_id(order_id)}")

    def cancel_order(self, order_id: str) -> Order:
        return _read(Order, self._hub.json("POST", f"/orders/{_id(order_id)}/cancel", repeat=False))

    # Running

    def runs(self, *, limit: int | None = None, cursor: str | None = None) -> Page[Run]:
        return self._page(Run, "/runs", limit=limit, cursor=cursor)

    def run(self, run_id: str) -> Run:
        return self._get(Run, f"/runs/{_id(run_id)}")

    def apps(self, run_id: str) -> tuple[App, ...]:
        """What the hub started in a session that runs, each with what lets a browser in."""
        return self._get(Apps, f"/runs/{_id(run_id)}/apps").items

    def connections(
        self, run_id: str, *, limit: int | None = None, cursor: str | None = None
    ) -> Page[Connection]:
        """Who was joined to the run's ports, newest first."""
        return self._page(Connection, f"/runs/{_id(run_id)}/connections", limit=limit, cursor=cursor)

    def guests(self, run_id: str) -> tuple[Guest, ...]:
        """With whom a session is shared."""
        return self._get(Guests, f"/runs/{_id(run_id)}/guests").items

    def share_run(self, run_id: str, email: str) -> Guest:
        """Let a member of the organisation be joined to the session, as its orderer is."""
        asked = self._hub.json("POST", f"/runs/{_id(run_id)}/guests", json={"email": email}, repeat=True)
        return _read(Guest, asked)

    def end_sharing(self, run_id: str, guest_id: str) -> None:
        self._hub.exchange("DELETE", f"/runs/{_id(run_id)}/guests/{_id(guest_id)}", repeat=True)

    def keep_run(self, run_id: str) -> Run:
        """A session counts as used now: the time after which it is stopped starts anew."""
        return _read(Run, self._hub.json("POST", f"/runs/{_id(run_id)}/keep", repeat=True))

    def set_idle_stop(self, run_id: str, stop_after_s: int | None) -> Run:
        """Have a session stopped when nobody used it for so long; None: by the organisation's rule alone."""
        body = {"stop_after_s": stop_after_s}
        return _read(Run, self._hub.json("PUT", f"/runs/{_id(run_id)}/idle-stop", json=body, repeat=True))

    def ticket(self, run_id: str, *, port: int) -> Ticket:
        """A link that opens a port of a session in a browser, once and soon."""
        asked = self._hub.json("POST", f"/runs/{_id(run_id)}/tickets", json={"port": port}, repeat=False)
        return _read(Ticket, asked)

    def certify_key(self, run_id: str, public_key: str) -> SshCertificate:
        """Let the holder of the key (a line as in a `.pub` file) into the session by ssh."""
        body = {"public_key": public_key}
        answer = self._hub.json("POST", f"/runs/{_id(run_id)}/ssh-certificates", repeat=False, json=body)
        return _read(SshCertificate, answer)

    def cancel_run(self, run_id: str) -> Run:
        return _read(Run, self._hub.json("POST", f"/runs/{_id(run_id)}/cancel", repeat=False))

    def log(self, run_id: str, *, offset: int = 0) -> str:
        """The log so far, from `offset` (in bytes) on."""
        data = b""
        while True:
            response = self._hub.exchange(
                "GET", f"/runs/{_id(run_id)}/log", repeat=True, params={"offset": offset}
            )
            data += response.content
            after = int(response.headers.get("X-Next-Offset", offset + len(response.content)))
            if after <= offset:
                return data.decode(errors="replace")
            offset = after

    def follow_log(self, run_id: str, *, offset: int = 0) -> Iterator[LogEvent]:
        """The log as it grows, and the run's states, until the end; taken up again when the line is lost."""
        return follow(self._hub, f"/runs/{_id(run_id)}/log", offset=offset)

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
                    f"/runs/{_id(run_id)}/outputs/{quoted(output.path, safe='/')}", stream
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

    def upload_workdir(self, files: Sequence[LocalFile]) -> int:
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

    # Serving

    def endpoints(
        self, *, state: str | None = None, limit: int | None = None, cursor: str | None = None
    ) -> Page[Endpoint]:
        return self._page(Endpoint, "/endpoints", limit=limit, cursor=cursor, **_given(state=state))

    def endpoint(self, endpoint_id: str) -> Endpoint:
        return self._get(Endpoint, f"/endpoints/{_id(endpoint_id)}")

    def make_endpoint(
        self,
        name: str,
        task: str,
        *,
        files: Sequence[LocalFile] = (),
        project_id: str | None = None,
        idempotency_key: str | None = None,
    ) -> Endpoint:
        """An address for a service: one, however often this has to be sent until an answer comes."""
        headers = {"Idempotency-Key": idempotency_key or str(uuid4())}
        body = _given(name=name, task=task, workdir=_folder(files), project_id=project_id)
        return _read(Endpoint, self._hub.json("POST", "/endpoints", repeat=True, json=body, headers=headers))

    def change_endpoint(
        self,
        endpoint_id: str,
        *,
        task: str | None = None,
        files: Sequence[LocalFile] = (),
        auth: Literal["key", "hub", "public"] | None = None,
    ) -> Endpoint:
        """Another task, whose replicas take over one by one, or who may ask."""
        body = _given(task=task, workdir=_folder(files), auth=auth)
        path = f"/endpoints/{_id(endpoint_id)}"
        return _read(Endpoint, self._hub.json("PATCH", path, repeat=True, json=body))

    def end_endpoint(self, endpoint_id: str) -> Endpoint:
        return _read(Endpoint, self._hub.json("POST", f"/endpoints/{_id(endpoint_id)}/end", repeat=True))

    def replicas(
        self, endpoint_id: str, *, limit: int | None = None, cursor: str | None = None
    ) -> Page[Replica]:
        return self._page(Replica, f"/endpoints/{_id(endpoint_id)}/replicas", limit=limit, cursor=cursor)

    def endpoint_keys(
        self, endpoint_id: str, *, limit: int | None = None, cursor: str | None = None
    ) -> Page[EndpointKey]:
        return self._page(EndpointKey, f"/endpoints/{_id(endpoint_id)}/keys", limit=limit, cursor=cursor)

    def make_endpoint_key(self, endpoint_id: str, name: str) -> NewEndpointKey:
        """A key with which programs ask there; nobody can show its secret again."""
        path = f"/endpoints/{_id(endpoint_id)}/keys"
        return _read(NewEndpointKey, self._hub.json("POST", path, repeat=False, json={"name": name}))

    def revoke_endpoint_key(self, endpoint_id: str, key_id: str) -> EndpointKey:
        path = f"/endpoints/{_id(endpoint_id)}/keys/{_id(key_id)}"
        return _read(EndpointKey, self._hub.json("DELETE", path, repeat=True))

    def endpoint_requests(
        self, endpoint_id: str, *, limit: int | None = None, cursor: str | None = None
    ) -> Page[EndpointRequest]:
        path = f"/endpoints/{_id(endpoint_id)}/requests"
        return self._page(EndpointRequest, path, limit=limit, cursor=cursor)

    # Money

    def receipts(self, *, limit: int | None = None, cursor: str | None = None) -> Page[Receipt]:
        return self._page(Receipt, "/receipts", limit=limit, cursor=cursor)

    def receipt(self, receipt_id: str) -> Receipt:
        return self._get(Receipt, f"/receipts/{_id(receipt_id)}")

    def budgets(self, *, limit: int | None = None, cursor: str | None = None) -> Page[Budget]:
        """Budgets in force, with how this month stands."""
        return self._page(Budget, "/budgets", limit=limit, cursor=cursor)

    def bills(self) -> Bills:
        return self._get(Bills, "/bills")

    def costs(
        self, month: str, target: Path, *, version: str = "1.2", format: Literal["csv", "parquet"] = "csv"
    ) -> int:
        """A month's costs in FOCUS, written to a file as they come; its size in bytes."""
        return self._save(f"/bills/{_id(month)}/focus", target, {"version": version, "format": format})

    def bill_paper(self, month: str, target: Path) -> int:
        """The month's frozen bill as PDF, in the client's language; its size in bytes."""
        return self._save(f"/bills/{_id(month)}/pdf", target)

    def receipt_paper(self, receipt_id: str, target: Path) -> int:
        """A receipt as PDF, in the client's language; its size in bytes."""
        return self._save(f"/receipts/{_id(receipt_id)}/pdf", target)

    def statements(
        self, *, month: str = "", limit: int | None = None, cursor: str | None = None
    ) -> Page[Statement]:
        """What closed months came to for the organisation as a supplier; newest first."""
        return self._page(Statement, "/statements", limit=limit, cursor=cursor, **_given(month=month or None))

    def settlement_statement(self, statement_id: str) -> Statement:
        return self._get(Statement, f"/statements/{_id(statement_id)}")

    def statement_paper(self, statement_id: str, target: Path) -> int:
        """A settlement statement as PDF, in the client's language; its size in bytes."""
        return self._save(f"/statements/{_id(statement_id)}/pdf", target)

    def payouts(self, *, limit: int | None = None, cursor: str | None = None) -> Page[Payout]:
        """What the hub paid for statements, or is about to; newest first."""
        return self._page(Payout, "/payouts", limit=limit, cursor=cursor)

    def bill(self, month: str) -> Bill:
        """One month, such as `2026-11`."""
        return self._get(Bill, f"/bills/{_id(month)}")

    def balance(self) -> Balance:
        return self._get(Balance, "/balance")

    def vouchers(self, *, limit: int | None = None, cursor: str | None = None) -> Page[Voucher]:
        return self._page(Voucher, "/vouchers", limit=limit, cursor=cursor)

    def statement(
        self, *, account: str | None = None, limit: int | None = None, cursor: str | None = None
    ) -> Page[Answer]:
        return self._page(Answer, "/statement", limit=limit, cursor=cursor, **_given(account=account))

    def _get(self, model: type[AnswerT], path: str) -> AnswerT:
        return _read(model, self._hub.json("GET", path, repeat=True))

    def _page(
        self, model: type[AnswerT], path: str, *, limit: int | None, cursor: str | None, **params: Any
    ) -> Page[AnswerT]:
        params |= _given(limit=limit, cursor=cursor)
        return _read(Page[model], self._hub.json("GET", path, repeat=True, params=params))  # type: ignore[valid-type]


def _read(model: type[AnswerT], answer: object) -> AnswerT:
    try:
        return model.model_validate(answer)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BrokenAnswer(
            f"The hub's answer cannot be read: {where}: {first['msg']}.",
            hint="Update mosu, or check the address.",
        ) from error


def _folder(files: Sequence[LocalFile]) -> list[dict[str, Any]]:
    return [
        {
            "path": file.entry.path,
            "sha256": file.entry.sha256,
            "size_bytes": file.entry.size_bytes,
            "executable": file.entry.executable,
        }
        for file in files
    ]


def _missing(answer: object) -> list[str]:
    missing = answer.get("missing") if isinstance(answer, dict) else None
    if not isinstance(missing, list):
        raise BrokenAnswer("The hub did not say which files it needs.", hint="Update mosu.")
    return [str(digest) for digest in missing]


def _given(**values: Any) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


def _id(text: str) -> str:
    return quoted(text, safe="")


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
