"""Every refusal of a task file, with its place; and what is accepted, value by value."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from mosu.wire import document
from mosu.wire.task import (
    FileMount,
    Problem,
    ReplicaNeed,
    ResourceNeed,
    TaskFile,
    TaskRefused,
    VolumeMount,
    dump_task,
    parse_task,
)


def problems_of(text: str) -> list[Problem]:
    with pytest.raises(TaskRefused) as refused:
        parse_task(text)
    return refused.value.problems


FULL = """\
name: char-lm
resources:
  accelerators: "H100:8"
  cpus: 8+
  memory: "16+"
  disk_size: 100
  use_spot: false
  max_hourly_cost: 12.5
  priority: -3
  labels: {team: red}
num_nodes: 2
workdir: ./code/
setup: ""
run: |
  python train.py
  echo done
envs: {EPOCHS: 3, FAST: true, NAME: a b}
secrets: {HF_TOKEN: "x"}
file_mounts: {data/in.csv: local/in.csv}
mosu:
  budget: 0.3
  not_before: +2h
  deadline: 2026-12-01T18:00:00+08:00
  wall_limit: 1h30m
  suppliers: [alpha, org_01jd4xkq3fe8mtz6y6kt5v0a9n]
  domestic_only: true
  vouchers: [voucher_01jd4xkq3fe8mtz6y6kt5v0a9n]
  inputs: [alice/corpus]
  outputs: ["weights/*", loss.csv]
  environment: py311-numpy
