"""A hub, a supplier's agent and a real Slurm: what nobody may do there, and what a cluster that shrank still sells."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from benchmarks.slurm.site import SUPPLIER, Site, put_on_the_shelf, site_in

from mosu.client import Client, ProblemError
from mosu.compute.services.usage import TOLERANCE
from tests.hub import MOSU, Hub, running_hub
from tests.images.registry import plain_image, registry
from tests.site_agent import lab
from tests.site_agent.echo import ECHO, echoed
from tests.site_agent.lab import WAITS, any_process_tells, open_folder, processes_that_name
from tests.slurm.cluster import CARDS, SlurmCluster
from tests.slurm.fixtures import CARD

pytestmark = pytest.mark.slurm
SECRET = "s3cret-of-a"
until = partial(lab.until, every_s=0.2, within_s=300.0)
"""To ask the hub takes the processor from what is waited for, and that the agent tries anew after minutes."""
ANSWERS_ONCE = "import os, socket, time; socket.create_server(('127.0.0.1', 8000)).accept()[0].send(b'%d' % time.time_ns())"
LIE = 100_000
"""Core-seconds that an agent claims for a run of some."""


@dataclass
class Hall:
    """The supplier's cluster at a hub, and two organisations with money."""

    hub: Hub
    site: Site
    folder: Path
    first: Client
    second: Client
    first_token: str
    ordered_runs: list[tuple[Client, str]] = field(default_factory=list)

    def agent_says(self, path: str, body: dict[str, Any], *, token: str = "") -> httpx.Response:
        """What somebody with a pool's token posts by hand."""
        headers = {"Authorization": f"Bearer {token or self.site.pool.token}"}
        url = f"{self.hub.url}/agent/v1/{path}"
        return httpx.post(url, json=body, headers=headers, trust_env=False, timeout=60)

    def quoted(self, text: str) -> list[str]:
        return [quote.id for quote in self.first.make_quotes(text, vouchers="none").quotes]

    def ordered(self, buyer: Client, text: str) -> tuple[str, str]:
        """Its order and its run, as soon as it can be had."""
        until(lambda: self.quoted(text), what="it is sold")
        order = buyer.accept(buyer.make_quotes(text, vouchers="none").quotes[0].id)
        assert order.run_id is not None
        self.ordered_runs.append((buyer, order.run_id))
        return order.id, order.run_id

    def end_what_runs(self) -> None:
        """What a test that failed left would make others wait in vain: a dead agent, and jobs on the cluster's nodes."""
        ordered, self.ordered_runs = self.ordered_runs, []
        if self.site.agent is None or self.site.agent.poll() is not None:
            self.site.start()
        left = [(buyer, run_id) for buyer, run_id in ordered if not buyer.run(run_id).is_over]
        for buyer, run_id in left:
            with suppress(ProblemError):  # it has ended by now
                buyer.cancel_run(run_id)
        for buyer, run_id in left:
            until(lambda buyer=buyer, run_id=run_id: buyer.run(run_id).is_over, what=f"end of {run_id}")  # type: ignore[misc]

    def goes_on(self, run_id: str) -> None:
        """A job that `WAITS` goes on."""
        lab.let_go(self.site.folder / "state" / "attempts" / _attempt(self, run_id))

    def runs(self, run_id: str, *, says: str) -> None:
        """Return once the hub knows that it runs, and has that of its log: each comes on a way of its own."""
        until(lambda: says in self.first.log(run_id), what=f"it says {says}")
        until(lambda: self.first.run(run_id).state == "running", what="it runs")

    def succeeded(self, buyer: Client, run_id: str) -> None:
        until(lambda: buyer.run(run_id).is_over, what=f"end of {run_id}")
        assert buyer.run(run_id).state == "succeeded"


