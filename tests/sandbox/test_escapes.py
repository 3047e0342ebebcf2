"""One test per escape, each in the real sandbox, with the limits of a cgroup and without, and as a session."""

import errno
import json
import os
import time
from pathlib import Path
from uuid import uuid4

import pytest
from tests.site_agent.lab import MIB, WAITS, Lab, any_process_tells, let_go, sleeping, until

from mosu.kernel.refusals import Invalid
from mosu.sandbox import watch
from mosu.sandbox.environments import Environment
from mosu.wire.agent import AttemptPhase


@pytest.fixture(params=["as delegated", "sampled", "session"])
def lab(folder: Path, environment: Environment, request: pytest.FixtureRequest) -> Lab:
    made = Lab(folder / "state", environment)
    if request.param == "session":
        made.always["session"] = True
    elif request.param == "sampled":
        made.engine._delegation = None
    elif made.engine._delegation is None:
        pytest.skip("no cgroup is delegated here")
    return made


def test_host_files_cannot_be_seen_or_changed(lab: Lab, folder: Path) -> None:
    (folder / "private").write_text("host secret")
    (folder / "private").chmod(0o666)
    ended = lab.python(
        f"""
import os
for path in ({str(folder / "private")!r}, "/etc/shadow", "/root", "/home", "/var", "/sys", "/etc/hostname"):
    print(path, os.path.exists(path))
for path in ("/new", "/usr/new", "/opt/env/new", "/dev/new", "/etc/new", "/run/new", "/usr/bin/env", "/run/mosu/job.sh"):
    try:
        open(path, "a").close()
        print(path, "WRITTEN")
    except OSError as error:
        print(path, error.errno)
print([line.split(":")[0] for line in open("/etc/passwd")])
"""
    )
    assert ended.ok, ended
    lines = ended.log.splitlines()
    assert all(line.endswith("False") for line in lines[:7]), ended.log
    assert all(line.split()[1] in {str(errno.EROFS), str(errno.EACCES)} for line in lines[7:-1]), ended.log
    assert lines[-1] == "['runner', 'nobody']"
    assert (folder / "private").read_text() == "host secret"


