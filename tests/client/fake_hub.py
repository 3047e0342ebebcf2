"""A small hub for tests of the client and the command line: real HTTP, one offer, one run, and faults on order."""

import contextlib
import hashlib
import json
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from mosu.wire.task import TaskRefused, parse_task

TOKEN = "mosu_fake"
OFFER = {
    "id": "offer_1",
    "shelf": "compute",
    "title": {"zh": "本地核时", "en": "Local cores"},
    "supplier": {"id": "org_9", "name": "Local pool"},
    "accelerator": None,
    "region": "shanghai",
    "mode": None,
    "prices": [{"meter": "core_second", "unit_price": "0.36", "unit": "core_hour"}],
    "shelf_note": None,
    "stock": {"free": 2, "reserved": 0, "taken": 0, "total": 2},
    "live": True,
    "why_not_live": None,
    "key_of_a_newer_hub": [1],
}
SPLIT = [
    {
        "source": "voucher",
        "voucher_id": "voucher_1",
        "programme": {"id": "programme_1", "version": 1, "title": {"zh": "算力券", "en": "Compute voucher"}},
        "rate": "0.5",
        "limit": "100.00",
        "amount": "6.40",
        "label": {"zh": "算力券", "en": "Compute voucher"},
    },
    {"source": "balance", "amount": "6.40", "limit": "12.80", "label": {"zh": "余额", "en": "Balance"}},
    {"source": "refund", "amount": "1.28", "limit": "1.28", "label": {"zh": "后补", "en": "Refund later"}},
]
QUOTE = {
    "id": "quote_1",
    "state": "open",
    "valid_until": "2026-12-01T10:15:00Z",
    "offer": {key: OFFER[key] for key in ("id", "title", "supplier")},
    "starts_at": None,
    "wall_limit_s": 600,
    "lines": [],
    "total_max": "12.80",
    "currency": "CNY",
    "split": SPLIT,
    "pay_now": "6.40",
    "voucher_now": "6.40",
    "refund_later": "1.28",
    "holds_until": None,
}
RECEIPT = {
    "id": "receipt_1",
    "number": "R-2026-000001",
    "order_id": "order_1",
    "run_id": "run_1",
    "issued_at": "2026-12-01T10:05:00Z",
    "currency": "CNY",
    "lines": [
        {
            "text": {"zh": "CPU 核时", "en": "Core-hours"},
            "quantity": "2.5",
            "unit": "core-hour",
            "unit_price": "0.36",
            "amount": "0.90",
        }
    ],
    "total": "0.90",
    "split": [{**SPLIT[0], "amount": "0.45"}, {**SPLIT[1], "amount": "0.45"}],
    "voucher_share": "0.45",
    "paid": "0.45",
    "released": "11.90",
    "tax": {"rate": "0.06", "amount": "0.05"},
    "seller": {"id": "org_1", "name": "模速空间"},
    "buyer": {"id": "org_2", "name": "Startup Ltd"},
    "sha256": "ab" * 32,
    "verify_url": "http://127.0.0.1/verify/1",
}


CONNECTIONS = [
    {
        "id": "connection_2",
        "port": 8888,
        "user": "ada@startup.example",
        "opened_at": "2026-12-01T10:02:00Z",
        "closed_at": None,
        "bytes_in": 12,
        "bytes_out": 3_400_000,
        "why": "",
    },
    {
        "id": "connection_1",
        "port": 80,
        "user": "ada@startup.example",
        "opened_at": "2026-12-01T10:01:00Z",
        "closed_at": "2026-12-01T10:01:30Z",
        "bytes_in": 1500,
        "bytes_out": 0,
        "why": "they left",
    },
]
REFUSAL = {
    "code": "changed_since",
    "message": "Offers that it touched changed since (2): the import cannot be undone.",
    "hint": "Bring in the earlier file instead, or change the offers by hand.",
    "count": 2,
    "problems": [{"line": 3, "field": "b", "message": "It has another price since."}],
}