def task(run: str, *, resources: str = "cpus: 1, memory: 1+, disk_size: 1", more: str = "") -> str:
    return (
        f"resources: {{{resources}}}\n{more}run: {json.dumps(run)}\n"
        f"mosu: {{wall_limit: 5m, suppliers: [{SUPPLIER}]}}\n"
    )


@pytest.fixture(scope="module")
def hall(cluster: SlurmCluster) -> Iterator[Hall]:
    with ExitStack() as stack:
        folder = stack.enter_context(open_folder())
        hub = stack.enter_context(running_hub())
        operator = hub.bootstrap(
            email="olga@hub.example", organisation="Our hub", capabilities=("operator",)
        )["token"]
        staff = hub.mosu("admin", "staff", "--email", "chen@hub.example", "--role", "checker", "--json")
        checker = json.loads(staff.stdout)["token"]
        cards = f'accelerators = {{"{CARD}" = "gpu:ascend910b"}}\n'
        cards += f'devices = {{"{CARD}" = ["{cluster.folder}/dev/npu{{index}}"]}}\n'
        (folder / "images").mkdir()
        images = f'images_dir = "{folder}/images"\nimages_gb = 1\nallowed_images = ["{registry().prefix}"]\n'
        site = stack.enter_context(
            site_in(
                folder / "site",
                hub,
                cluster,
                env={"SSL_CERT_FILE": str(registry().certificate)},
                table=f"{images}[slurm]\nshared_network = true\n{cards}",
                unit_price="36.00",
            )
        )
        tokens = []
        for name in ("first", "second"):
            made = hub.bootstrap(email=f"ada@{name}.example", organisation=name, capabilities=("resident",))
            paid = ("post", "/deposits", f"organisation_id={made['organisation_id']}", "amount=100.00")
            deposit = _said(hub, operator, *paid, f"bank_reference=T-{name}")
            _said(hub, checker, "post", f"/deposits/{deposit['id']}/confirm")
            tokens.append(made["token"])
        first, second = (stack.enter_context(Client(hub.url, token)) for token in tokens)
        hall = Hall(hub, site, folder, first, second, tokens[0])
        until(lambda: hall.quoted(task("true")), what="on the shelf", within_s=600)
        yield hall


def test_an_image_is_bought_run_and_paid(hall: Hall) -> None:
    """From the task file to the receipt; one from elsewhere is refused by name at the quote."""
    text = task(
        "cat /etc/motd; echo it is $MADE_BY",
        resources=f"cpus: 1, memory: 1+, disk_size: 1, image_id: 'docker:{plain_image()}'",
    )
    order_id, run_id = hall.ordered(hall.first, text)
    hall.succeeded(hall.first, run_id)
    until(lambda: "its makers" in hall.first.log(run_id), what="its log")
    assert hall.first.log(run_id).splitlines()[-2:] == ["of the image", "it is its makers"]
    until(lambda: hall.first.order(order_id).state == "settled", what="its receipt")
    elsewhere = text.replace(registry().prefix, "docker.io/library")
    made = hall.first.make_quotes(elsewhere, vouchers="none")
    assert made.quotes == ()
    assert "does not run images of docker.io/library/plain" in str(made)


@pytest.fixture(autouse=True)
def nothing_is_left(hall: Hall) -> Iterator[None]:
    yield
    hall.end_what_runs()


