"""One leased attempt, from inputs to report: a thread that can be killed and begun again at any line."""

import itertools
import shutil
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final, cast

from pydantic import ValidationError
from structlog.stdlib import BoundLogger

from mosu.kernel.refusals import DomainError
from mosu.site_agent.copying import CopyWatch
from mosu.site_agent.engines.protocol import FINAL_PHASES, Engine, EngineRef, Observation
from mosu.site_agent.errands import Errands
from mosu.site_agent.files import Garbled, read_json, read_json_if_whole, write_durably
from mosu.site_agent.hub import Hub, HubRefused, Refusal, Stopping, TokenRefused
from mosu.site_agent.image_fetch import NotWanted
from mosu.site_agent.images import Images
from mosu.site_agent.metering import UsageBook
from mosu.site_agent.outputs import collect, lay_inputs
from mosu.wire.agent import (
    LOG_CHUNK_BYTES_MAX,
    AttemptPhase,
    AttemptSpec,
    AttemptStatus,
    Command,
    LogChunk,
    OutputFile,
    Report,
    UsageBatch,
)
from mosu.wire.images import image_of

USAGE_EVERY_S: Final = 5.0
RESUBMIT_EVERY_S: Final = 10.0
RETRY_AFTER_S: Final = (1.0, 5.0, 15.0)
TRIES_MAX: Final = 2
"""After so many the machine says that it cannot prepare an attempt, if nothing of it has started."""
_USAGE_RECORDS_MAX: Final = 1000


