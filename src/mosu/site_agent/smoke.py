"""Does the configured engine keep its promises here? `python -m mosu.site_agent.smoke --config FILE [--node NAME]`.

For suppliers, before they publish a pool and after each upgrade of their cluster: tiny attempts, sent through the
engine as the agent would, without a hub. Each line is `ok` or `NO` and what was looked at; exits 0 only if all hold.
"""

import argparse
import os
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mosu.kernel.ids import typeid, uuid7
from mosu.kernel.languages import language_of_environment, said
from mosu.kernel.refusals import DomainError
from mosu.sandbox.environments import load_environment
from mosu.sandbox.starter import make_sandbox_user
from mosu.site_agent.config import AgentConfig, load_config
from mosu.site_agent.engines.choice import engine_of, environments_of
from mosu.site_agent.engines.protocol import FINAL_PHASES, Engine, EngineRef, Observation, VolumeKeeper
from mosu.wire.agent import AttemptPhase, AttemptSpec, NodeInfo, VolumeSpec

_WITHIN_S: Final = 300.0
"""An image may have to be pulled."""
_MIB: Final = 1 << 20
_LOG_BYTES: Final = 1 << 20
_SAID_MAX: Final = 200


@dataclass(frozen=True, slots=True)
class Check:
    what: str
    ok: bool
    said: str = ""


def checks(engine: Engine, environment: str, node_name: str = "") -> Iterator[Check]:
    """One after the other, as they are known; after one that leaves nothing to try, no more."""
    report = engine.isolation()
    yield Check(
        "it keeps organisations apart",
        report.ok,
        report.features or f"{report.why_not} Mend it: {report.mend}",
    )
    nodes = [node for node in engine.nodes() if node_name in {"", node.name} and node.cores]
    yield Check("it has a node", bool(nodes), ", ".join(_shown(node) for node in nodes))
    if report.ok and nodes:
        yield from _Tries(engine, environment, nodes[0]).checks()


class _Tries:
    """Attempts of two organisations on one node."""

    def __init__(self, engine: Engine, environment: str, node: NodeInfo) -> None:
        self._engine, self._environment, self._node = engine, environment, node

    def checks(self) -> Iterator[Check]:
        yield from self._runs()
        yield from self._starts_once()
        yield from self._ends()
        yield from self._keeps_apart()
        if (volumes := self._engine.volumes) is not None:
            yield from self._keeps_volumes(volumes)

    def _runs(self) -> Iterator[Check]:
        spec = self._spec(
            'echo begun; cat given > kept; cat "$MOSU_SECRETS/KEY"; echo "$SKYPILOT_NODE_RANK"; exit 3',
            secrets={"KEY": "a secret\n"},
        )
        (self._engine.workdir(spec.attempt_id) / "given").write_text("bytes\n")
        ref = self._engine.submit(spec)
        seen = self._end_of(ref)
        ended = (seen.phase, seen.exit_code) == (AttemptPhase.FAILED, 3)
        yield Check("an attempt runs and its exit code comes back", ended, _said(seen))
        log = self._log_of(ref)
        yield Check("its log comes back, with its secret and its rank", log == "begun\na secret\n0\n", log)
        kept = self._engine.workdir(ref) / "kept"
        yield Check("its files come and go", kept.is_file() and kept.read_text() == "bytes\n")
        if seen.started_at is None or seen.ended_at is None:
            yield Check("its time is accounted", False, _said(seen))
        else:
            seconds = (seen.ended_at - seen.started_at).total_seconds()
            yield Check(
                "its time is accounted",
                seconds >= 0,
                f"{seconds:g} s, units {dict(seen.units or spec.units)}",
            )
        self._forget(ref)

    def _starts_once(self) -> Iterator[Check]:
        spec = self._spec("echo once >> count; cat count")
        self._engine.workdir(spec.attempt_id)
        ref = self._engine.submit(spec)
        self._engine.submit(spec)
        self._end_of(ref)
        self._engine.submit(spec)
        seen, log = self._end_of(ref), self._log_of(ref)
        yield Check(
            "submitted three times it starts once", log == "once\n" and _ok(seen), f"{log!r} {_said(seen)}"
        )
        self._forget(ref)

    def _ends(self) -> Iterator[Check]:
        forever = "echo begun; while :; do sleep 0.2; done"
        ref = self._start(self._spec(forever))
        self._engine.cancel(ref)
        seen = self._end_of(ref)
        yield Check("a cancelled attempt ends", seen.phase == AttemptPhase.CANCELLED, _said(seen))
        self._forget(ref)
        ref = self._start(self._spec(forever, wall_limit_s=8))
        seen = self._end_of(ref)
        yield Check("its wall limit ends it", seen.phase == AttemptPhase.TIMED_OUT, _said(seen))
        self._forget(ref)

    def _keeps_volumes(self, volumes: VolumeKeeper) -> Iterator[Check]:
        yield Check("room for volumes is sold", not volumes.unkept, volumes.unkept)
        one = VolumeSpec(volume_id=typeid("volume", uuid7()), path="/data", size_bytes=1 << 30, writes=True)
        whose, came = typeid("org", uuid7()), []
        for run, volume in (
            ("echo kept > /data/f", one),
            ("cat /data/f", one.model_copy(update={"writes": False})),
        ):
            spec = self._spec(run).model_copy(update={"organisation_id": whose, "volumes": (volume,)})
            self._engine.workdir(spec.attempt_id)
            ref = self._engine.submit(spec)
            seen, log = self._end_of(ref), self._log_of(ref)
            came.append(log if _ok(seen) else _said(seen))
            self._forget(ref)
        yield Check("a volume keeps what a run leaves in it", came == ["", "kept\n"], " ".join(came))
        until = time.monotonic() + _WITHIN_S
        while not (gone := bool(volumes.delete([one.volume_id]))) and time.monotonic() < until:
            time.sleep(self._engine.poll_s)
        yield Check("a volume that is deleted is gone", gone)

    def _keeps_apart(self) -> Iterator[Check]:
        first = self._start(self._spec("echo mine > file; echo begun; while [ ! -e go ]; do sleep 0.2; done"))
        work = self._engine.workdir(first)
        tries = [f"cat {work}/file", f"ls {work}", f"ls {work.parent}", f"ls {work.parent.parent}"]
        script = "\n".join([f"{look} >/dev/null 2>&1 && echo SEEN: {look}" for look in tries])
        # The brackets keep the pattern from finding the very process that looks for it.
        pattern = f"[{first[0]}]{first[1:]}"
        look = f"cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' ' | grep -q '{pattern}'"
        script += f"\n{look} && echo SEEN: processes"
        script += '\n[ "$(id -u)" = 0 ] && echo SEEN: root\necho looked'
        second = self._start(self._spec(script))
        self._end_of(second)
        log = self._log_of(second)
        yield Check("another organisation sees nothing of it", log == "looked\n", log)
        (work / "go").touch()
        self._end_of(first)
        self._forget(first)
        self._forget(second)

    def _spec(
        self, run: str, *, wall_limit_s: int = 120, secrets: dict[str, str] | None = None
    ) -> AttemptSpec:
        return AttemptSpec(
            attempt_id=typeid("attempt", uuid7()),
            run_id=typeid("run", uuid7()),
            organisation_id=typeid("org", uuid7()),
            epoch=1,
            nodes=(self._node.name,),
            cores=1,
            memory_bytes=256 * _MIB,
            disk_bytes=64 * _MIB,
            wall_limit_s=wall_limit_s,
            grace_s=2,
            environment=self._environment,
            run=run,
            secrets=secrets or {},
        )

    def _start(self, spec: AttemptSpec) -> EngineRef:
        self._engine.workdir(spec.attempt_id)
        ref = self._engine.submit(spec)
        until = time.monotonic() + _WITHIN_S
        while (
            not self._log_of(ref) and self._seen(ref).phase not in FINAL_PHASES and time.monotonic() < until
        ):
            time.sleep(self._engine.poll_s)
        return ref

    def _end_of(self, ref: EngineRef) -> Observation:
        until = time.monotonic() + _WITHIN_S
        while (seen := self._seen(ref)).phase not in FINAL_PHASES and time.monotonic() < until:
            time.sleep(self._engine.poll_s)
        return seen

    def _seen(self, ref: EngineRef) -> Observation:
        return self._engine.observe([ref])[ref]

    def _log_of(self, ref: EngineRef) -> str:
        return self._engine.read_log(ref, offset=0, bytes_max=_LOG_BYTES).data.decode(errors="replace")

    def _forget(self, ref: EngineRef) -> None:
        if self._seen(ref).phase in FINAL_PHASES:
            with suppress(OSError):
                self._engine.clean(ref)
                self._engine.forget(ref)


