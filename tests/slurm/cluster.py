"""A real Slurm on one machine, for tests and benchmarks: munge, MariaDB, slurmdbd, slurmctld and a slurmd per node.

Needs root and the packages of `tools/install-slurm.sh`. Nothing outside its folder is touched but munge's key and
socket: every program finds its settings by `SLURM_CONF`. Nodes share the machine; their cards are `mknod`ed
twins of /dev/null, since Slurm hands out devices only where there are device files. No cgroups, no systemd.
"""

import fcntl
import os
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.hub import free_port

PROGRAMS: Final = ("sbatch", "slurmctld", "slurmd", "slurmdbd", "munged", "mariadbd")
CARDS: Final = 4
CORES: Final = os.cpu_count() or 1
"""Of each node: no more than its health test finds on this machine."""
MEMORY_MIB: Final = min(8192, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20)
_DATABASE: Final = """
create database if not exists slurm_acct_db;
create user if not exists 'slurm'@'127.0.0.1' identified by 'slurm';
grant all on slurm_acct_db.* to 'slurm'@'127.0.0.1';
"""
_NO_RINGS: Final = "--innodb-use-native-aio=0"
"""Several databases of one user may pass its limit of locked memory with io_uring."""
_SLURMDBD: Final = """\
AuthType=auth/munge
DbdHost=localhost
DbdPort={dbd_port}
SlurmUser=root
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={sql_port}
StorageUser=slurm
StoragePass=slurm
StorageLoc=slurm_acct_db
LogFile={folder}/slurmdbd.log
PidFile={folder}/slurmdbd.pid
"""
_SLURM: Final = """\
ClusterName=mini
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ctld_port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=30
MpiDefault=none
ReturnToService=2
KillWait=5
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=1,batch_sched_delay=0,sched_min_interval=0
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
GresTypes=gpu
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=localhost
AccountingStoragePort={dbd_port}
AccountingStorageTRES=gres/gpu,gres/gpu:ascend910b
{nodes}
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP OverSubscribe=NO
"""
_NODE: Final = (
    "NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={cpus} RealMemory={memory_mib} "
    "Gres=gpu:ascend910b:{cards} State=UNKNOWN"
)