@dataclass
class FakeHub:
    """`faults` maps "METHOD /path" to what the next calls do: `drop` (after it took effect), or a status."""

    url: str = ""
    faults: dict[str, list[str | int]] = field(default_factory=dict)
    calls: list[tuple[str, str]] = field(default_factory=list)
    answered: list[tuple[str, str]] = field(default_factory=list)
    """Those of the calls whose answer is on its way: what is changed from now on is not in it any more."""
    keys: list[str] = field(default_factory=list)
    orders: dict[str, dict[str, Any]] = field(default_factory=dict)
    languages: list[str] = field(default_factory=list)
    """What each call asked for by Accept-Language."""
    blobs: dict[str, bytes] = field(default_factory=dict)
    tasks: list[dict[str, Any]] = field(default_factory=list)
    log: bytes = "step 1\nstep 2 \u2028损失\n".encode()
    log_cuts: list[int] = field(default_factory=list)
    """After so many bytes of the log each connection breaks, one after the other."""
    outputs: dict[str, bytes] = field(default_factory=lambda: {"out/loss.csv": b"1,2\n"})
    lie_about: set[str] = field(default_factory=set)
    state: str = "succeeded"
    kind: str = "batch"
    connect_url: str | None = None
    stop_asked_at: str | None = None
    label: str = ""
    """Of the snapshot that was asked for."""
    copied: list[dict[str, Any]] = field(default_factory=list)
    """How the snapshot stands each time it is looked at."""
    quota_gb: int = 100
    certified: list[str] = field(default_factory=list)
    certificate: dict[str, str] = field(
        default_factory=lambda: {
            "certificate": "ssh-ed25519-cert-v01@openssh.com AAAA",
            "host_key": "ssh-ed25519 BBBB",
            "valid_until": "2026-12-01T12:00:00Z",
        }
    )
    apps: list[dict[str, Any]] = field(default_factory=list)
    guests: list[dict[str, Any]] = field(default_factory=list)
    block_state: str = "held"
    endpoint: dict[str, Any] = field(default_factory=dict)
    """The one endpoint; each look at its replicas brings it nearer to an answer."""
    endpoint_wanted: int = 1
    endpoint_looks: int = 0
    no_quotes: bool = False
    refused: int = 1
    """How many offers do not fit."""
    password: str = "correct horse"
    otp: str = ""
    offer_import: dict[str, Any] = field(
        default_factory=lambda: {"id": "import_1", "state": "", "percent": 0, "rows_read": 7, "counts": {}}
    )
    offer_import_next: dict[str, Any] = field(default_factory=dict)
    """What the import becomes once it was asked for twice."""

    def run(self) -> dict[str, Any]:
        outputs = [
            {"path": path, "sha256": hashlib.sha256(data).hexdigest(), "size_bytes": len(data)}
            for path, data in self.outputs.items()
        ]
        return {
            "id": "run_1",
            "name": "char-lm",
            "state": self.state,
            "order_id": "order_1",
            "exit_code": {"succeeded": 0, "failed": 7}.get(self.state),
            "reason": "exit code 7" if self.state == "failed" else "",
            "outputs": outputs,
            "cost_so_far": "0.90",
            "currency": "CNY",
            "created_at": "2026-12-01T10:00:00Z",
            "kind": self.kind,
            "connect_url": self.connect_url,
            "stop_asked_at": self.stop_asked_at,
        }

    def order(self) -> dict[str, Any]:
        return {
            "id": "order_1",
            "number": "O-1",
            "state": "settled",
            "quote_id": "quote_1",
            "run_id": "run_1",
            "currency": "CNY",
            "total": "0.90",
            "total_max": "12.80",
            "lines": [{"meter": "gb_second", "units": 100, "unit": "gb_month", "unit_price": "0.15"}],
            "receipt_id": "receipt_1",
            "placed_at": "2026-12-01T10:00:00Z",
            "offer": QUOTE["offer"],
            "split": SPLIT,
        }