def _ok(seen: Observation) -> bool:
    return seen.phase == AttemptPhase.SUCCEEDED


def _said(seen: Observation) -> str:
    code = "" if seen.exit_code is None else f", exit code {seen.exit_code}"
    return f"{seen.phase.value}{code}{f': {seen.reason}' if seen.reason else ''}"


def _shown(node: NodeInfo) -> str:
    cards = f" and {len(node.devices)} {node.devices[0].accelerator}" if node.devices else ""
    return f"{node.name} ({node.cores} cores{cards})"


def smoke(config: AgentConfig, *, node_name: str = "") -> Iterator[Check]:
    """The checks of the engine that `config` names.

    Raises:
        Invalid: the settings are wrong.
        SandboxUnavailable: it cannot work here.
    """
    make_sandbox_user()
    environments = [load_environment(folder.absolute()) for folder in config.environments]
    engine = engine_of(config, config.state_dir.absolute(), environments)
    return checks(engine, environments_of(config, environments)[0].name, node_name)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m mosu.site_agent.smoke", description=__doc__.partition("\n")[0]
    )
    parser.add_argument(
        "--config", type=Path, required=True, metavar="FILE", help="the agent's settings, in TOML"
    )
    parser.add_argument("--node", default="", metavar="NAME", help="try this node; by default the first")
    given = parser.parse_args()
    os.umask(0o077)
    all_ok, language = True, language_of_environment()
    try:
        for check in smoke(load_config(given.config), node_name=given.node):
            all_ok = all_ok and check.ok
            found = said(" ".join(check.said.split())[:_SAID_MAX], language)
            line = (
                f"{'ok' if check.ok else 'NO'}  {said(check.what, language)}{f': {found}' if found else ''}"
            )
            print(line, flush=True)  # noqa: T201
    except DomainError as refusal:
        print(f"NO  {said(refusal.message, language)} {said(refusal.hint, language)}")  # noqa: T201
        return 2
    return 0 if all_ok else 1


if __name__ == "__main__":
    sys.exit(main())
