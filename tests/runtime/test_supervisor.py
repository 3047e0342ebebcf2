"""The supervisor over toy parts: real processes, real signals."""

import io
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
from tests.runtime.waiting import eventually

from mosu.runtime.children import is_running
from mosu.runtime.logs import PartLog
from mosu.runtime.status import JsonLines, Lines
from mosu.runtime.supervisor import QUIET_S, AlreadyUp, Part, PartFailed, Supervisor, only_one

SLEEPER = "import time\nprint('up', flush=True)\ntime.sleep(600)"


def toy(name: str, code: str, *arguments: str, **facts: object) -> Part:
    return Part(name, [sys.executable, "-c", code, *arguments], dict(os.environ), **facts)  # type: ignore[arg-type]


def run_until(supervisor: Supervisor, condition: Callable[[], bool], *, limit_s: float = 120.0) -> bool:
    """Run the supervisor here, in the main thread, and stop it when the condition holds.

    Where the supervisor ends by itself, or the condition raises, this test fails alone: the one would leave a signal
    that ends the process of all tests, the other a supervisor without end.
    """
    over = threading.Event()

    def watch() -> bool:
        deadline = time.monotonic() + limit_s
        try:
            while time.monotonic() < deadline and not over.is_set() and not condition():
                time.sleep(0.02)
            return condition()
        finally:
            os.kill(os.getpid(), signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        with ThreadPoolExecutor(1) as thread:
            held = thread.submit(watch)
            try:
                supervisor.run()
            finally:
                over.set()
        return held.result()
    finally:
        signal.signal(signal.SIGTERM, before)


def make_supervisor(folder: Path, *parts: Part, **facts: object) -> tuple[Supervisor, io.StringIO]:
    out = io.StringIO()
    supervisor = Supervisor(
        parts, logs_dir=folder, screen=Lines(out), status_file=folder / "up.json", **facts
    )  # type: ignore[arg-type]
    return supervisor, out


def pids(path: Path) -> list[int]:
    return [int(line) for line in path.read_text().split()] if path.exists() else []


RECORD = "import os, sys, time\nopen(sys.argv[1], 'a').write(f'{os.getpid()}\\n')\n"


def test_what_dies_is_restarted_and_later_each_time(tmp_path: Path) -> None:
    starts = tmp_path / "starts"
    code = RECORD + "open(sys.argv[1] + '.t', 'a').write(f'{time.monotonic()}\\n'); sys.exit(3)"
    supervisor, out = make_supervisor(tmp_path, toy("dying", code, str(starts)))
    assert run_until(supervisor, lambda: len(pids(starts)) >= 4)
    times = [float(line) for line in Path(f"{starts}.t").read_text().split()]
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    waits = [
        float(wait) for wait in re.findall(r"again in ([0-9.]+) s", (tmp_path / "dying.log").read_text())
    ]
    assert waits[:3] == [0.2, 0.4, 0.8]
    assert all(gap >= 0.95 * wait for gap, wait in zip(gaps, waits, strict=False))
    assert "last exit 3" in out.getvalue()


def test_a_killed_part_comes_back_and_all_end_at_stop(tmp_path: Path) -> None:
    starts = tmp_path / "starts"
    part = toy("web", RECORD + "time.sleep(600)", str(starts))
    supervisor, _ = make_supervisor(tmp_path, part)
    killed = []

    def back_after_kill() -> bool:
        seen = pids(starts)
        if len(seen) == 1 and not killed:
            killed.append(seen[0])
            os.kill(seen[0], signal.SIGKILL)
        return len(seen) == 2

    assert run_until(supervisor, back_after_kill)
    assert not any(is_running(pid) for pid in pids(starts))
    assert not (tmp_path / "up.json").exists()


def test_programs_read_a_line_whenever_something_changed(tmp_path: Path) -> None:
    starts, out = tmp_path / "starts", io.StringIO()
    part, screen = toy("web", RECORD + "time.sleep(600)", str(starts)), JsonLines(out)
    supervisor = Supervisor(
        [part], logs_dir=tmp_path, screen=screen, on_ready=lambda: screen.ready("http://hub", text="not said")
    )

    def told() -> list[tuple[str | None, dict[str, object]]]:
        lines = [json.loads(line) for line in out.getvalue().splitlines()]
        return [(line["url"], line["parts"]["web"]) for line in lines]

    killed = []

    def back_after_kill() -> bool:
        if not killed and pids(starts) and any(url for url, _ in told()):
            killed.append(pids(starts)[0])
            os.kill(killed[0], signal.SIGKILL)
        return len(pids(starts)) == 2 and told()[-1][1]["state"] == "ready"

    assert run_until(supervisor, back_after_kill)
    first, again = pids(starts)
    fresh = {"restarts": 0, "last_exit": None}
    assert told() == [
        (None, {"state": "starting", "pid": first, **fresh}),
        (None, {"state": "ready", "pid": first, **fresh}),
        ("http://hub", {"state": "ready", "pid": first, **fresh}),
        *[
            ("http://hub", {"state": state, "pid": pid, "restarts": 1, "last_exit": -9})
            for state, pid in (
                ("restarting", None), ("starting", again), ("ready", again), ("stopping", again), ("stopped", None)
            )
        ],
    ]  # fmt: skip


def test_a_full_disk_costs_words_and_not_the_hub(tmp_path: Path) -> None:
    starts = tmp_path / "starts"
    (tmp_path / "up.log").symlink_to("/dev/full")
    refusals = [OSError(28, "No space left on device")]

    def before_start() -> None:
        if pids(starts) and refusals:
            raise refusals.pop()

    code = RECORD + f"print('a word', flush=True); time.sleep({QUIET_S} + 0.3); sys.exit(1)"
    part = toy("up", code, str(starts), before_start=before_start)
    with Path("/dev/full").open("w") as out:
        supervisor = Supervisor(
            [part], logs_dir=tmp_path, screen=Lines(out), status_file=tmp_path / "missing" / "up.json"
        )
        try:
            assert run_until(supervisor, lambda: len(pids(starts)) >= 3)
        finally:
            with suppress(OSError):
                out.close()
    assert not refusals


def test_children_of_a_killed_part_do_not_stay(tmp_path: Path) -> None:
    grandchildren = tmp_path / "grandchildren"
    code = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen(['sleep', '600'])\n"
        "open(sys.argv[1], 'a').write(f'{child.pid}\\n')\n"
        "time.sleep(0.3); sys.exit(1)"
    )
    supervisor, _ = make_supervisor(tmp_path, toy("web", code, str(grandchildren)))
    assert run_until(supervisor, lambda: len(pids(grandchildren)) >= 2)
    assert eventually(lambda: not any(is_running(pid) for pid in pids(grandchildren)))