STATEMENT = {
    "id": "statement_1", "number": "S-202610-000001", "supplier_id": "org_2", "supplier": "Alpha", "month": "2026-10",
    "currency": "CNY", "orders": 3, "gross": "90.00", "voucher_share": "45.00", "buyer_share": "45.00", "fee": "4.50",
    "tax": "5.09", "credits": "0.00", "net": "85.50", "to_invoice": "0.00", "sha256": "0" * 64,
    "programmes": [{"id": "programme_1", "title": {"zh": "算力券", "en": "Compute voucher"}, "amount": "45.00"}],
    "credit_notes": [], "issued_at": "2026-11-01T00:10:00Z",
}  # fmt: skip
PAYOUT = {
    "id": "payout_1", "organisation_id": "org_2", "statement_id": "statement_1", "amount": "85.50", "currency": "CNY",
    "bank_reference": "ICBC-77", "state": "confirmed", "proposed_at": "2026-11-03T02:00:00Z",
    "decided_at": "2026-11-03T03:00:00Z", "entry_id": "entry_1",
}  # fmt: skip
BUDGET = {
    "id": "budget_1",
    "organisation_id": "org_1",
    "project_id": "project_1",
    "user_id": None,
    "cap": "100.00",
    "currency": "CNY",
    "month": "2026-11",
    "spent": "20.00",
    "committed": "30.00",
    "left": "70.00",
    "spent_percent": 20,
}
BLOCK_TERMS = {
    "shortest_hours": 1,
    "ahead_days": 90,
    "cancellation": [{"before_start_hours": 168, "back_percent": 100}],
    "back_percent_after_start": 0,
}
BLOCK = {
    "id": "block_1",
    "state": "held",
    "order_id": "order_1",
    "start": "2026-12-01T00:00:00Z",
    "end": "2026-12-08T00:00:00Z",
    "nodes": ["n1", "n2"],
    "accelerator": "nvidia-h100-sxm",
    "cards": 8,
    "cores": 64,
    "total_max": "12.80",
    "currency": "CNY",
    "terms": BLOCK_TERMS,
    "if_cancelled": {"charged": "0.90", "back": "11.90", "back_percent": 93},
}
PROJECTS = [{"id": "project_1", "name": "Vision"}, {"id": "project_2", "name": "Speech"}]
VOLUME = {
    "id": "volume_1",
    "name": "corpus",
    "state": "kept",
    "pool": "hall-2",
    "gb": 100,
    "organisation_id": "org_1",
    "project_id": "project_2",
    "kept_until": "2026-12-31T00:00:00Z",
    "deleted_at": "2027-01-07T00:00:00Z",
    "renews_days": 0,
    "used_by": ["run_1"],
    "order_ids": ["order_1"],
    "held": "12.80",
    "currency": "CNY",
}
SNAPSHOT = VOLUME | {
    "id": "volume_2",
    "name": "corpus@clean",
    "snapshot_of": "volume_1",
    "gb": 3,
    "used_by": [],
    "last_copy": {"source": "corpus", "state": "whole", "bytes_done": 5, "bytes_total": 5, "took_s": 2.5},
}
BILL_MONTH = {
    "month": "2026-11",
    "receipts": 2,
    "total": "0.90",
    "voucher_share": "0.45",
    "paid": "0.45",
    "currency": "CNY",
}
BILL = BILL_MONTH | {
    "billed_by_suppliers": "0.00",
    "refund_later": "0.10",
    "credited": "0.00",
    "tax": "0.05",
    "programmes": [{"id": "programme_1", "title": {"zh": "算力券", "en": "Compute"}, "amount": "0.45"}],
    "suppliers": [{"name": "Alpha", "amount": "0.90"}],
}


class Refused(Exception):
    def __init__(self, status: int, code: str, title: str, detail: str = "", **facts: object) -> None:
        self.status = status
        self.body = {"type": f"urn:mosu:{code}", "title": title, "status": status, "detail": detail, **facts}