def test_host_environment_and_processes_cannot_be_seen(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOSU_POOL_TOKEN", "mosu_pool_hidden")
    ended = lab.run(
        'env; cat /proc/*/environ 2>/dev/null; ps=$(ls /proc | grep -c "^[0-9]"); echo "processes $ps"'
    )
    assert "mosu_pool_hidden" not in ended.log
    assert int(ended.log.rsplit("processes ", 1)[1]) <= 6


def test_secrets_come_by_file_and_by_nothing_else(lab: Lab) -> None:
    # Of this test alone: others beside it have secrets, look for them, and sleep. No program here is told it either.
    secret, rest = f"s3cret-{uuid4().hex}", f"150.{os.getpid()}{lab.folder.stat().st_ino}"
    ref = lab.start(
        'stat -c "%a %n" $MOSU_SECRETS/KEY; cat $MOSU_SECRETS/KEY; '
        f'case "$(env)" in *"$(cat $MOSU_SECRETS/KEY)"*) echo told;; *) echo " untold";; esac; sleep {rest}',
        secrets={"KEY": secret},
    )
    until(lambda: sleeping(rest), what="all of it was done")
    assert not any_process_tells(secret.encode())
    assert not (lab.attempt(ref) / "secrets.json").exists()
    lab.engine.cancel(ref)
    assert lab.wait(ref).log.splitlines()[:2] == ["600 /run/secrets/KEY", f"{secret} untold"]


def test_network_is_refused(lab: Lab) -> None:
    ended = lab.python(
        """
import socket
for family in (socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK, socket.AF_PACKET, 40):
    try:
        socket.socket(family, socket.SOCK_DGRAM if family != 17 else socket.SOCK_RAW)
        print("OPEN", family)
    except OSError as error:
        print(error.errno)
left, right = socket.socketpair()
left.send(b"unix works"); print(right.recv(20).decode())
print(open("/proc/net/dev").read().count(":"))
"""
    )
    assert ended.ok, ended.log
    refused = [str(errno.EPERM)] * 5
    if lab.always:  # a session has a loopback of its own, to which its ports belong
        refused[:3] = ["OPEN 2", "OPEN 10", "OPEN 16"]
    assert ended.log.splitlines() == [*refused, "unix works", "1"]


def test_fork_bomb_stops_at_its_limit(lab: Lab) -> None:
    ended = lab.python(
        """
import os, time
made = 0
try:
    while made < 2000:
        if os.fork() == 0:
            time.sleep(150); os._exit(0)
        made += 1
except OSError as error:
    print("stopped", made, error.errno)
"""
    )
    assert ended.ok, ended
    _, made, code = ended.log.split()
    assert int(made) <= 320
    assert int(code) == errno.EAGAIN


def test_memory_beyond_the_limit_ends_the_attempt(lab: Lab) -> None:
    ended = lab.python(
        """
import time
kept = []
for _ in range(40):
    kept.append(bytearray(b"x" * (8 << 20))); time.sleep(0.01)
time.sleep(150)
print("GOT", "IT")
""",
        memory_bytes=128 * MIB,
    )
    assert ended.seen.phase == AttemptPhase.FAILED
    assert ended.seen.reason.startswith("memory:"), ended
    assert "GOT IT" not in ended.log
    assert ended.seen.measures is not None
    assert ended.seen.measures.memory_peak_bytes >= 100 * MIB
    assert ended.seen.measures.memory_source == ("sampled" if lab.engine._delegation is None else "cgroup")


def test_disk_cannot_be_filled_by_one_file_nor_by_many(lab: Lab) -> None:
    one = lab.run("head -c 40000000 /dev/zero > big; echo $?; stat -c %s big", disk_bytes=16 * MIB)
    assert int(one.log.split()[-1]) <= 16 * MIB
    many = lab.run(
        "for i in $(seq 100); do head -c 4000000 /dev/zero > f$i; sleep 0.02; done; sleep 150; echo FILLED",
        disk_bytes=16 * MIB,
    )
    assert many.seen.phase == AttemptPhase.FAILED
    assert many.seen.reason.startswith("disk:")
    assert "FILLED" not in many.log


def test_disk_cannot_be_filled_out_of_sight(lab: Lab) -> None:
    unlinked = lab.python(
        """
import os, time
held = []
for _ in range(4):
    held.append(open("u", "wb", 0)); os.unlink("u")
    for _ in range(10): held[-1].write(b"x" * (1 << 20))
time.sleep(150)
""",
        disk_bytes=16 * MIB,
    )
    assert unlinked.seen.phase == AttemptPhase.FAILED and unlinked.seen.reason.startswith(
        "disk: its files took"
    )
    deep = lab.python(
        "import os, time\nfor _ in range(40): os.mkdir('d' * 200); os.chdir('d' * 200)\ntime.sleep(150)",
        disk_bytes=16 * MIB,
    )
    assert deep.seen.phase == AttemptPhase.FAILED and "too deep" in deep.seen.reason


def test_memory_folders_cannot_be_filled(lab: Lab) -> None:
    ended = lab.run(
        "for d in /tmp /dev/shm; do head -c 400000000 /dev/zero > $d/big; stat -c %s $d/big; rm $d/big; done 2>&1",
        memory_bytes=256 * MIB,
        disk_bytes=1024 * MIB,
    )
    sizes = [int(line) for line in ended.log.splitlines() if line.isdigit()]
    assert len(sizes) == 2
    assert max(sizes) <= 64 * MIB


def test_ptrace_is_refused(lab: Lab) -> None:
    assert _refused(lab, "ptrace(16, 1, 0, 0)", "process_vm_readv(1, 0, 0, 0, 0, 0)")


def test_system_calls_that_break_out_are_refused(lab: Lab) -> None:
    numbers = (
        {"clone": 56, "bpf": 321, "keyctl": 250, "io_uring": 425, "userfaultfd": 323, "perf": 298}
        if os.uname().machine == "x86_64"
        else {"clone": 220, "bpf": 280, "keyctl": 219, "io_uring": 425, "userfaultfd": 282, "perf": 241}
    )
    assert _refused(
        lab,
        "unshare(0x10000000)",
        "unshare(0x20000)",
        "mount(b'none', b'/tmp', b'tmpfs', 0, 0)",
        f"syscall({numbers['clone']}, 0x10000000 | 17, 0, 0, 0, 0)",
        *(
            f"syscall({numbers[name]}, 0, 0, 0, 0, 0)"
            for name in ("bpf", "keyctl", "io_uring", "userfaultfd", "perf")
        ),
        "sched_setaffinity(0, 128, b'\\xff' * 128)",
    )


def _refused(lab: Lab, *calls: str) -> bool:
    """Whether each C call, made in a sandbox, answers "not permitted"."""
    tries = "\n".join(
        f"ctypes.set_errno(0); print(libc.{call}, ctypes.get_errno(), {call!r})" for call in calls
    )
    ended = lab.python(f"import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\n{tries}")
    assert [line.split()[:2] for line in ended.log.splitlines()] == [["-1", str(errno.EPERM)]] * len(calls), (
        ended.log
    )
    return ended.ok


def test_nested_namespaces_are_refused(lab: Lab) -> None:
    ended = lab.run(
        "unshare --user --map-root-user id -u; echo $?; cat /proc/self/status | grep -E 'NoNewPrivs|Seccomp:|CapEff'"
    )
    assert ended.log.startswith("unshare: unshare failed: Operation not permitted\n1\n")
    assert "CapEff:\t0000000000000000" in ended.log
    assert "NoNewPrivs:\t1" in ended.log
    assert "Seccomp:\t2" in ended.log


def test_nothing_outlives_the_attempt(lab: Lab) -> None:
    one, other = f"4321.{os.getpid()}", f"4322.{os.getpid()}"
    ref = lab.start(
        f"(setsid sleep {one} </dev/null >/dev/null 2>&1 &) ; (trap '' TERM; sleep {other} &) ; {WAITS}; cat /proc/[0-9]*/comm | grep -cx sleep"
    )
    until(lambda: sleeping(one) and sleeping(other))
    first, ticks = _state(lab, ref)["pids"][0]
    inside = {
        (pid, watch.start_ticks(pid))
        for pid in map(int, Path(f"/proc/{first}/task/{first}/children").read_text().split())
    }
    assert inside
    let_go(lab.attempt(ref))
    ended = lab.wait(ref)
    assert ended.ok, ended
    until(lambda: not any(watch.start_ticks(pid) == began for pid, began in {(first, ticks), *inside}))
    until(lambda: not sleeping(one) and not sleeping(other))


def test_another_runs_files_cannot_be_reached(lab: Lab) -> None:
    other = lab.start("echo private > mine; sleep 150")
    until((lab.attempt(other) / "work" / "mine").exists)
    path = lab.attempt(other) / "work" / "mine"
    ended = lab.run(
        f"cat {path} ../mine 2>/dev/null; for one in /proc/[0-9]*; do (cd $one/root && cat .$PWD/mine); done 2>/dev/null; ls . /tmp | wc -l; ls /proc/1/root"
    )
    assert "private" not in ended.log
    lab.engine.cancel(other)
    lab.wait(other)


def test_the_first_process_cannot_be_killed_or_read(lab: Lab) -> None:
    ended = lab.run(
        "kill -9 1; kill -TERM 1; kill -USR1 1; cat /proc/1/environ; ls /proc/1/fd; sleep 150; echo done"
    )
    # Its handlers signal the payload only: SIGUSR1 ends the job that sent it, and nothing else.
    assert ended.seen.phase == AttemptPhase.FAILED
    assert ended.seen.measures is not None


def test_a_variable_cannot_smuggle_in_options(lab: Lab) -> None:
    with pytest.raises(Invalid):
        lab.run("cat /host/etc/shadow", envs={"A": "x\0--ro-bind\0/\0/host"})
    for name in ("A=B", "", "A B", "../x"):
        with pytest.raises(Invalid):
            lab.run("true", secrets={name: "x"})
    assert not list((lab.folder / "attempts").glob("*/claim"))


def test_task_variables_arrive_but_not_over_the_sandboxs_own(lab: Lab) -> None:
    ended = lab.run(
        'echo "$GREETING $HOME"; python3 -c "import numpy; print(numpy.arange(3).sum())"',
        envs={"GREETING": "你好", "HOME": "/root", "LD_LIBRARY_PATH": "/nowhere", "PATH": "/nowhere"},
    )
    assert ended.log == "你好 /work\n3\n"


def test_a_tasks_variables_reach_nothing_but_its_own_processes(lab: Lab) -> None:
    """A library that the first process loaded for it could write to the status pipe and take the dialler's socket."""
    ended = lab.run("true", envs={"LD_PRELOAD": "/work/not-there.so"})
    assert ended.ok and ended.log.count("not-there.so") == 1, ended.log


def test_cpu_time_and_cores_are_held(lab: Lab) -> None:
    burn = "import os, time\nprint(len(os.sched_getaffinity(0)))\nfor _ in range(2):\n    os.fork()\nwhile time.process_time() < 0.25: pass"
    began = time.monotonic()
    ended = lab.python(burn)
    assert ended.log.split()[0] == "1"
    assert ended.seen.measures is not None
    assert 0.8 <= ended.seen.measures.cpu_s <= 2.0, ended
    assert ended.seen.measures.wall_s <= time.monotonic() - began


def _state(lab: Lab, ref: str) -> dict[str, list[list[int]]]:
    found: dict[str, list[list[int]]] = json.loads((lab.folder / "attempts" / ref / "state.json").read_text())
    return found
