"""The agent: registers, leases, keeps in touch. What runs does not depend on it."""

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final

import structlog
from structlog.stdlib import BoundLogger

import mosu
from mosu.kernel.refusals import DomainError, Invalid
from mosu.sandbox.environments import load_environment
from mosu.sandbox.probing import SandboxReport
from mosu.sandbox.starter import make_sandbox_user
from mosu.site_agent.config import AgentConfig
from mosu.site_agent.courier import Courier
from mosu.site_agent.engines.choice import (
    allowed_images_of,
    engine_of,
    environments_of,
    images_of,
    volumes_of,
)
from mosu.site_agent.engines.protocol import FINAL_PHASES, EngineRef, VolumeKeeper
from mosu.site_agent.errands import Errands
from mosu.site_agent.files import Garbled, held_alone, sync_folder, write_durably
from mosu.site_agent.health import NodeTests
from mosu.site_agent.hub import Hub, HubAway, Refusal, Stopping, TokenRefused
from mosu.site_agent.identity import host, instance_of
from mosu.site_agent.volume_copies import VolumeCopies
from mosu.wire.agent import (
    AttemptPhase,
    Command,
    Lease,
    LeaseRequest,
    NodeInfo,
    Registration,
    Report,
)

EXIT_STOPPED: Final = 0
EXIT_CONFIG: Final = 2
EXIT_SANDBOX: Final = 3
EXIT_REFUSED: Final = 4
_REPROBE_EVERY_S: Final = 60.0
"""How often the agent looks whether its engine still has what it registered."""
_START_S_MAX: Final = 30.0
_GARBLED_HINT: Final = "It is ended and told to the hub; check this machine's disk."


def run_agent(config: AgentConfig) -> int:
    """Run until SIGTERM or SIGINT; attempts go on without us. Returns the exit code."""
    os.umask(0o077)
    log = _logger()
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: stopping.set())
    try:
        agent = Agent(config, stopping=stopping, log=log)
    except DomainError as refusal:
        log.error("cannot start", reason=refusal.message, hint=refusal.hint)  # noqa: TRY400
        return EXIT_CONFIG if isinstance(refusal, Invalid) else EXIT_SANDBOX
    with agent:
        return agent.run()