@contextlib.contextmanager
def running_hub() -> Iterator[FakeHub]:
    hub = FakeHub()
    server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Who leaves before the answer is whole does no wrong; the traceback would stand in what the command said."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class _Handler(BaseHTTPRequestHandler):
    hub: FakeHub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        self._serve("GET")

    def do_POST(self) -> None:
        self._serve("POST")

    def do_PATCH(self) -> None:
        self._serve("PATCH")

    def do_DELETE(self) -> None:
        self._serve("DELETE")

    def do_PUT(self) -> None:
        self._serve("PUT")

    def _serve(self, method: str) -> None:
        parts = urlsplit(self.path)
        path = unquote(parts.path.removeprefix("/api/v1"))
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        body = self._body()
        self.hub.calls.append((method, path))
        faults = self.hub.faults.get(f"{method} {path}", [])
        fault = faults.pop(0) if faults else None
        try:
            if isinstance(fault, int):
                raise Refused(fault, "server", "The hub stumbles.")
            self.hub.languages.append(self.headers.get("Accept-Language", ""))
            if path != "/tokens" and self.headers.get("Authorization") != f"Bearer {TOKEN}":
                raise Refused(401, "unauthenticated", "The token is not known.", "Sign in: mosu login")
            if path == "/runs/run_1/log" and query.get("follow") == "true":
                self._follow(int(query.get("offset", "0")))
                return
            status, answer, headers = self._answer(method, path, query, body)
        except Refused as refused:
            status, answer, headers = refused.status, json.dumps(refused.body).encode(), {}
        if fault == "drop":
            self.close_connection = True
            self.connection.close()
            return
        self.send_response(status)
        for name, value in {"Content-Length": str(len(answer)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer)
        self.hub.answered.append((method, path))

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            raise AssertionError("bodies are sent with their length")
        return self.rfile.read(int(self.headers.get("Content-Length", "0")))

    def _follow(self, offset: int) -> None:
        hub = self.hub
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        self.wfile.write(b': hello\n\nevent: state\ndata: {"state": "running"}\n\n')
        end = min(hub.log_cuts.pop(0), len(hub.log)) if hub.log_cuts else len(hub.log)
        start = max(0, offset - 3) if offset else 0  # sends a little again, as a hub may
        text = hub.log[start:end].decode(errors="replace")
        data = json.dumps({"offset": start, "text": text}, ensure_ascii=False)
        self.wfile.write(f"event: log\nid: {end}\ndata: {data}\n\n".encode())
        if end == len(hub.log):
            self.wfile.write(f'event: state\ndata: {{"state": "{hub.state}"}}\n\nevent: end\n\n'.encode())

    def _answer(
        self, method: str, path: str, query: dict[str, str], body: bytes
    ) -> tuple[int, bytes, dict[str, str]]:
        hub = self.hub
        if path.startswith("/blobs/") and method == "PUT":
            digest = path.removeprefix("/blobs/")
            if hashlib.sha256(body).hexdigest() != digest:
                raise Refused(422, "digest_mismatch", "The bytes have another sha256.")
            hub.blobs[digest] = body
            return 201, b"", {}
        if path.startswith("/runs/run_1/outputs/"):
            name = path.removeprefix("/runs/run_1/outputs/")
            return 200, b"other bytes" if name in hub.lie_about else hub.outputs[name], {}
        if path in {
            "/bills/2026-11/focus",
            "/bills/2026-11/pdf",
            "/receipts/receipt_1/pdf",
            "/statements/statement_1/pdf",
        }:
            said = {**query, "language": self.headers.get("Accept-Language", "")}
            return 200, f"{path} {json.dumps(said, sort_keys=True)}".encode(), {}
        if path == "/runs/run_1/log":
            offset = int(query.get("offset", "0"))
            piece = hub.log[offset : offset + 10]
            return 200, piece, {"X-Next-Offset": str(offset + len(piece)), "X-Ended": "true"}
        status, answer = self._json(method, path, query, json.loads(body) if body else {})
        return status, json.dumps(answer).encode(), {"Content-Type": "application/json"}

    def _json(
        self, method: str, path: str, query: dict[str, str], body: dict[str, Any]
    ) -> tuple[int, object]:
        hub = self.hub
        match method, path:
            case "POST", "/tokens":
                if body["password"] != hub.password:
                    raise Refused(401, "wrong_credentials", "E-mail or password is wrong.", "Try again.")
                if hub.otp and body.get("otp") != hub.otp:
                    raise Refused(401, "code_needed", "A one-time code is needed.", "Give --otp.")
                return 201, {"token": TOKEN, "id": "token_1", "name": body.get("name", ""), "scopes": ["buy"]}
            case "GET", "/me":
                return 200, {
                    "user": {"id": "user_1", "email": "a@example.org", "name": "A"},
                    "organisation": {"id": "org_2", "name": "Startup Ltd"},
                    "currency": "CNY",
                    "zone": "Asia/Shanghai",
                }
            case "POST", "/offer-imports":
                hub.offer_import |= {"state": "reading", "file": body["file"]["name"]}
                hub.offer_import_next = {"state": "previewed", "counts": {"rows": 2, "new": 2}}
                if b"refuse" in hub.blobs[body["file"]["sha256"]]:
                    hub.offer_import_next = {"state": "refused", "refusal": REFUSAL}
                return 201, hub.offer_import
            case "POST", "/offer-imports/import_1/apply":
                hub.offer_import |= {"state": "applying"}
                hub.offer_import_next = {"state": "applied"}
                return 200, hub.offer_import
            case "POST", "/offer-imports/import_1/undo":
                assert body["why"]
                hub.offer_import |= {"state": "undoing"}
                hub.offer_import_next = {"state": "applied", "refusal": REFUSAL}
                if body["why"] == "the wrong file":
                    hub.offer_import_next = {"state": "undone"}
                return 200, hub.offer_import
            case "GET", "/offer-imports/import_1":
                if hub.offer_import["percent"] < 50 and hub.offer_import_next:
                    hub.offer_import["percent"] = 50  # once more under way
                elif hub.offer_import_next:
                    hub.offer_import |= hub.offer_import_next | {"percent": 0}
                    hub.offer_import_next = {}
                return 200, hub.offer_import
            case "GET", "/offer-imports/import_1/rows":
                return 200, {"items": [], "next": None}
            case "GET", "/runs/run_1/apps":
                return 200, {"items": hub.apps}
            case "GET", "/offers":
                return 200, {"items": [OFFER | {"query": query}], "next": None}
            case "GET", "/offers/offer_1":
                return 200, OFFER
            case "POST", "/quotes":
                return self._quotes(body)
            case "GET", "/quotes/quote_1":
                return 200, QUOTE
            case "POST", "/orders":
                key = self.headers["Idempotency-Key"]
                hub.keys.append(key)
                return 201, hub.orders.setdefault(key, hub.order())
            case "GET", "/orders":
                return 200, {"items": [hub.order()], "next": None}
            case "GET", "/orders/order_1":
                return 200, hub.order()
            case "POST", "/orders/order_1/cancel":
                return 200, hub.order() | {"state": "cancelled"}
            case "GET", "/runs":
                return 200, {"items": [hub.run()], "next": "cursor"}
            case "GET", "/runs/run_1":
                return 200, hub.run()
            case "GET", "/runs/run_1/connections":
                return 200, {"items": CONNECTIONS if hub.kind == "session" else [], "next": None}
            case "GET", "/runs/run_1/guests":
                return 200, {"items": hub.guests, "next": None}
            case "POST", "/runs/run_1/guests":
                hub.guests.append(
                    {"id": "guest_1", "user": body["email"], "let_in_at": "2026-12-01T10:01:00Z"}
                )
                return 201, hub.guests[-1]
            case "DELETE", "/runs/run_1/guests/guest_1":
                hub.guests.clear()
                return 200, {}
            case "POST", "/runs/run_1/keep":
                return 200, hub.run() | {"ends_at": "2026-12-01T12:00:00Z"}
            case "PUT", "/runs/run_1/idle-stop":
                return 200, hub.run() | {"idle_stop_s": body["stop_after_s"]}
            case "POST", "/runs/run_1/tickets":
                url = f"http://{body['port']}-1.apps.localhost:8001/.mosu/open?ticket=once"
                return 201, {"url": url, "expires_at": "2026-12-01T10:01:00Z"}
            case "POST", "/runs/run_1/ssh-certificates":
                hub.certified.append(body["public_key"])
                return 201, hub.certificate
            case "POST", "/runs/run_1/cancel":
                return 200, hub.run() | ({} if hub.stop_asked_at else {"state": "cancelled"})
            case "POST", "/blobs/missing":
                return 200, {"missing": [digest for digest in body["sha256"] if digest not in hub.blobs]}
            case "GET", "/receipts":
                return 200, {"items": [RECEIPT], "next": None}
            case "GET", "/receipts/receipt_1":
                return 200, RECEIPT
            case "POST", "/blocks/quotes":
                return 201, QUOTE | {"block": BLOCK_TERMS, "asked": body}
            case "GET", "/blocks":
                return 200, {"items": [BLOCK], "next": None}
            case "GET", "/blocks/block_1":
                return 200, BLOCK
            case "GET", path if path.startswith("/blocks/block_0"):
                return 200, BLOCK | {"id": path.rpartition("/")[2], "state": hub.block_state}
            case "POST", "/volumes/volume_1/snapshots/quotes":
                hub.label = body["label"]
                return 201, QUOTE | {"asked": body}
            case "GET", "/volumes/volume_2":
                return 200, SNAPSHOT | hub.copied.pop(0)
            case "POST", "/volumes/volume_1/restore":
                assert body == {"snapshot_id": "volume_2"}
                return 200, VOLUME | {"last_copy": SNAPSHOT["last_copy"] | {"restores": True}}
            case "GET", "/quotas":
                quota = {"organisation_id": "org_1", "project_id": "project_1", "units_max": hub.quota_gb}
                return 200, {"items": [quota | {"volumes": True, "kept_gb": 30}], "next": None}
            case "PUT", "/quotas":
                assert body["volumes"] and body["project_id"] == "project_1"
                hub.quota_gb = body["units_max"]
                return 200, {}
            case "POST", "/volumes/quotes" | "/volumes/volume_1/quotes" | "/runs/run_1/quotes":
                return 201, QUOTE | {"asked": body}
            case "GET", "/volumes" if "order_id" in query and hub.label:
                copying = SNAPSHOT["last_copy"] | {"state": "copying", "bytes_done": 1}
                return 200, {"items": [SNAPSHOT | {"state": "making", "last_copy": copying}], "next": None}
            case "GET", "/volumes":
                return 200, {"items": [VOLUME, *([SNAPSHOT] if hub.label else [])], "next": None}
            case "GET", "/volumes/volume_1":
                return 200, VOLUME
            case "PATCH", "/volumes/volume_1":
                return 200, VOLUME | body
            case "DELETE", "/volumes/volume_1":
                return 200, VOLUME | {"state": "deleting"}
            case "GET", "/budgets":
                whole = BUDGET | {"project_id": None, "organisation_id": "org_2"}
                return 200, {"items": [BUDGET, whole], "next": None}
            case "GET", "/projects":
                return 200, {"items": PROJECTS, "next": None}
            case "GET", "/bills":
                return 200, {"items": [BILL_MONTH]}
            case "GET", "/bills/2026-11":
                return 200, BILL
            case "GET", "/statements":
                found = [STATEMENT] if query.get("month", "2026-10") == "2026-10" else []
                if query.get("cursor") == "second":
                    return 200, {
                        "items": [STATEMENT | {"id": "statement_0", "month": "2026-09"}],
                        "next": None,
                    }
                return 200, {"items": found, "next": "second" if "month" not in query else None}
            case "GET", "/statements/statement_1":
                return 200, STATEMENT
            case "GET", "/payouts":
                return 200, {"items": [PAYOUT], "next": None}
            case "GET", "/balance":
                return 200, {"currency": "CNY", "balance": "100.00", "held": "6.40", "available": "93.60"}
            case "GET", "/statement":
                return 200, {"items": [{"memo": "trial"}], "next": None}
            case "GET", "/vouchers":
                voucher = {"id": "voucher_1", "state": "active", "amount": "100.00", "remaining": "93.60"}
                return 200, {"items": [voucher | {"programme": SPLIT[0]["programme"]}], "next": None}
        if path.startswith("/endpoints"):
            return self._endpoint(method, path.removeprefix("/endpoints"), query, body)
        raise Refused(404, "not_found", f"There is no {path}.", "Check the id.")

    def _endpoint(
        self, method: str, below: str, query: dict[str, str], body: dict[str, Any]
    ) -> tuple[int, object]:
        hub = self.hub
        key = {"id": "ekey_1", "name": body.get("name", "app")}
        match method, below.removeprefix("/endpoint_1"):
            case "POST", "" if not below:
                self.headers["Idempotency-Key"].strip()
                hub.endpoint = {
                    "id": "endpoint_1",
                    "name": body["name"],
                    "state": "open",
                    "url": f"https://{body['name']}-0123456789.apps.example",
                    "auth": "key",
                    "port": 8000,
                    "version": 1,
                    "replicas": {"min": min(hub.endpoint_wanted, 1), "max": 1, "requests": 16, "idle_s": 600},
                    "wanted": hub.endpoint_wanted,
                }
                return 201, hub.endpoint
            case "GET", "" if not below:
                state = query.get("state")
                found = [hub.endpoint] if hub.endpoint and state in (None, hub.endpoint["state"]) else []
                return 200, {"items": found, "next": None}
            case "GET", "":
                return 200, hub.endpoint
            case "PATCH", "":
                hub.endpoint |= {"version": hub.endpoint["version"] + 1}
                return 200, hub.endpoint
            case "POST", "/end":
                hub.endpoint |= {"state": "ended"}
                return 200, hub.endpoint
            case "GET", "/replicas":
                hub.endpoint_looks += 1
                well = hub.endpoint_looks > 2
                replica = {
                    "id": "replica_1",
                    "run_id": "run_1",
                    "run_state": "running" if well else "queued",
                    "version": hub.endpoint["version"],
                    "well_at": "2026-12-01T10:02:00Z" if well else None,
                }
                return 200, {"items": [replica], "next": None}
            case "POST", "/keys":
                return 201, key | {"secret": "sk-mosu-secret"}
            case "GET", "/keys":
                return 200, {"items": [key], "next": None}
            case "DELETE", "/keys/ekey_1":
                return 200, key
            case "GET", "/requests":
                request = {"at": "2026-12-01T10:02:00Z", "method": "GET", "path": "/v1/models", "status": 200}
                return 200, {"items": [request], "next": None}
        raise Refused(404, "not_found", f"There is no {below}.", "Check the id.")

    def _quotes(self, body: dict[str, Any]) -> tuple[int, object]:
        try:
            parse_task(body["task"])
        except TaskRefused as refused:
            raise Refused(422, "task_refused", refused.message, refused.hint) from refused
        self.hub.tasks.append(body)
        refused_offer = {
            "offer_id": "offer_2",
            "title": {"zh": "昇腾", "en": "Ascend"},
            "reasons": [{"code": "no_agent", "message": "No agent is connected.", "hint": ""}],
        }
        refused = [refused_offer] * self.hub.refused
        if self.hub.refused > 1:
            by_the_card = [
                {"code": "wrong_kind", "message": f"sells {card} by the card", "hint": ""} for card in "AB"
            ]
            refused += [refused_offer | {"reasons": [reason]} for reason in by_the_card]
        return 201, {"quotes": [] if self.hub.no_quotes else [QUOTE], "refused": refused}