def test_parts_start_in_order_and_stop_in_reverse(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    code = (
        "import signal, sys, time\n"
        "def write(text): open(sys.argv[1], 'a').write(text + '\\n')\n"
        "def stop(*_): write(f'{sys.argv[2]} stops'); sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, stop)\n"
        "write(f'{sys.argv[2]} starts')\n"
        "time.sleep(600)"
    )

    def said(text: str) -> Callable[[], bool]:
        return lambda: journal.exists() and text in journal.read_text()

    first = toy("first", code, str(journal), "first", ready=said("first starts"))
    second = toy("second", code, str(journal), "second", ready=said("second starts"))
    ready: list[str] = []
    supervisor, _ = make_supervisor(tmp_path, first, second, on_ready=lambda: ready.append("yes"))
    assert run_until(supervisor, lambda: bool(ready))
    assert journal.read_text().split("\n")[:4] == [
        "first starts",
        "second starts",
        "second stops",
        "first stops",
    ]


def test_a_part_that_ignores_the_signal_is_killed(tmp_path: Path) -> None:
    starts = tmp_path / "starts"
    code = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + RECORD + "time.sleep(600)"
    supervisor, _ = make_supervisor(tmp_path, toy("deaf", code, str(starts), stop_s_max=0.3))
    began = time.monotonic()
    assert run_until(supervisor, lambda: bool(pids(starts)))
    assert time.monotonic() - began < 300  # it would sleep for 600
    assert not is_running(pids(starts)[0])


def test_a_once_part_runs_before_the_others(tmp_path: Path) -> None:
    made = tmp_path / "made"
    once = toy(
        "prepare", "import sys, time\ntime.sleep(0.3); open(sys.argv[1], 'w').close()", str(made), once=True
    )
    seen = []
    after = toy("web", SLEEPER, before_start=lambda: seen.append(made.exists()))
    supervisor, out = make_supervisor(tmp_path, once, after)
    assert run_until(supervisor, lambda: "ready" in out.getvalue())
    assert seen == [True]


def test_a_failed_once_part_stops_everything_and_says_why(tmp_path: Path) -> None:
    once = toy("prepare", "import sys; print('no such table'); sys.exit(2)", once=True)
    never = []
    supervisor, _ = make_supervisor(tmp_path, once, toy("web", SLEEPER, before_start=lambda: never.append(1)))
    with pytest.raises(PartFailed, match="no such table"):
        supervisor.run()
    assert never == []


def test_what_parts_print_becomes_json_lines(tmp_path: Path) -> None:
    code = "import time\nprint('plain \\x1b[31mred')\nprint('{\"event\": \"kept\"}', flush=True)\ntime.sleep(600)"
    supervisor, _ = make_supervisor(tmp_path, toy("web", code))
    log = tmp_path / "web.log"
    assert run_until(supervisor, lambda: log.read_text().count("\n") == 2)
    plain, kept = map(json.loads, log.read_text().splitlines())
    assert (plain["part"], plain["event"]) == ("web", "plain \x1b[31mred")
    assert "\x1b" not in log.read_text()
    assert kept == {"event": "kept"}


def test_logs_are_rotated_by_size(tmp_path: Path) -> None:
    log = PartLog(tmp_path / "web.log", part="web", bytes_max=2000)
    for number in range(100):
        log.write(f"line {number}\n".encode())
    log.close()
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["web.log", "web.log.1", "web.log.2"]
    assert all(path.stat().st_size <= 2100 for path in tmp_path.iterdir())
    assert "line 99" in (tmp_path / "web.log").read_text()


def test_children_die_with_a_killed_supervisor(tmp_path: Path) -> None:
    starts = tmp_path / "starts"
    program = (
        "import io, os, sys\n"
        "from pathlib import Path\n"
        "from mosu.runtime.status import Lines\n"
        "from mosu.runtime.supervisor import Part, Supervisor\n"
        f"code = {RECORD!r} + 'time.sleep(600)'\n"
        "part = Part('web', [sys.executable, '-c', code, sys.argv[1]], dict(os.environ))\n"
        "Supervisor([part], logs_dir=Path(sys.argv[2]), screen=Lines(io.StringIO())).run()\n"
    )
    process = subprocess.Popen([sys.executable, "-c", program, str(starts), str(tmp_path)])
    assert eventually(lambda: bool(pids(starts)))
    process.kill()
    process.wait()
    assert eventually(lambda: not is_running(pids(starts)[0]))


def test_a_second_one_is_refused_by_the_process_id_of_the_first(tmp_path: Path) -> None:
    program = (
        "import sys, time\nfrom pathlib import Path\nfrom mosu.runtime.supervisor import only_one\n"
        "with only_one(Path(sys.argv[1])):\n    print('held', flush=True)\n    time.sleep(600)\n"
    )
    other = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE)
    assert other.stdout is not None
    assert other.stdout.readline() == b"held\n"
    with pytest.raises(AlreadyUp) as refused, only_one(tmp_path):
        pass
    assert refused.value.facts["pid"] == str(other.pid)
    other.kill()
    other.wait()
    other.stdout.close()
    with only_one(tmp_path):
        assert (tmp_path / "up.lock").read_text() == f"{os.getpid()}\n"
