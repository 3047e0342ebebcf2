"""Any text is a task or is refused; what is written is read back."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import get_args

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from mosu.wire.task import (
    MOSU_KEYS,
    RESOURCE_KEYS,
    TASK_KEYS,
    App,
    FileMount,
    ReplicaNeed,
    ResourceNeed,
    TaskFile,
    TaskRefused,
    dump_task,
    parse_task,
)
from mosu.wire.task_service import AUTHS, Auth

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.datetimes(timezones=st.just(UTC))
    | st.sampled_from(["8+", "H100:8", "2h", "auto", ".", "../x", "s3://x", "1:30"])
)
KEYS = st.sampled_from([*TASK_KEYS, *RESOURCE_KEYS, *MOSU_KEYS, "infra", "<<"]) | SCALARS.filter(
    lambda key: not isinstance(key, float)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=20,
)


def check(text: str) -> None:
    try:
        task = parse_task(text)
    except TaskRefused as refused:
        assert refused.problems
        assert all(p["line"] >= 1 and p["column"] >= 1 and p["message"] for p in refused.problems)
    else:
        assert parse_task(dump_task(task)) == task


@given(
    st.text()
    | st.text(alphabet="{}[],:-\n &*!|>'\"#run%@`?~\t")
    | st.text(st.characters(categories=["Cs", "Cc", "L"]))
)
@settings(deadline=None, max_examples=500)
def test_any_text_is_a_task_or_is_refused(text: str) -> None:
    check(text)


@given(st.dictionaries(KEYS, VALUES, max_size=8))
@settings(deadline=None, max_examples=150)
def test_any_yaml_is_a_task_or_is_refused(tree: dict[object, object]) -> None:
    check(yaml.safe_dump({"run": "ls", **tree}, allow_unicode=True))


LETTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
LINES = st.text(LETTERS | st.sampled_from("\n\r\x85\u2028 :#'\"-"), max_size=30)
TEXT = LINES.filter(lambda text: bool(text.strip()))
NAME = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,9}", fullmatch=True).filter(
    lambda name: not name.startswith("MOSU_")
)
PATH = st.from_regex(r"[a-z*][a-z*.]{0,5}(/[a-z][a-z.]{0,5}){0,2}", fullmatch=True)
VARIABLES = st.dictionaries(NAME, LINES, max_size=3).map(lambda pairs: tuple(pairs.items()))
MICROS = st.none() | st.integers(1, 10**17)
CPUS = st.none() | st.integers(1, 4096)
TASKS = st.builds(
    TaskFile,
    run=TEXT,
    setup=LINES,
    name=st.just("") | st.from_regex(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,10}", fullmatch=True),
    resources=st.builds(
        ResourceNeed,
        accelerators=st.just(())
        | st.sampled_from([(("H100", 8),), (("4090", 1),), (("1e3", 2),), (("A100", Decimal("0.25")),)]),
        cpus=CPUS,
        memory_gb=CPUS,
        disk_gb=CPUS,
        max_hourly_cost_micros=MICROS,
        priority=st.none() | st.integers(-1000, 1000),
        use_spot=st.booleans(),
        job_recovery=st.booleans(),
        labels=st.dictionaries(st.from_regex(r"[a-z]{1,5}", fullmatch=True), TEXT, max_size=3).map(
            lambda d: tuple(d.items())
        ),
    ),
    num_nodes=st.integers(1, 1024),
    workdir=st.none() | st.just(".") | PATH,
    envs=VARIABLES,
    file_mounts=st.dictionaries(PATH, PATH, max_size=3).map(
        lambda d: tuple(FileMount(target=target, source=source) for target, source in d.items())
    ),
    budget_micros=MICROS,
    not_before=st.none()
    | st.integers(min_value=1, max_value=30 * 86_400).map(lambda seconds: timedelta(seconds=seconds))
    | st.datetimes(min_value=datetime(1970, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
    deadline=st.none() | st.datetimes(min_value=datetime(1970, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
    wall_limit_s=st.none() | st.integers(1, 30 * 86_400),
    suppliers=st.lists(TEXT, max_size=3).map(tuple),
    domestic_only=st.booleans(),
    vouchers=st.sampled_from(["auto", "none"]) | st.lists(TEXT, min_size=1, max_size=3).map(tuple),
    outputs=st.lists(PATH, max_size=3).map(tuple),
    block=st.just("") | st.from_regex(r"block_[0-9a-z]{26}", fullmatch=True),
    environment=st.just("") | st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,10}", fullmatch=True),
)


def _as_session(task: TaskFile, apps: tuple[App, ...]) -> TaskFile:
    """The same as a session, with what one may not have left out; one with apps needs no command."""
    need, run = replace(task.resources, job_recovery=False), "" if apps and task.setup else task.run
    return replace(task, kind="session", num_nodes=1, resources=need, apps=apps, run=run)


def _as_service(task: TaskFile, auth: Auth, replicas: ReplicaNeed) -> TaskFile:
    session = _as_session(task, ())
    return replace(session, kind="service", port=8000, health="/health", auth=auth, replicas=replicas)


REPLICAS = st.builds(
    ReplicaNeed,
    least=st.integers(0, 5),
    most=st.integers(5, 20),
    requests=st.integers(1, 1000),
    idle_s=st.integers(1, 86_400),
)


APPS = st.lists(st.sampled_from(get_args(App)), unique=True).map(tuple)


@given(
    TASKS
    | st.builds(_as_session, TASKS, APPS)
    | st.builds(_as_service, TASKS, st.sampled_from(AUTHS), REPLICAS)
)
@settings(deadline=None, max_examples=60)
def test_what_is_written_is_read_back(task: TaskFile) -> None:
    assert parse_task(dump_task(task)) == task