"""


def test_every_field_is_read() -> None:
    assert parse_task(FULL) == TaskFile(
        name="char-lm",
        resources=ResourceNeed(
            accelerators=(("H100", 8),),
            cpus=8,
            cpus_at_least=True,
            memory_gb=16,
            memory_at_least=True,
            disk_gb=100,
            max_hourly_cost_micros=12_500_000,
            priority=-3,
            labels=(("team", "red"),),
        ),
        num_nodes=2,
        workdir="code",
        run="python train.py\necho done\n",
        envs=(("EPOCHS", "3"), ("FAST", "true"), ("NAME", "a b")),
        secrets=(("HF_TOKEN", "x"),),
        file_mounts=(FileMount(target="data/in.csv", source="local/in.csv"),),
        budget_micros=300_000,
        not_before=timedelta(hours=2),
        deadline=datetime(2026, 12, 1, 10, tzinfo=UTC),
        wall_limit_s=5400,
        suppliers=("alpha", "org_01jd4xkq3fe8mtz6y6kt5v0a9n"),
        domestic_only=True,
        vouchers=("voucher_01jd4xkq3fe8mtz6y6kt5v0a9n",),
        inputs=("alice/corpus",),
        outputs=("weights/*", "loss.csv"),
        environment="py311-numpy",
    )


def test_secrets_do_not_show_in_the_representation() -> None:
    assert "hunter2" not in repr(parse_task("run: ls\nsecrets: {PASSWORD: hunter2}"))


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("H100", ("H100", 1)),
        ("H100:8", ("H100", 8)),
        ("{H100: 8}", ("H100", 8)),
        ("4090:8", ("4090", 8)),  # YAML 1.1 reads this as a number to the base 60
        ("ascend-910b2:2", ("ascend-910b2", 2)),
        ("A100:0.25", ("A100", Decimal("0.25"))),
        ("{A100: .5}", ("A100", Decimal("0.5"))),
        ("{A100: 2.0}", ("A100", 2)),
    ],
)
def test_ways_to_write_accelerators(written: str, expected: tuple[str, int | Decimal]) -> None:
    assert parse_task(f"run: ls\nresources: {{accelerators: {written}}}").resources.accelerators == (
        expected,
    )


def test_volumes_are_named_as_skypilot_names_them() -> None:
    task = parse_task("run: ls\nvolumes: {/data: corpus, /mnt/a/b: 'old-1:ro'}")
    assert task.volumes == (
        VolumeMount(path="/data", name="corpus"),
        VolumeMount(path="/mnt/a/b", name="old-1", writes=False),
    )
    assert parse_task(dump_task(task)) == task


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("{/: a}", "does not fit"),
        ("{/etc: a}", "does not fit"),
        ("{/usr/lib: a}", "does not fit"),
        ("{/datas: a}", "does not fit"),
        ("{data: a}", "does not fit"),
        ("{/data/: a}", "does not fit"),
        ("{/data/../etc: a}", "does not fit"),
        ("{/data/.x: a}", "does not fit"),
        ("{/mnt/x y: a}", "does not fit"),
        ("{/mnt/a/b/c/d/e: a}", "does not fit"),
        ("{/data: ../a}", "does not fit"),
        ("{/data: A}", "does not fit"),
        ("{/data: 'a:rw'}", "does not fit"),
        ("{/data: {name: a}}", "/data"),
        ("{/data: a, /data/b: b}", "lies within another volume"),
        ("{/data/b: b, /data: a}", "lies within another volume"),
        ("{/data: a, /mnt: a}", "is mounted twice"),
        ("{/data: a, /mnt: 'a:ro'}", "is mounted twice"),
        ("[a]", "volumes"),
        ("{" + ", ".join(f"/data/{n}: v{n}" for n in range(9)) + "}", "names 9 volumes"),
    ],
)
def test_what_is_no_volume_is_refused(written: str, message: str) -> None:
    (problem,) = problems_of(f"run: ls\nvolumes: {written}")
    assert problem["line"] == 2 and problem["field"].startswith("volumes")
    assert message in problem["message"] + problem["field"]


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("90", 90),
        ("90s", 90),
        ("30m", 1800),
        ("2h", 7200),
        ("1d", 86_400),
        ('"1h 30m"', 5400),
        ("2h0m5s", 7205),
    ],
)
def test_ways_to_write_a_wall_limit(written: str, seconds: int) -> None:
    assert parse_task(f"run: ls\nmosu: {{wall_limit: {written}}}").wall_limit_s == seconds


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ('"+90"', timedelta(seconds=90)),
        ("+1h30m", timedelta(minutes=90)),
        ("2026-12-01T18:00:00+08:00", datetime(2026, 12, 1, 10, tzinfo=UTC)),
    ],
)
def test_ways_to_write_an_earliest_start(written: str, expected: datetime | timedelta) -> None:
    assert parse_task(f"run: ls\nmosu: {{not_before: {written}}}").not_before == expected


@pytest.mark.parametrize("written", ["+0s", "+31d", "+soon", "2026-12-01", "2h", "[]"])
def test_what_is_no_earliest_start_is_refused(written: str) -> None:
    (problem,) = problems_of(f"run: ls\nmosu: {{not_before: {written}}}")
    assert (problem["line"], problem["field"]) == (2, "mosu.not_before")


@pytest.mark.parametrize(
    ("written", "read"), [("auto", "auto"), ("none", "none"), ("[]", "none"), ("[a]", ("a",))]
)
def test_ways_to_choose_vouchers(written: str, read: str | tuple[str, ...]) -> None:
    assert parse_task(f"run: ls\nmosu: {{vouchers: {written}}}").vouchers == read


@pytest.mark.parametrize(
    ("written", "kind"),
    [
        ("", "batch"),
        ("mosu: {kind: batch}", "batch"),
        ("mosu: {kind: session}", "session"),
        ("mosu: {kind: service, port: 8000}", "service"),
    ],
)
def test_a_task_is_of_a_kind(written: str, kind: str) -> None:
    task = parse_task(f"run: ls\nnum_nodes: 1\nresources: {{job_recovery: none, use_spot: true}}\n{written}")
    assert task.kind == kind
    assert (f"kind: {kind}" in dump_task(task)) is (kind != "batch")


def test_an_endpoint_is_asked_by_key_and_has_one_replica_unless_the_file_says_otherwise() -> None:
    def read(terms: str) -> tuple[str, ReplicaNeed]:
        task = parse_task(f"run: ls\nmosu: {{kind: service, port: 80{terms}}}")
        return task.auth, task.replicas

    assert read("") == ("key", ReplicaNeed(least=1, most=1, requests=16, idle_s=600))
    assert read(", auth: hub, replicas: 3") == ("hub", ReplicaNeed(least=3, most=3))
    assert read(", replicas: {min: 0}")[1] == ReplicaNeed(least=0, most=1)
    assert read(", replicas: {min: 2}")[1] == ReplicaNeed(least=2, most=2)
    assert read(", replicas: {min: 0, max: 20, requests: 4, idle: 90s}")[1] == ReplicaNeed(
        least=0, most=20, requests=4, idle_s=90
    )


def test_a_service_has_a_port_and_may_say_where_it_is_asked_how_it_is() -> None:
    bare = parse_task("run: ls\nmosu: {kind: service, port: 8000}")
    assert (bare.port, bare.health) == (8000, "")
    asked = parse_task("run: ls\nmosu: {kind: service, port: 8000, health: /v1/models?ready=1}")
    assert asked.health == "/v1/models?ready=1"


def test_a_batch_task_may_have_what_a_session_may_not() -> None:
    task = parse_task("run: ls\nnum_nodes: 2\nresources: {job_recovery: failover}\nmosu: {kind: batch}")
    assert (task.num_nodes, task.resources.job_recovery) == (2, True)


@pytest.mark.parametrize(
    ("written", "apps", "run"),
    [
        ("mosu: {kind: session, apps: [jupyter]}", ("jupyter",), ""),
        ("mosu: {kind: session, apps: [ssh, jupyter]}", ("ssh", "jupyter"), ""),
        ("mosu: {kind: session, apps: [vscode]}", ("vscode",), ""),
        ("run: tensorboard\nmosu: {kind: session, apps: [jupyter]}", ("jupyter",), "tensorboard"),
        ("run: ls\nmosu:\n  apps:\n", (), "ls"),
    ],
)
def test_a_session_with_apps_needs_no_command(written: str, apps: tuple[str, ...], run: str) -> None:
    task = parse_task(written)
    assert (task.apps, task.run) == (apps, run)
    assert parse_task(dump_task(task)) == task


def test_keys_without_a_value_count_as_left_out() -> None:
    assert parse_task("run: ls\nsetup:\nenvs:\nmosu:\nresources:\n") == TaskFile(run="ls")


REFUSED = [
    # text, line, column, field, part of the message
    ("", 1, 1, "", "empty"),
    ("- a", 1, 1, "", "found a list"),
    ("ls", 1, 1, "", "'ls' is text"),
    ("name: a", 1, 1, "run", "needs a command"),
    ("run:", 1, 1, "run", "needs a command"),
    ('run: "  "', 1, 6, "run", "is empty"),
    ("run: 3", 1, 6, "run", "'3' is a number"),
    ('run: "a\\0b"', 1, 6, "run", "NUL"),
    ("run: [ls]", 1, 6, "run", "found a list"),
    ("run: ls\nnam: a", 2, 1, "nam", "did you mean 'name'?"),
    ("run: ls\nzzzzzz: a", 2, 1, "zzzzzz", "allowed are name, resources"),
    ("run: ls\nrun: ls", 2, 1, "run", "comes twice; it is already on line 1"),
    ("run: ls\n? [a]\n: b", 2, 3, "", "a key is a list"),
    ("run: ls\nname: -x", 2, 7, "name", "does not fit"),
    ("run: ls\nname: ../x", 2, 7, "name", "does not fit"),
    ("run: ls\nnum_nodes: 0", 2, 12, "num_nodes", "whole number from 1 to 1024"),
    ("run: ls\nnum_nodes: 1.5", 2, 12, "num_nodes", "whole number"),
    ("run: ls\nnum_nodes: 010", 2, 12, "num_nodes", "whole number"),
    ("run: ls\nworkdir: /etc", 2, 10, "workdir", "not relative"),
    ("run: ls\nworkdir: ~/x", 2, 10, "workdir", "not relative"),
    ("run: ls\nworkdir: a/../..", 2, 10, "workdir", '".."'),
    ("run: ls\nworkdir: {url: x}", 2, 10, "workdir", "known to SkyPilot, not supported by mosu yet"),
    ("run: ls\nworkdir: s3://b", 2, 10, "workdir", "known to SkyPilot, not supported by mosu yet"),
    ("run: ls\nenvs: [A]", 2, 7, "envs", "found a list"),
    ("run: ls\nenvs: {1A: x}", 2, 8, "envs", "does not fit"),
    ("run: ls\nenvs: {A: ~}", 2, 11, "envs.A", "has no value"),
    ("run: ls\nenvs: {A: [x]}", 2, 11, "envs.A", "found a list"),
    ("run: ls\nenvs: {MOSU_A: x}", 2, 8, "envs.MOSU_A", "set by mosu"),
    ("run: ls\nenvs: {A: x}\nsecrets: {A: y}", 3, 11, "secrets.A", "also in envs"),
    ("run: ls\nfile_mounts: {/abs: x}", 2, 15, "file_mounts", "not relative"),
    ("run: ls\nfile_mounts: {a: ../x}", 2, 18, "file_mounts.a", '".."'),
    ("run: ls\nfile_mounts: {a: s3://x}", 2, 18, "file_mounts.a", "not supported by mosu yet"),
    ("run: ls\nfile_mounts: {a: {source: x}}", 2, 18, "file_mounts.a", "not supported by mosu yet"),
    ("run: ls\nresources: 3", 2, 12, "resources", "'3' is a number"),
    ("run: ls\nresources: {cpu: 3}", 2, 13, "resources.cpu", "did you mean 'cpus'?"),
    ("run: ls\nresources: {cpus: many}", 2, 19, "resources.cpus", "whole number of cores"),
    ("run: ls\nresources: {cpus: 0.5}", 2, 19, "resources.cpus", "whole number of cores"),
    ("run: ls\nresources: {memory: 16GB}", 2, 21, "resources.memory", "whole number of GB"),
    ("run: ls\nresources: {disk_size: -1}", 2, 24, "resources.disk_size", "whole number"),
    ("run: ls\nresources: {job_recovery: magic}", 2, 27, "resources.job_recovery", "no way to go on"),
    ("run: ls\nresources: {use_spot: maybe}", 2, 23, "resources.use_spot", "true or false"),
    ("run: ls\nresources: {use_spot: yes}", 2, 23, "resources.use_spot", "true or false"),
    ("run: ls\nresources: {max_hourly_cost: 1e3}", 2, 30, "resources.max_hourly_cost", "positive amount"),
    ("run: ls\nresources: {priority: 2000}", 2, 23, "resources.priority", "from -1000 to 1000"),
    ("run: ls\nresources: {labels: {a: 1}}", 2, 25, "resources.labels.a", "'1' is a number"),
    ("run: ls\nresources: {accelerators: [A, 'A:2']}", 2, 31, "resources.accelerators", "named twice"),
    ("run: ls\nresources: {accelerators: []}", 2, 27, "resources.accelerators", ""),
    ("run: ls\nresources: {accelerators: [{A: 1}]}", 2, 28, "resources.accelerators", ""),
    ("run: ls\nresources: {accelerators: {A: 1.5}}", 2, 31, "resources.accelerators.A", "share of one"),
    ("run: ls\nresources: {accelerators: {A: .inf}}", 2, 31, "resources.accelerators.A", "share of one"),
    ('run: ls\nresources: {accelerators: "A:2.5"}', 2, 27, "resources.accelerators", "share of one"),
    ('run: ls\nresources: {accelerators: "A:0.00"}', 2, 27, "resources.accelerators", "share of one"),
    ("run: ls\nresources: {accelerators: {}}", 2, 27, "resources.accelerators", "an empty map"),
    ('run: ls\nresources: {accelerators: "A:0"}', 2, 27, "resources.accelerators", "does not fit"),
    ("run: ls\nresources: {infra: aws}", 2, 13, "resources.infra", "known to SkyPilot"),
    ("run: ls\nresources: {budget: 3}", 2, 13, "resources.budget", "write it as mosu.budget"),
    ("run: ls\nservice: {}", 2, 1, "service", "known to SkyPilot"),
    ("run: ls\ninfra: aws", 2, 1, "infra", "known to SkyPilot"),
    ("run: ls\noutputs: [a]", 2, 1, "outputs", "write it as mosu.outputs"),
    ("run: ls\ncpus: 3", 2, 1, "cpus", "write it as resources.cpus"),
    ("run: ls\n<<: {name: a}", 2, 1, "<<", "merge keys"),
    ("run: ls\nmosu: {cpus: 3}", 2, 8, "mosu.cpus", "write it as resources.cpus"),
    ("run: ls\nmosu: {buget: 3}", 2, 8, "mosu.buget", "did you mean 'budget'?"),
    ("run: ls\nmosu: {budget: 0}", 2, 16, "mosu.budget", "positive amount"),
    ("run: ls\nmosu: {budget: 0.0000001}", 2, 16, "mosu.budget", "positive amount"),
    ("run: ls\nmosu: {deadline: 2026-12-01T18:00:00}", 2, 18, "mosu.deadline", "with its zone"),
    ("run: ls\nmosu: {deadline: 0001-01-01T00:00:00+08:00}", 2, 18, "mosu.deadline", "with its zone"),
    ("run: ls\nmosu: {wall_limit: 0}", 2, 20, "mosu.wall_limit", "from 1 s to 30 days"),
    ("run: ls\nmosu: {wall_limit: 31d}", 2, 20, "mosu.wall_limit", "from 1 s to 30 days"),
    ("run: ls\nmosu: {wall_limit: 1:30:00}", 2, 20, "mosu.wall_limit", "a duration such as"),
    ("run: ls\nmosu: {suppliers: alpha}", 2, 19, "mosu.suppliers", "a list of names or ids"),
    ("run: ls\nmosu: {suppliers: [no]}", 2, 20, "mosu.suppliers[0]", "'no' is true or false"),
    ("run: ls\nmosu: {domestic_only: 1}", 2, 23, "mosu.domestic_only", "true or false"),
    ("run: ls\nmosu: {vouchers: some}", 2, 18, "mosu.vouchers", '"auto", "none" or a list'),
    ("run: ls\nmosu: {outputs: [a, ../b]}", 2, 21, "mosu.outputs[1]", '".."'),
    ("run: ls\nmosu: {outputs: [/b]}", 2, 18, "mosu.outputs[0]", "not relative"),
    ("run: ls\nmosu: {kind: service}", 1, 1, "mosu.port", "needs the port"),
    ("run: ls\nmosu: {kind: service, port: 65536}", 2, 29, "mosu.port", "65535"),
    ("run: ls\nmosu: {kind: service, port: web}", 2, 29, "mosu.port", "65535"),
    ("run: ls\nmosu: {port: 80}", 2, 14, "mosu.port", "only a service"),
    ("run: ls\nmosu: {kind: session, health: /}", 2, 31, "mosu.health", "only a service"),
    ("run: ls\nmosu: {kind: service, port: 80, health: up}", 2, 41, "mosu.health", "does not fit"),
    ("run: ls\nmosu: {kind: service, port: 80, health: '/a b'}", 2, 41, "mosu.health", "does not fit"),
    ("run: ls\nmosu: {kind: service, port: 80, auth: none}", 2, 39, "mosu.auth", "key, hub or public"),
    ("run: ls\nmosu: {kind: service, port: 80, auth: [key]}", 2, 39, "mosu.auth", "key, hub or public"),
    ("run: ls\nmosu: {auth: public}", 2, 14, "mosu.auth", "only a service"),
    ("run: ls\nmosu: {replicas: 2}", 2, 18, "mosu.replicas", "only a service"),
    ("run: ls\nmosu: {kind: service, port: 80, replicas: 0}", 2, 43, "mosu.replicas", "1 to 20"),
    ("run: ls\nmosu: {kind: service, port: 80, replicas: 21}", 2, 43, "mosu.replicas", "1 to 20"),
    ("run: ls\nmosu: {kind: service, port: 80, replicas: [2]}", 2, 43, "mosu.replicas", "min, max"),
    (
        "run: ls\nmosu: {kind: service, port: 80, replicas: {min: 3, max: 2}}",
        2,
        43,
        "mosu.replicas",
        "min is more",
    ),
    ("run: ls\nmosu: {kind: service, port: 80, replicas: {max: 0}}", 2, 49, "mosu.replicas.max", "1 to 20"),
    (
        "run: ls\nmosu: {kind: service, port: 80, replicas: {requests: 0}}",
        2,
        54,
        "mosu.replicas.requests",
        "1 to",
    ),
    (
        "run: ls\nmosu: {kind: service, port: 80, replicas: {idle: soon}}",
        2,
        50,
        "mosu.replicas.idle",
        "a duration",
    ),
    (
        "run: ls\nmosu: {kind: service, port: 80, replicas: {mim: 1}}",
        2,
        44,
        "mosu.replicas.mim",
        "did you mean",
    ),
    ("run: ls\nmosu: {kind: Session}", 2, 14, "mosu.kind", "batch, session or service"),
    ("run: ls\nmosu: {kind: [session]}", 2, 14, "mosu.kind", "batch, session or service"),
    ("run: ls\nnum_nodes: 2\nmosu: {kind: service, port: 80}", 2, 12, "num_nodes", "a service has one node"),
    ("mosu: {kind: session, apps: [emacs]}", 1, 30, "mosu.apps[0]", "a list of jupyter, ssh and vscode"),
    ("mosu: {kind: session, apps: [[ssh]]}", 1, 30, "mosu.apps[0]", "a list of jupyter, ssh and vscode"),
    ("mosu: {kind: session, apps: jupyter}", 1, 29, "mosu.apps", "jupyter, ssh and vscode"),
    ("mosu: {kind: session, apps: []}", 1, 29, "mosu.apps", "names none"),
    ("mosu: {kind: session, apps: [ssh, ssh]}", 1, 29, "mosu.apps", "names one twice"),
    ("mosu: {apps: [jupyter]}", 1, 14, "mosu.apps", "only a session has apps"),
    ("run: ls\nmosu: {kind: batch, apps: [jupyter]}", 2, 27, "mosu.apps", "only a session has apps"),
    ("mosu: {kind: session}", 1, 1, "run", "a task needs a command"),
    ("run: ls\napps: [jupyter]", 2, 1, "apps", "write it as mosu.apps"),
    ("run: ls\nkind: session", 2, 1, "kind", "write it as mosu.kind"),
    ("run: ls\nresources: {ports: 80}", 2, 13, "resources.ports", "say mosu.kind: session"),
    ("num_nodes: 2\nrun: ls\nmosu: {kind: session}", 1, 12, "num_nodes", "a session has one node"),
    (
        "resources: {job_recovery: failover}\nrun: ls\nmosu: {kind: session}",
        *(1, 27, "resources.job_recovery", "not begun again"),
    ),
    ("run: ls\nmosu: {environment: a b}", 2, 21, "mosu.environment", "does not fit"),
    ("run: ls\nmosu: {block: O-2026-1}", 2, 15, "mosu.block", "does not fit"),
    ("run: 'ls", 1, 9, "", "Not YAML"),
    ("run: ls\n\tname: a", 2, 1, "", "Not YAML"),
    ("run: ls\n---\nrun: ls", 2, 1, "", "a single document"),
    ("run: *nowhere", 1, 6, "", "Not YAML"),
    ("run: !!python/object:os.system ls", 1, 6, "", "tag"),
    ("run: \x07", 1, 1, "", "Not YAML"),
    ("run: \ud800", 1, 1, "", "surrogate"),
]


@pytest.mark.parametrize(("text", "line", "column", "field", "part"), REFUSED)
def test_refusals_name_the_place(text: str, line: int, column: int, field: str, part: str) -> None:
    (problem,) = problems_of(text)
    assert (problem["line"], problem["column"], problem["field"]) == (line, column, field), problem
    assert part in problem["message"]


def test_all_problems_are_found_in_one_reading() -> None:
    with pytest.raises(TaskRefused) as refused:
        parse_task("nam: a\nresources: {cpu: 3}\nrun: 3\n", source="x.yaml")
    assert [(p["line"], p["nearest"]) for p in refused.value.problems] == [(1, "name"), (2, "cpus"), (3, "")]
    assert refused.value.message.startswith("x.yaml, line 1, column 1: nam: unknown key")
    assert refused.value.message.endswith("(and 2 more)")
    assert refused.value.status == 422
    assert refused.value.facts["nearest"] == "name"


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("run: ls\n#" + "x" * document.TEXT_BYTES_MAX, "bytes"),
        ("[" * 100_000, "levels of nesting"),
        ("{a: " * 100_000, "levels of nesting"),
        ("run: ls\nenvs: [" + "1," * 60_000 + "]", "values"),
        ("a: &a [x]\nb: [" + ", ".join(["*a"] * 101) + "]", "aliases"),
    ],
)
def test_bombs_are_refused_before_they_are_built(text: str, part: str) -> None:
    (problem,) = problems_of(text)
    assert part in problem["message"]


def test_an_alias_to_itself_ends() -> None:
    assert problems_of("run: ls\nenvs: &e {A: *e}")[0]["field"] == "envs.A"


def test_a_long_list_is_refused() -> None:
    text = "run: ls\nmosu: {outputs: [" + ", ".join(["a"] * 257) + "]}"
    assert "257 entries" in problems_of(text)[0]["message"]