class Courier:
    """Carries one attempt between hub and engine. All it must remember lies in `folder`.

    What the disk garbled is set aside as `NAME.garbled`; without its lease there is no courier.

    | file | what |
    |---|---|
    | `lease.json` | the spec; without its secrets once the engine has taken the attempt |
    | `submitted` | the engine has taken it |
    | `log_offset` | how much of the log the hub has |
    | `usage.json` | meters and unsent records |
    | `report.json` | the final report, written before it is first sent |
    | `reported` | the hub has the report |

    Raises (on creation):
        Garbled: `lease.json` is not a lease.
    """

    def __init__(
        self,
        folder: Path,
        *,
        engine: Engine,
        images: Images | None,
        hub: Hub,
        stopping: threading.Event,
        changed: Callable[[], None],
        log: BoundLogger,
    ) -> None:
        self._folder, self._engine, self._hub = folder, engine, hub
        self._stopping, self._changed = stopping, changed
        self._images, self._cancelled = images, threading.Event()
        try:
            self.spec = AttemptSpec.model_validate(read_json(folder / "lease.json"))
        except ValidationError as error:
            raise Garbled(folder / "lease.json") from error
        self._log = log.bind(attempt=self.spec.attempt_id, run=self.spec.run_id)
        self._ref = EngineRef(self.spec.attempt_id)
        self._usage = UsageBook(folder / "usage.json", self.spec)
        self._seen = Observation(AttemptPhase.PREPARING)
        if report := read_json_if_whole(folder / "report.json"):
            self._seen = Observation(AttemptPhase(report["phase"]))
        self._offset = read_json_if_whole(folder / "log_offset") or 0
        self._log_refused = self._usage_refused = False
        self._usage_due = 0.0
        self._coming, self._going = CopyWatch(), CopyWatch()
        self._resubmit_at = time.monotonic() + RESUBMIT_EVERY_S
        self._thread: threading.Thread | None = None
        self._changing = threading.Lock()
        self._errands = Errands(f"told {self.spec.attempt_id}", log=self._log)

    @property
    def reported(self) -> bool:
        return (self._folder / "reported").exists()

    @property
    def status(self) -> AttemptStatus:
        return AttemptStatus(
            attempt_id=self.spec.attempt_id,
            epoch=self.spec.epoch,
            phase=self._seen.phase,
            started_at=self._seen.started_at,
            sample=self._seen.sample,
        )

    def begin(self) -> None:
        """Carry on, in a thread, from wherever the attempt is."""
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._run, name=self.spec.attempt_id, daemon=True)
            self._thread.start()

    def obey(self, command: Command, *, forgotten: Callable[[], bool]) -> None:
        """Do what the hub says, soon and in its order; it says it again until it sees it done.

        `forgotten` has the agent forget the attempt, if it may; then nothing is kept of it.
        """
        works: dict[str, Callable[[], None]] = {
            "cancel": self._cancel,
            "extend": partial(self._extend, command.wall_limit_s or 0),
            "forget": partial(self._forget, forgotten),
        }
        work = partial(self._if_new_enough, command.epoch, works[command.action])
        self._errands.ask(command.action, work)

    def _if_new_enough(self, epoch: int, work: Callable[[], None]) -> None:
        if epoch >= self.spec.epoch:
            work()

    def _cancel(self) -> None:
        if self._seen.phase not in FINAL_PHASES:
            self._log.info("cancelling")
            self._cancelled.set()
            self._engine.workdir(self.spec.attempt_id)
            self._engine.cancel(self._ref)

    def _extend(self, wall_limit_s: int) -> None:
        """The hub gave it more time while it runs; what it knows already changes nothing."""
        if self._seen.phase != AttemptPhase.RUNNING or wall_limit_s <= self.spec.wall_limit_s:
            return
        try:
            self._engine.extend(self._ref, wall_limit_s)
            self._change_lease(wall_limit_s=wall_limit_s)
        except OSError as error:
            self._log.error("not extended", error=str(error))
        else:
            self._log.info("extended", wall_limit_s=wall_limit_s)

    def renew(self, epoch: int) -> None:
        """The hub leased it again: take the new epoch, and tell again how it ended if it has."""
        self._change_lease(epoch=epoch)
        if report := read_json_if_whole(self._folder / "report.json"):
            write_durably(self._folder / "report.json", {**report, "epoch": epoch})
            (self._folder / "reported").unlink(missing_ok=True)
        self.begin()

    def _forget(self, forgotten: Callable[[], bool]) -> None:
        """Delete everything, here and at the engine; only for an attempt that has ended."""
        if forgotten() and self._seen.phase in FINAL_PHASES:
            if self._thread is not None:
                self._thread.join()  # it may still be cleaning, and two that delete one tree leave parts of it
            self._engine.forget(self._ref)
            if self._images is not None:
                self._images.let_go(self.spec.attempt_id)
            shutil.rmtree(self._folder, ignore_errors=True)

    def _run(self) -> None:
        waits = itertools.chain(RETRY_AFTER_S, itertools.repeat(RETRY_AFTER_S[-1]))
        for tries, wait_s in enumerate(waits, start=1):
            try:
                if not (self._folder / "report.json").exists():
                    self._write_report(self._carry(gives_up=tries > TRIES_MAX))
                if not self.reported:
                    self._send_report()
                self._engine.clean(self._ref)
                if self._images is not None:
                    self._images.let_go(self.spec.attempt_id)
            except (Stopping, TokenRefused):
                return
            except Refusal as refusal:
                self._log.error("refused by the hub", status=refusal.status, said=refusal.said)
                return
            except Exception:  # noqa: BLE001 (a full disk, say: other attempts go on, and this one when it can)
                self._log.exception("attempt tried again", in_s=wait_s)
            else:
                return
            if self._stopping.wait(wait_s):
                return

    def _carry(self, *, gives_up: bool) -> Report:
        """Prepare, submit, follow to the end; the report to send.

        Who `gives_up` says of what this machine could not prepare that it is lost: it can start elsewhere.
        """
        try:
            if not (self._folder / "submitted").exists():
                self._submit()
        except NotWanted:
            if self._stopping.is_set():
                raise Stopping from None
            return self._ended_early(AttemptPhase.CANCELLED, "Cancelled before it started.")
        except (DomainError, HubRefused) as refusal:
            return self._ended_early(AttemptPhase.FAILED, str(refusal))
        except OSError as error:
            known = self._engine.observe([self._ref])[self._ref]
            if gives_up and known.phase is AttemptPhase.LOST:
                return self._ended_early(AttemptPhase.LOST, f"It could not be prepared: {error.strerror}.")
            raise
        end = self._follow()
        outputs, why = self._send_outputs()
        return self._report_of(end, outputs=outputs, why=why)

    def _ended_early(self, phase: AttemptPhase, reason: str) -> Report:
        end = Observation(phase, reason=reason)
        self._saw(end)
        return self._report_of(end, outputs=())

    def _submit(self) -> None:
        work = self._engine.workdir(self.spec.attempt_id)
        lay_inputs(work, self.spec.workdir, fetch=self._fetch)
        image = image_of(self.spec.environment)
        if image and self._images is not None:
            self._images.lay_for(
                self.spec.attempt_id,
                image,
                wanted=lambda: not (self._cancelled.is_set() or self._stopping.is_set()),
            )
        self._engine.submit(self.spec)
        self._change_lease(secrets={})
        (self._folder / "submitted").touch()

    def _fetch(self, sha256: str, target: Path) -> None:
        begun_ns = time.monotonic_ns()
        self._hub.fetch_blob(sha256, target)
        self._coming.saw(target.stat().st_size, time.monotonic_ns() - begun_ns)

    def _change_lease(self, **changes: Any) -> None:
        """Two threads may have something to change: neither undoes what the other did."""
        with self._changing:
            self.spec = self.spec.model_copy(update=changes)
            write_durably(self._folder / "lease.json", self.spec.model_dump(mode="json"))

    def _follow(self) -> Observation:
        """Ship log and usage until the attempt has ended and the hub has all of both."""
        while True:
            seen = self._engine.observe([self._ref])[self._ref]
            self._saw(seen)
            if seen.phase == AttemptPhase.PREPARING and time.monotonic() > self._resubmit_at:
                self._resubmit_at = time.monotonic() + RESUBMIT_EVERY_S
                self._engine.submit(self.spec)  # in case the start was lost; twice is once
            sent = self._ship_log()
            ended = seen.phase in FINAL_PHASES
            self._meter(seen, ended=ended)
            if ended and not sent:
                return seen
            if not sent and self._stopping.wait(self._engine.poll_s):
                raise Stopping

    def _saw(self, seen: Observation) -> None:
        news = seen.phase != self._seen.phase
        self._seen = seen
        if news:
            self._log.info("attempt", phase=seen.phase.value, reason=seen.reason)
            self._changed()

    def _ship_log(self) -> bool:
        """Send the next part of the log; whether there was one."""
        if self._log_refused:
            return False
        part = self._engine.read_log(self._ref, offset=self._offset, bytes_max=LOG_CHUNK_BYTES_MAX)
        if not part.data:
            return False
        chunk = LogChunk(offset=part.offset, text=part.data.decode(errors="replace"))
        try:
            self._offset = self._hub.log(self.spec.attempt_id, chunk).next_offset
        except HubRefused as refusal:
            wanted = refusal.facts.get("next_offset")
            self._log_refused = refusal.status != 409 or not isinstance(wanted, int) or wanted == self._offset
            self._log.warning("log refused", said=refusal.said, given_up=self._log_refused)
            self._offset = wanted if isinstance(wanted, int) else self._offset
        write_durably(self._folder / "log_offset", self._offset, to_disk=False)
        return True

    def _meter(self, seen: Observation, *, ended: bool) -> None:
        if not ended and (seen.started_at is None or time.monotonic() < self._usage_due):
            return
        self._usage_due = time.monotonic() + USAGE_EVERY_S
        now = seen.ended_at or seen.metered_until or datetime.now(UTC)
        if seen.phase != AttemptPhase.LOST:
            # How long a lost attempt ran is unknown, so no more is claimed for it than was until now.
            # One that ended and had not started used nothing, whatever it looked like meanwhile.
            self._usage.advance(started_at=seen.started_at or now, now=now, units=seen.units, final=ended)
        while self._usage.unsent and not self._usage_refused:
            records = self._usage.unsent[:_USAGE_RECORDS_MAX]
            try:
                self._hub.usage(UsageBatch(records=records))
            except HubRefused as refusal:
                self._usage_refused = True
                self._log.error("usage refused", status=refusal.status, said=refusal.said)
            else:
                self._usage.taken(records)

    def _send_outputs(self) -> tuple[tuple[OutputFile, ...], str]:
        """Store what the globs name at the hub; and if that failed, why."""
        work = self._engine.workdir(self.spec.attempt_id)
        try:
            found = collect(work, self.spec.outputs)
            for file in found.files:
                path, begun_ns = work / file.path, time.monotonic_ns()
                self._hub.put_blob(self.spec.attempt_id, file.sha256, path, size_bytes=file.size_bytes)
                self._going.saw(file.size_bytes, time.monotonic_ns() - begun_ns)
        except (DomainError, HubRefused, OSError) as error:
            self._log.error("outputs not stored", error=str(error))
            # What the system says names folders of this machine.
            why = (error.strerror if isinstance(error, OSError) else None) or str(error)
            return (), f"Its outputs could not be stored: {why}"
        outputs = tuple(
            OutputFile(path=file.path, sha256=file.sha256, size_bytes=file.size_bytes) for file in found.files
        )
        return (
            outputs,
            f"{found.unnameable} outputs have names that cannot be kept." if found.unnameable else "",
        )

    def _report_of(self, end: Observation, *, outputs: tuple[OutputFile, ...], why: str = "") -> Report:
        return Report.model_validate(
            {
                "epoch": self.spec.epoch,
                "phase": end.phase.value,
                "exit_code": end.exit_code,
                "reason": " ".join(part for part in (end.reason, why) if part)[:2000],
                "started_at": end.started_at,
                "ended_at": end.ended_at or datetime.now(UTC),
                "measures": end.measures,
                "log_bytes": end.log_bytes,
                "outputs": outputs,
                "copied_in": self._coming.copied,
                "copied_out": self._going.copied,
            }
        )

    def _write_report(self, report: Report) -> None:
        self._change_lease(secrets={})
        write_durably(self._folder / "report.json", report.model_dump(mode="json"))

    def _send_report(self) -> None:
        report = Report.model_validate(cast(object, read_json(self._folder / "report.json")))
        try:
            self._hub.report(self.spec.attempt_id, report)
        except HubRefused as refusal:
            if not report.outputs or refusal.status not in {413, 422}:
                raise
            # The job chose its outputs; whatever the hub minds of them, the run must end and be paid.
            self._log.error("report refused", status=refusal.status, said=refusal.said)
            reason = f"{report.reason} Its outputs could not be stored: {refusal.said}".strip()[:2000]
            report = report.model_copy(update={"outputs": (), "reason": reason})
            self._write_report(report)
            self._hub.report(self.spec.attempt_id, report)
        (self._folder / "reported").touch()
        self._log.info("reported", phase=report.phase, exit_code=report.exit_code)