@dataclass
class SlurmCluster:
    """Two nodes, `n1` and `n2`. Daemons can be killed and started one by one."""

    folder: Path
    names: tuple[str, ...] = ("n1", "n2")
    ports: dict[str, int] = field(default_factory=dict)
    database: subprocess.Popen[bytes] | None = None

    @property
    def env(self) -> Mapping[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "LANG": "C.UTF-8",
            "SLURM_CONF": str(self.folder / "slurm.conf"),
            "SLURM_TIME_FORMAT": "%s",
        }

    def ask(self, *command: str, check: bool = True) -> str:
        done = subprocess.run(command, env=self.env, capture_output=True, text=True, timeout=120)
        assert not check or done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout

    def up(self) -> None:
        missing = [name for name in PROGRAMS if shutil.which(name) is None]
        assert not missing, f"{', '.join(missing)} missing: run tools/install-slurm.sh"
        assert os.geteuid() == 0, "a Slurm of one's own needs root"
        for name in ("state", "spool", "db", "dev"):
            (self.folder / name).mkdir(exist_ok=True)
        self.ports = {name: free_port() for name in ("sql", "dbd", "ctld", *self.names)}
        self._write_settings({})
        _start_munge()
        self._start_database()
        self.start("slurmdbd")
        _until(self._is_in_the_books)  # it listens before it answers
        self.start("slurmctld")
        for name in self.names:
            self.start(name)
        self._wait_for_nodes()

    def down(self) -> None:
        with suppress(Exception):  # whatever is broken, its daemons are ended
            self.clear()
        for name in (*self.names, "slurmctld", "slurmdbd"):
            self.stop(name)
        if self.database is not None:
            self.database.kill()  # nobody reads it again
            self.database.wait()

    def start(self, name: str) -> None:
        """Start `slurmctld`, `slurmdbd` or a node's slurmd and wait until it listens."""
        command = ["slurmd", "-N", name] if name in self.names else [name]
        subprocess.run(command, env=self.env, check=True, capture_output=True)
        port = self.ports[{"slurmctld": "ctld", "slurmdbd": "dbd"}.get(name, name)]
        _until(lambda: _listens(port))

    def stop(self, name: str, *, number: int = signal.SIGKILL) -> None:
        """End a daemon, by default as a power cut would; jobs' own processes stay."""
        pid_file = self.folder / (f"slurmd.{name}.pid" if name in self.names else f"{name}.pid")
        try:
            pid = int(pid_file.read_text())
            os.kill(pid, number)
        except (FileNotFoundError, ProcessLookupError, ValueError):
            return
        _until(lambda: not _lives(pid))
        pid_file.unlink(missing_ok=True)

    def remember(self) -> None:
        """Return once slurmctld has on its disk what it knows; it writes some seconds after a change."""
        saved, tries = self.folder / "state" / "job_state", 0
        while True:
            tries += 1
            known, now = self._jobs(), time.time()
            job = self.ask(
                "sbatch", "--parsable", "--hold", "--mem=1", "--output=/dev/null", "--wrap", "true"
            ).strip()
            self.ask("scancel", job)
            wrote = _comes(lambda now=now: saved.exists() and saved.stat().st_mtime > now, within_s=60)  # type: ignore[misc]
            # What began or ended while it wrote may be missing, so that it is asked to write again.
            if wrote and (self._jobs() == known or tries >= 10):
                return
            assert wrote or tries < 10, "slurmctld does not write down what it knows"

    def _is_in_the_books(self) -> bool:
        self.ask("sacctmgr", "-i", "add", "cluster", "mini", check=False)
        return "mini" in self.ask("sacctmgr", "-n", "show", "cluster", "format=cluster", check=False)

    def _jobs(self, states: str = "PENDING,RUNNING,COMPLETING") -> set[str]:
        """Those that wait or run, with their states."""
        return set(self.ask("squeue", "-h", f"--states={states}", "-o", "%i %T").splitlines())

    @contextmanager
    def without(self, name: str) -> Iterator[None]:
        """The cluster while one of its daemons is dead; afterwards its nodes take jobs again."""
        self.stop(name)
        try:
            yield
        finally:
            self.start(name)
            self._wait_for_nodes()

    @contextmanager
    def fewer_cards(self, name: str, count: int) -> Iterator[None]:
        """The cluster while a node has so many cards, as after some fell off its bus and an administrator said so."""
        try:
            self._configure({name: count})
            yield
        except BaseException:
            self.clear()  # or what a test left would keep the cluster as it is now
            raise
        finally:
            self._configure({})

    def _configure(self, cards: Mapping[str, int]) -> None:
        """Anew with these cards, while nothing runs: a job that ends between two daemons' deaths is one that its
        node has no more, and slurmctld keeps its cards until the node registers again, minutes later."""
        self._let_in("DOWN")  # until slurmctld starts anew
        try:
            _until(lambda: not self._jobs("RUNNING,COMPLETING"))
            self.remember()
        except BaseException:
            self._let_in("UP")
            raise
        self._write_settings(cards)
        for daemon in ("slurmctld", *self.names):
            self.stop(daemon)
            self.start(daemon)
        self._wait_for_nodes()

    def _let_in(self, state: str) -> None:
        """Whether jobs may begin: UP or DOWN."""
        self.ask("scontrol", "update", "PartitionName=main", f"State={state}")

    def clear(self) -> None:
        """End what a test left, which would take the nodes from others."""

        def is_clear() -> bool:
            left = [line.split()[0] for line in self._jobs()]
            if left:
                self.ask("scancel", *left, check=False)  # some may have ended by now, which it calls an error
            return not left

        _until(is_clear)

    def _wait_for_nodes(self) -> None:
        """Until each takes jobs; what runs there meanwhile, such as a health test, is no hindrance."""
        takes = ("sinfo", "-h", "-N", "-r", "-t", "idle,mixed,allocated,completing", "-o", "%N")
        _until(lambda: self.ask(*takes, check=False).split() == [*self.names])

    def _write_settings(self, cards: Mapping[str, int]) -> None:
        host = socket.gethostname()
        dev = self.folder / "dev"
        for number in range(CARDS):
            if not (dev / f"npu{number}").exists():
                os.mknod(dev / f"npu{number}", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        counts = dict.fromkeys(self.names, CARDS) | dict(cards)
        nodes = "\n".join(
            _NODE.format(
                name=name,
                host=host,
                port=self.ports[name],
                cpus=CORES,
                memory_mib=MEMORY_MIB,
                cards=count,
            )
            for name, count in counts.items()
        )
        facts = {
            "folder": self.folder,
            "host": host,
            "nodes": nodes,
            **{f"{name}_port": port for name, port in self.ports.items()},
        }
        for name, text in {
            "slurmdbd.conf": _SLURMDBD.format(**facts),
            "slurm.conf": _SLURM.format(**facts),
            "gres.conf": "AutoDetect=off\n"
            + "".join(
                f"NodeName={name} Name=gpu Type=ascend910b File={dev}/npu[0-{count - 1}]\n"
                for name, count in counts.items()
            ),
            "cgroup.conf": "CgroupAutomount=no\nConstrainCores=no\n",
        }.items():
            (self.folder / name).write_text(text)
        (self.folder / "slurmdbd.conf").chmod(0o600)

    def _start_database(self) -> None:
        data, sock = self.folder / "db", self.folder / "db" / "mysql.sock"
        shutil.chown(data, "mysql")
        if not (data / "mysql").is_dir():
            made = subprocess.run(
                [
                    *("mariadb-install-db", "--no-defaults", "--user=mysql", "--skip-test-db"),
                    *(f"--datadir={data}", f"--tmpdir={data}", "--skip-name-resolve", _NO_RINGS),
                ],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
            )
            assert made.returncode == 0, f"mariadb-install-db: {made.stdout}{made.stderr}"
        with (self.folder / "mariadbd.log").open("wb") as log:
            self.database = subprocess.Popen(
                [
                    *("mariadbd", "--no-defaults", "--user=mysql", f"--datadir={data}", f"--socket={sock}"),
                    *("--bind-address=127.0.0.1", f"--port={self.ports['sql']}", "--skip-name-resolve"),
                    *("--innodb-buffer-pool-size=64M", "--innodb-lock-wait-timeout=900"),
                    *("--innodb-flush-log-at-trx-commit=2", _NO_RINGS),
                ],
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        ask = ["mariadb", "--no-defaults", "-S", str(sock), "-e", _DATABASE]
        _until(lambda: subprocess.run(ask, capture_output=True).returncode == 0)


@contextmanager
def running_slurm() -> Iterator[SlurmCluster]:
    """A cluster that takes jobs, gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="mosu-cluster-", dir="/var/tmp"))
    folder.chmod(0o755)
    cluster = SlurmCluster(folder)
    try:
        cluster.up()
        yield cluster
    finally:
        cluster.down()
        shutil.rmtree(folder, ignore_errors=True)


def _start_munge() -> None:
    """Munge is the machine's: a running one is used, and of several clusters that start at once one starts it."""
    with (Path(tempfile.gettempdir()) / "mosu-munge.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if subprocess.run(["munge", "-n"], capture_output=True).returncode:
            _start_munged()


def _start_munged() -> None:
    key = Path("/etc/munge/munge.key")
    if not key.exists():
        key.write_bytes(os.urandom(1024))
    shutil.chown(key, "munge", "munge")
    key.chmod(0o400)
    for name in ("run", "var/log", "var/lib"):
        folder = Path("/", name, "munge")
        folder.mkdir(exist_ok=True)
        folder.chmod(0o755)
        shutil.chown(folder, "munge", "munge")
    subprocess.run(["runuser", "-u", "munge", "--", "munged", "--force"], check=True, capture_output=True)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _lives(pid: int) -> bool:
    """A daemon that ended may stay a zombie where the first process of the machine reaps none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def _until(holds: Callable[[], bool], *, within_s: float = 180) -> None:
    """The limit is for what never comes, not for what is slow."""
    assert _comes(holds, within_s=within_s), "Slurm did not get there in time"


def _comes(holds: Callable[[], bool], *, within_s: float) -> bool:
    end = time.monotonic() + within_s
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True