def test_a_second_agent_with_the_pools_token_is_refused_by_name(hall: Hall) -> None:
    other = hall.folder / "other"
    (other / "images").mkdir(parents=True, exist_ok=True)
    settings = other / "agent.toml"
    known = (hall.site.folder / "agent.toml").read_text()
    known = known.replace(f"{hall.site.folder}/state", f"{other}/state")
    settings.write_text(known.replace(f"{hall.folder}/images", f"{other}/images"))
    settings.chmod(0o600)
    done = subprocess.run(
        [sys.executable, "-m", "mosu.cli.main", "agent", "run", str(settings)],
        env={**os.environ, **hall.site.cluster.env, "PYTHONPATH": "src"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 4, done.stderr
    assert "Another agent serves hall" in done.stderr and os.uname().nodename in done.stderr
    _, run_id = hall.ordered(hall.first, task("echo still served"))
    hall.succeeded(hall.first, run_id)


def test_another_organisation_reaches_nothing_of_a_run(hall: Hall) -> None:
    _, first = hall.ordered(
        hall.first,
        task(
            f'cat "$MOSU_SECRETS/KEY" > mine; echo begun; {WAITS}; cat mine',
            more=f"secrets: {{KEY: {SECRET}}}\n",
        ),
    )
    hall.runs(first, says="begun")
    attempts = hall.site.folder / "state" / "attempts"
    (attempt,) = [path for path in attempts.iterdir() if (path / "work" / "mine").exists()]
    site = hall.site.folder
    private = [
        *(attempt / name for name in ("", "work/mine", "log", "job.json", "claim", "secrets.json")),
        *(attempts, site / "state", site / "state" / "leases", site / "agent.toml", site / "pool.token"),
        *(site / "state" / "instance", Path("/etc/munge/munge.key")),
    ]
    tries = [
        f"(ls {path} || cat {path} || echo x >> {path}) 2> /dev/null && echo SEEN {path}" for path in private
    ]
    pids = processes_that_name(attempt.name)
    assert pids
    tries += [f"(kill -0 {pid} || ls /proc/{pid}/cwd/) 2> /dev/null && echo SEEN {pid}" for pid in pids]
    tries += [
        f"cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline | grep -a '[{SECRET[0]}]{SECRET[1:]}' && echo SEEN"
    ]
    _, second = hall.ordered(hall.second, task("\n".join([*tries, "echo tried"])))
    hall.succeeded(hall.second, second)
    said = hall.second.log(second)
    assert said.splitlines()[-1] == "tried" and "SEEN" not in said and SECRET not in said
    assert not any_process_tells(SECRET.encode())
    for ask in (hall.second.run, hall.second.cancel_run, hall.second.log):
        with pytest.raises(ProblemError):
            ask(first)
    hall.goes_on(first)
    hall.succeeded(hall.first, first)
    assert hall.first.log(first).splitlines() == ["begun", SECRET]  # nothing of it was touched


def test_an_agent_that_lies_is_not_paid(hall: Hall) -> None:
    """More than was used, of another's pool, the same again: kept apart, and the bill is what Slurm has."""
    order_id, run_id = hall.ordered(hall.first, task("echo begun; sleep 2"))
    hall.succeeded(hall.first, run_id)
    until(lambda: hall.first.order(order_id).state == "settled", what="settled")
    name = _attempt(hall, run_id)
    billed = Decimal(_slurm_s(hall, name)) / 100  # a fen a core-second
    assert hall.first.order(order_id).total == billed > 0
    rival = put_on_the_shelf(hall.hub, supplier="Rival").token
    assert hall.agent_says("usage", _lie(name), token=rival).status_code == 404
    lie = hall.agent_says("usage", _lie(name)).json()
    assert (lie["accepted"], lie["quarantined"]) == (0, 1)
    again = hall.agent_says("usage", _lie(name)).json()
    assert (again["accepted"], again["repeated"]) == (0, 1)
    assert hall.first.order(order_id).total == billed


def test_a_lie_while_it_runs_is_bounded_by_what_the_hub_saw(hall: Hall) -> None:
    began = time.monotonic()
    order_id, run_id = hall.ordered(hall.first, task(f"echo begun; {WAITS}; sleep 1"))
    hall.runs(run_id, says="begun")
    name = _attempt(hall, run_id)
    assert hall.agent_says("usage", _lie(name)).json()["quarantined"] == 1
    hall.goes_on(run_id)
    hall.succeeded(hall.first, run_id)
    until(lambda: hall.first.order(order_id).state == "settled", what="settled")
    took_s = time.monotonic() - began
    billed = hall.first.order(order_id).total
    assert billed is not None and float(billed) * 100 <= took_s + 2 * TOLERANCE.total_seconds() < LIE


def test_from_a_buyers_seat_through_hub_agent_and_slurm_into_the_sandbox(hall: Hall) -> None:
    """Bought at the hub, whose agent found out by itself that sessions work; the agent is killed meanwhile."""
    text = task(f"python3 - <<'PY'\n{ECHO}\nPY").replace("mosu: {", "mosu: {kind: session, ")
    until(lambda: hall.quoted(text), what="sessions are sold")
    order_id, run_id = hall.ordered(hall.first, text)
    hall.runs(run_id, says="up")
    with _forwarded(hall, run_id) as port:
        # The first may come before there is a way to the node, and is told to try again.
        until(lambda: _comes_back(port), what="the way to its node is open")
        data = os.urandom(5_000_000)
        assert echoed(_local(port), data) == data + b" end"
        with ThreadPoolExecutor(20) as threads:
            parts = [os.urandom(20_000) for _ in range(20)]
            assert list(threads.map(lambda part: echoed(_local(port), part), parts)) == [
                p + b" end" for p in parts
            ]
        hall.site.kill()
        hall.site.start()
        until(lambda: _comes_back(port), what="the way comes back")
    hall.first.cancel_run(run_id)
    until(lambda: hall.first.order(order_id).state == "settled", what="settled")
    assert hall.first.run(run_id).state == "cancelled"
    assert hall.first.order(order_id).total == Decimal(_slurm_s(hall, _attempt(hall, run_id))) / 100 > 0


def test_ssh_and_scp_into_a_session_on_a_node(hall: Hall, tmp_path: Path) -> None:
    """Its agent found out by itself that the nodes have OpenSSH's server; a person has OpenSSH's own programs."""
    text = "name: Hall 1\nresources: {cpus: 1, memory: 1+, disk_size: 1}\n" + (
        f"mosu: {{kind: session, apps: [ssh], wall_limit: 5m, suppliers: [{SUPPLIER}]}}\n"
    )
    until(lambda: hall.quoted(text), what="sessions with ssh are sold")
    order_id, run_id = hall.ordered(hall.first, text)
    env = {**hall.hub.env, "MOSU_URL": hall.hub.url, "MOSU_TOKEN": hall.first_token, "MOSU_LANG": "en"}
    # A home of this test's own keeps what others' sessions left of keys.
    env["HOME"] = str(tmp_path)

    def called(*words: str | Path, given: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(words, env=env, input=given, capture_output=True, text=True, timeout=300)

    done = called(*MOSU, "ssh", run_id, "cat; pwd; id -un; exit 7", given="through and back\n")
    assert (done.returncode, done.stdout) == (7, "through and back\n/work\nrunner\n"), done.stderr
    block = called(*MOSU, "ssh", "--config", run_id)
    (tmp_path / "config").write_text(block.stdout)
    (tmp_path / "there").write_bytes(data := os.urandom(1_000_000))
    for words in ((tmp_path / "there", "mosu-hall-1:kept"), ("mosu-hall-1:kept", tmp_path / "back")):
        done = called("scp", "-q", "-F", str(tmp_path / "config"), *words)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "back").read_bytes() == data
    attempt = hall.site.folder / "state" / "attempts" / _attempt(hall, run_id)
    assert (attempt / "work" / "kept").read_bytes() == data
    hall.first.cancel_run(run_id)
    until(lambda: hall.first.order(order_id).state == "settled", what="settled")


def test_a_service_on_a_node_is_reached_and_kept_up(hall: Hall) -> None:
    """From a buyer's seat: its process ends again and again, and another answers."""
    text = (
        "resources: {cpus: 1, memory: 1+, disk_size: 1}\n"
        f"run: exec python3 -c {json.dumps(ANSWERS_ONCE)}\n"
        f"mosu: {{kind: service, port: 8000, wall_limit: 5m, suppliers: [{SUPPLIER}]}}\n"
    )
    until(lambda: hall.quoted(text), what="services are sold")
    order_id, run_id = hall.ordered(hall.first, text)
    until(lambda: hall.first.run(run_id).state == "running", what="it runs")
    with _forwarded(hall, run_id) as port:
        seen: set[bytes] = set()

        def another_answers() -> bool:
            with suppress(OSError), _local(port) as joined:
                seen.add(joined.recv(100))
            return len(seen - {b""}) >= 2

        until(another_answers, what="it is up again")
    hall.first.cancel_run(run_id)
    until(lambda: hall.first.order(order_id).state == "settled", what="settled")


def test_a_cluster_that_lost_cards_sells_what_it_has(hall: Hall, cluster: SlurmCluster) -> None:
    """Two nodes published four cards each; one comes back with two."""
    both = task("true", resources=f"cpus: 1, memory: 1+, accelerators: {CARD}:{CARDS}", more="num_nodes: 2\n")
    fewer = both.replace(f"{CARD}:{CARDS}", f"{CARD}:{CARDS - 2}")
    offer = (
        "shelf=compute",
        f"subject_id={hall.site.pool.id}",
        "region=shanghai",
        "max_units:=64",
        "wall_s_max:=86400",
    )
    _said(
        *(hall.hub, hall.site.pool.supplier_token, "post", "/offers", *offer, f"accelerator={CARD}"),
        'title:={"zh": "NPU", "en": "NPU"}',
        'prices:=[{"meter": "card_second", "unit": "card_hour", "unit_price": "36.00"}]',
    )
    until(lambda: hall.quoted(both), what="eight cards")
    hall.site.stop()
    with cluster.fewer_cards("n2", CARDS - 2):
        hall.site.start()
        until(lambda: not hall.quoted(both), what="eight are sold no more")
        until(lambda: hall.quoted(fewer), what="two on each")
        _, run_id = hall.ordered(hall.first, fewer)
        hall.succeeded(hall.first, run_id)


def _said(hub: Hub, token: str, *words: str) -> Any:
    done = hub.mosu("api", *words, token=token)
    assert done.returncode == 0, done.stderr + done.stdout
    return json.loads(done.stdout)


def _attempt(hall: Hall, run_id: str) -> str:
    [one] = _said(hall.hub, hall.first_token, "get", f"/runs/{run_id}")["attempts"]
    return str(one["id"])


def _lie(attempt: str) -> dict[str, Any]:
    span = {"start": "2026-03-02T02:00:00Z", "end": "2026-03-02T02:00:01Z"}
    return {
        "records": [{"attempt_id": attempt, "meter": "core_second", "sequence": 900, "quantity": LIE, **span}]
    }


def _slurm_s(hall: Hall, attempt: str) -> int:
    ask = ("sacct", "-X", "-P", "-n", f"--name={attempt}", "--starttime=1970-01-01", "--endtime=now+1hour")
    until(lambda: hall.site.cluster.ask(*ask).strip(), what="slurmdbd has it by its name")
    return int(hall.site.cluster.ask(*ask, "--format=ElapsedRaw"))


@contextmanager
def _forwarded(hall: Hall, run_id: str) -> Iterator[int]:
    """`mosu port-forward`; its local port."""
    with subprocess.Popen(
        [*MOSU, "port-forward", "--json", run_id, "0:8000"],
        env={**hall.hub.env, "MOSU_URL": hall.hub.url, "MOSU_TOKEN": hall.first_token},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        try:
            yield json.loads(process.stdout.readline())["local_port"]
        finally:
            process.terminate()


def _local(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=60)


def _comes_back(port: int) -> bool:
    try:
        return echoed(_local(port), b"back") == b"back end"
    except OSError:
        return False