class Agent:
    """One per state folder. Threads: one for leases, one for heartbeats, one that looks at the engine, one per attempt.

    The hub takes a pool whose heartbeats stay away for gone. So their thread asks no engine and no disk, and waits for
    no thread that does.
    """

    def __init__(self, config: AgentConfig, *, stopping: threading.Event, log: BoundLogger) -> None:
        make_sandbox_user()
        self._stopping, self._log = stopping, log
        self._state_dir = config.state_dir.absolute()
        environments = [load_environment(folder.absolute()) for folder in config.environments]
        self._folders = volumes_of(config)
        self._images = images_of(config, environments)
        self._engine = engine_of(config, self._state_dir, environments, self._folders, self._images)
        self._volumes, self._room_gb = self._engine.volumes, 0
        self._environments = environments_of(config, environments)
        self._allowed_images = allowed_images_of(config)
        self._leases = self._state_dir / "leases"
        self._leases.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._only_one = _lock(self._state_dir)
        instance = instance_of(self._state_dir)
        self._hub = Hub(config.hub_url, config.token, stopping=stopping, log=log, instance=instance)
        self._tests = NodeTests(
            self._state_dir,
            engine=self._engine,
            hub=self._hub,
            environment=self._environments[0].name,
            stopping=stopping,
            log=log,
        )
        self._registered = threading.Event()
        self._nodes: tuple[NodeInfo, ...] = ()
        self._reaches = self._extends = False
        self._couriers: dict[str, Courier] = {}
        self._guard = threading.Lock()
        """Of `_couriers`; nobody who holds it waits for anything."""
        self._taking, self._registering = threading.Lock(), threading.Lock()
        self._errands = Errands("delete", log=log)
        self._volumes_deleted: tuple[str, ...] = ()
        self._changed = threading.Event()
        self._sandbox = SandboxReport(False, "", "", "not probed yet", "")
        self._heartbeat_s = 10.0
        self._exit_code = EXIT_STOPPED
        self._tunnel_url = ""
        self._hub_url = config.hub_url
        self._token = config.token

    def __enter__(self) -> "Agent":
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._changed.set()
        self._hub.close()
        if self._images is not None:
            self._images.close()
        os.close(self._only_one)

    def run(self) -> int:
        """Adopt what is on the disk, then serve; returns the exit code."""
        self._sandbox = self._engine.isolation()
        self._adopt()
        for work in (self._lease_for_ever, self._beat_for_ever, self._look_for_ever, self._tests.work):
            threading.Thread(target=self._guarded, args=(work,), name=work.__name__, daemon=True).start()
        self._stopping.wait()
        self._log.info("stopped", exit_code=self._exit_code, attempts_left_running=self._unreported())
        return self._exit_code

    def _guarded(self, work: Callable[[], None]) -> None:
        """Run a thread's work; when it cannot go on, neither can the agent."""
        try:
            work()
        except Stopping:
            return
        except Refusal as refusal:
            self._exit_code = EXIT_REFUSED
            what = "the pool token was refused" if isinstance(refusal, TokenRefused) else "the hub refused us"
            hint = refusal.facts.get("detail") or "Set a valid token, restart."
            self._log.error(what, status=refusal.status, said=refusal.said, hint=hint)
        except Exception:  # noqa: BLE001 (a thread may not die unheard)
            if self._stopping.is_set():  # its connection was closed under it
                return
            self._exit_code = 1
            self._log.exception("the agent failed")
        finally:
            self._stopping.set()

    def _register(self) -> None:
        with self._registering:
            self._tell_all()

    def _tell_all(self) -> None:
        report, self._nodes = self._sandbox, self._engine.nodes()
        self._reaches, self._extends = self._engine.reaches, self._engine.extends
        self._room_gb = self._volumes.room_gb if self._volumes is not None else 0
        registered = self._hub.register(
            Registration(
                agent_version=mosu_version(),
                instance=self._hub.instance,
                host=host(),
                engine=self._engine.name,
                clock_at=datetime.now(UTC),
                nodes=self._nodes,
                environments=self._environments,
                sandbox=report.features if report.ok else f"{report.why_not} Mend it: {report.mend}",
                sandbox_ok=report.ok,
                spans_nodes=self._engine.spans_nodes,
                reaches=self._reaches,
                has_sshd=self._engine.has_sshd,
                images=self._allowed_images,
                extends=self._extends,
                volumes_gb=self._room_gb,
                copies_volumes=self._folders is not None,
            )
        )
        self._heartbeat_s = max(0.1, float(registered.heartbeat_s))
        self._tests.organisation_id = registered.organisation_id
        self._dig(registered.tunnel_url)
        self._registered.set()
        self._log.info(
            "registered",
            pool=registered.pool_name,
            sandbox=report.features or report.why_not,
            sessions=self._engine.unreached or "yes",
            more_time="yes" if self._extends else "no",
            volumes=self._volumes.unkept or f"{self._room_gb} GB" if self._volumes is not None else "no",
        )

    def _adopt(self) -> None:
        for folder in sorted(self._leases.iterdir()):
            if (folder / "lease.json").is_file():
                try:
                    courier = self._courier(folder)
                except Garbled as garbled:
                    self._log.error(
                        "garbled state", attempt=folder.name, file=str(garbled.path), hint=_GARBLED_HINT
                    )
                    bury = partial(self._bury, folder)
                    threading.Thread(target=bury, name=f"bury {folder.name}", daemon=True).start()
                    continue
                self._couriers[courier.spec.attempt_id] = courier
                if not courier.reported:
                    self._log.info("adopted", attempt=courier.spec.attempt_id)
                    courier.begin()
        if self._images is not None:
            self._images.keep_for(self._couriers)

    def _courier(self, folder: Path) -> Courier:
        return Courier(
            folder,
            engine=self._engine,
            images=self._images,
            hub=self._hub,
            stopping=self._stopping,
            changed=self._changed.set,
            log=self._log,
        )

    def _bury(self, folder: Path) -> None:
        """End an attempt whose lease the disk lost, tell the hub, and set its folder aside."""
        ref = EngineRef(folder.name)
        self._engine.cancel(ref)
        patience = time.monotonic() + _START_S_MAX
        while (seen := self._engine.observe([ref])[ref]).phase not in FINAL_PHASES:
            if seen.phase is AttemptPhase.PREPARING and time.monotonic() > patience:
                break  # nobody ever took it, and with the cancel beside it nobody starts it
            if self._stopping.wait(0.2):
                return
        report = Report(
            epoch=0,
            phase="lost",
            exit_code=None,
            reason="The machine's disk lost what it knew of it.",
            started_at=seen.started_at,
            ended_at=seen.ended_at or datetime.now(UTC),
            measures=None,
            log_bytes=seen.log_bytes,
        )
        try:
            self._hub.report(folder.name, report)
        except (Stopping, TokenRefused):
            return
        except Refusal as refusal:
            self._log.error(
                "refused by the hub", attempt=folder.name, status=refusal.status, said=refusal.said
            )
        aside = self._state_dir / "garbled"
        aside.mkdir(mode=0o700, exist_ok=True)
        folder.rename(aside / f"{folder.name}.{time.time_ns()}")

    def _lease_for_ever(self) -> None:
        self._register()
        while not self._stopping.is_set():
            if not self._sandbox.ok:
                self._wait_for_sandbox()
                continue
            with self._guard:
                known = list(self._couriers.values())
            seen = max((courier.spec.epoch for courier in known), default=0)
            running = tuple(courier.spec.attempt_id for courier in known if not courier.reported)
            lease = self._hub.lease(
                LeaseRequest(instance=self._hub.instance, epoch_seen=seen, running=running)
            )
            if lease is not None:
                self._take(lease)

    def _wait_for_sandbox(self) -> None:
        """Without a sandbox nothing is leased; look again now and then, since the mend is one command."""
        self._log.error("no sandbox", reason=self._sandbox.why_not, mend=self._sandbox.mend)
        if not self._stopping.wait(_REPROBE_EVERY_S):
            self._sandbox = self._engine.isolation()
            self._register()

    def _take(self, lease: Lease) -> None:
        spec = lease.spec
        with self._taking:
            with self._guard:
                known = self._couriers.get(spec.attempt_id)
            if known is not None:
                if spec.epoch > known.spec.epoch:
                    known.renew(spec.epoch)
                return
            folder = self._leases / spec.attempt_id
            folder.mkdir(mode=0o700, exist_ok=True)
            write_durably(folder / "lease.json", spec.model_dump(mode="json"))
            sync_folder(self._leases)
            courier = self._courier(folder)
            with self._guard:
                self._couriers[spec.attempt_id] = courier
        self._log.info("leased", attempt=spec.attempt_id, run=spec.run_id, epoch=spec.epoch)
        courier.begin()

    def _look_for_ever(self) -> None:
        while not self._stopping.wait(_REPROBE_EVERY_S):
            if self._registered.is_set():
                self._register_changes()

    def _register_changes(self) -> None:
        """Tell the hub of nodes that came, went or changed, and of sessions, more time or volumes that it sells after
        all; an engine that cannot be asked says nothing of them."""
        try:
            nodes = self._engine.nodes()
        except Exception:  # noqa: BLE001 (each engine has its own ways to be away)
            self._log.exception("the engine does not list its nodes")
            return
        came = (not self._reaches and self._engine.reaches) or (not self._extends and self._engine.extends)
        came = came or (self._volumes is not None and self._volumes.room_gb > self._room_gb)
        if came or _without_disks(nodes) != _without_disks(self._nodes):
            self._register()

    def _beat_for_ever(self) -> None:
        while not self._registered.wait(0.1):
            if self._stopping.is_set():
                return
        copies = VolumeCopies(self._folders, told=self._changed.set) if self._folders is not None else None
        while not self._stopping.is_set():
            self._changed.wait(self._heartbeat_s)
            self._changed.clear()
            with self._guard:
                statuses = tuple(courier.status for courier in self._couriers.values())
            try:
                answer = self._hub.heartbeat(
                    statuses,
                    volumes_deleted=self._volumes_deleted,
                    volume_copies=copies.statuses() if copies is not None else (),
                )
            except HubAway as away:
                self._log.warning("hub away", call="heartbeat", error=str(away))
                continue
            for command in answer.commands:
                self._obey(command)
            if copies is not None:  # what is no longer wanted is broken off before it is deleted
                copies.take(answer.volume_copies)
            if self._volumes is not None:
                delete = partial(self._delete_volumes, self._volumes, answer.volumes_to_delete)
                self._errands.ask("delete", delete)
            if self._sandbox.ok:
                self._tests.ask(answer.checks)

    def _obey(self, command: Command) -> None:
        with self._guard:
            courier = self._couriers.get(command.attempt_id)
        if courier is not None:
            courier.obey(command, forgotten=partial(self._forgotten, courier))

    def _forgotten(self, courier: Courier) -> bool:
        """Name it in no heartbeat any more; not if it was leased again meanwhile."""
        with self._taking:
            attempt_id = courier.spec.attempt_id
            if self._couriers.get(attempt_id) is not courier or not courier.reported:
                return False
            with self._guard:
                del self._couriers[attempt_id]
            return True

    def _delete_volumes(self, volumes: VolumeKeeper, volume_ids: tuple[str, ...]) -> None:
        self._volumes_deleted = volumes.delete(volume_ids)

    def _dig(self, url: str) -> None:
        """Hold a tunnel to `url` and no other, if the hub named one to which the token may be sent."""
        if not self._engine.reaches or url == self._tunnel_url:
            return
        self._tunnel_url = url
        if not url:
            return
        # Only who joins people needs an event loop and all that comes with it.
        from mosu.site_agent.tunnel import Tunnel, is_as_safe  # noqa: PLC0415

        if not is_as_safe(url, hub_url=self._hub_url):
            self._log.error("no tunnel", url=url, hint="Tell the hub's operator: MOSU_RELAY_URL.")
            return
        tunnel = Tunnel(
            url,
            self._token,
            join=lambda attempt_id, port: self._engine.connect(EngineRef(attempt_id), port),
            wanted=lambda: not self._stopping.is_set() and self._tunnel_url == url,
            log=self._log,
        )
        threading.Thread(target=tunnel.work, name="tunnel", daemon=True).start()

    def _unreported(self) -> int:
        with self._guard:
            known = list(self._couriers.values())
        return sum(not courier.reported for courier in known)


def _without_disks(nodes: tuple[NodeInfo, ...]) -> list[NodeInfo]:
    """What is free on a disk changes all the time, and is not what was published."""
    return sorted((node.model_copy(update={"disk_bytes": 0}) for node in nodes), key=lambda node: node.name)


def mosu_version() -> str:
    return mosu.__version__


def _lock(state_dir: Path) -> int:
    """Hold the state folder for this process alone; the kernel lets go when it dies."""
    lock = held_alone(state_dir / "agent.lock")
    if lock is None:
        raise Invalid(
            f"Another site agent works in {state_dir}.", hint="Stop it, or choose another state_dir."
        )
    return lock


def _logger() -> BoundLogger:
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(ensure_ascii=False),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    logger: BoundLogger = structlog.get_logger().bind(part="site_agent")
    return logger
