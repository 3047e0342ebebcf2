"""The task file: SkyPilot's YAML plus a `mosu:` block, checked whole before anything happens.

```yaml
name: char-lm
resources: {accelerators: "H100:8", cpus: 8+, memory: 16+}
workdir: .
run: python train.py
mosu: {budget: 500, wall_limit: 2h, outputs: ["weights/*"]}
```

Keys and their meaning are those of SkyPilot's YAML reference; what mosu does not do is refused by name, never
passed over. All problems of a file are found in one reading.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from types import MappingProxyType
from typing import Final, Literal, cast, get_args

from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from mosu.kernel.refusals import Invalid
from mosu.wire import task_service
from mosu.wire.document import Problem, Unreadable, compose, problem_at
from mosu.wire.images import Unpinned, image_in
from mosu.wire.paths import fault_of_path
from mosu.wire.task_accelerators import accelerators
from mosu.wire.task_dump import dump_task
from mosu.wire.task_reader import Fields, Reader
from mosu.wire.task_service import Auth, ReplicaNeed

__all__ = [
    "Auth",
    "FileMount",
    "Problem",
    "ReplicaNeed",
    "ResourceNeed",
    "TaskFile",
    "TaskRefused",
    "VolumeMount",
    "dump_task",
    "parse_task",
]

Vouchers = Literal["auto", "none"] | tuple[str, ...]
RunKind = Literal["batch", "session", "service"]
"""Of a run: `batch` works its command off; to a `session` people are joined, on ports of its own loopback; so they are
to a `service`, whose command is started again whenever it ends or no longer answers."""
App = Literal["jupyter", "ssh", "vscode"]
"""What the hub starts in a session, so that its people need not write how."""

SCRIPT_CHARS_MAX: Final = 65_536
VALUE_CHARS_MAX: Final = 32_768
WALL_LIMIT_S_MAX: Final = 30 * 86_400
IDLE_STOP_S_MIN: Final = 15 * 60
IDLE_STOP_S_MAX: Final = 7 * 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceNeed:
    """What each node must have. None and empty: the hub's default."""

    accelerators: tuple[tuple[str, int | Decimal], ...] = ()
    """(name as written, cards per node, or which share of one), each name once: any of them will do."""
    cpus: int | None = None
    cpus_at_least: bool = False
    memory_gb: int | None = None
    memory_at_least: bool = False
    disk_gb: int | None = None
    max_hourly_cost_micros: int | None = None
    priority: int | None = None
    use_spot: bool = False
    """On interruptible goods, and on no others."""
    job_recovery: bool = False
    """Whether an interrupted run is to go on where there is room again."""
    labels: tuple[tuple[str, str], ...] = ()
    image: str = ""
    """Of a container, by digest (`mosu.wire.images`), instead of a prebuilt environment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileMount:
    """`source`, a local file or folder, is laid at `target` below the working folder. Both are relative."""

    target: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeMount:
    """The volume `name` of the run's project is seen at `path` inside; written to, unless it was `name:ro` or is a
    snapshot, `name@label`."""

    path: str
    name: str
    writes: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskFile:
    """A checked task. Amounts are micros of the hub's currency, durations seconds, instants UTC."""

    run: str
    name: str = ""
    resources: ResourceNeed = ResourceNeed()
    num_nodes: int = 1
    workdir: str | None = None
    setup: str = ""
    envs: tuple[tuple[str, str], ...] = ()
    secrets: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    file_mounts: tuple[FileMount, ...] = ()
    volumes: tuple[VolumeMount, ...] = ()
    budget_micros: int | None = None
    not_before: datetime | timedelta | None = None
    """When the run may start at the earliest: an instant, or so long after the task is quoted."""
    deadline: datetime | None = None
    wall_limit_s: int | None = None
    suppliers: tuple[str, ...] = ()
    domestic_only: bool = False
    vouchers: Vouchers = "auto"
    inputs: tuple[str, ...] = ()
    """Names of datasets and models on the hub; the hub resolves them."""
    outputs: tuple[str, ...] = ()
    """Globs of the files that come back, relative to the working folder."""
    block: str = ""
    """A reserved block of the organisation's (`block_...`), inside which the run goes; it costs nothing more."""
    environment: str = ""
    """A prebuilt software environment of the supplier; empty: the pool's default."""
    kind: RunKind = "batch"
    """What people are joined to is on one node, and when it gave way it is not begun again."""
    apps: tuple[App, ...] = ()
    """Of a session, each once. With none in `run`, it lasts until it is ended."""
    port: int | None = None
    """On which a service answers; no other kind has one."""
    health: str = ""
    """The path at which a service says, by HTTP, that it is well. Empty: it is while its command runs."""
    idle_stop_s: int | None = None
    """After how long without use a session or a service is stopped; None: by the organisation's rule."""
    auth: Auth = "key"
    """Who may ask the service's endpoint."""
    replicas: ReplicaNeed = field(default_factory=ReplicaNeed)
    """By how many runs the service's endpoint answers."""


class TaskRefused(Invalid):
    """The task file cannot be used. `problems` lists all that is wrong, in the order of the file."""

    code = "task_refused"

    def __init__(self, source: str, problems: list[Problem]) -> None:
        self.source = source
        self.errors = self.problems = sorted(problems, key=lambda one: (one["line"], one["column"]))
        first = self.problems[0]
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        hint = f"Allowed: {first['allowed']}." if first["allowed"] else "Mend the file and try again."
        super().__init__(
            f"{source}, line {first['line']}, column {first['column']}: {first['message']}{more}",
            hint=f'Did you mean "{first["nearest"]}"? {hint}' if first["nearest"] else hint,
            line=first["line"],
            column=first["column"],
            field=first["field"],
            found=first["found"],
            allowed=first["allowed"],
            nearest=first["nearest"],
            problems=len(problems),
        )


TASK_KEYS: Final = (
    "name", "resources", "num_nodes", "workdir", "setup", "run", "envs", "secrets", "file_mounts", "volumes",
    "mosu",
)  # fmt: skip
RESOURCE_KEYS: Final = (
    "accelerators", "cpus", "memory", "disk_size", "use_spot", "job_recovery", "max_hourly_cost", "priority",
    "labels", "image_id",
)  # fmt: skip
MOSU_KEYS: Final = (
    "kind", "budget", "not_before", "deadline", "wall_limit", "suppliers", "domestic_only", "vouchers",
    "inputs", "outputs", "environment", "block", "apps", "port", "health", "auth", "replicas", "idle_stop",
)  # fmt: skip

_RECOVERIES: Final = ("none", "failover", "eager_next_region")
_CHOOSES_PLACE: Final = "the hub chooses where a run goes; name suppliers with mosu.suppliers."
_RESOURCES_UNSUPPORTED: Final = MappingProxyType(
    {
        "accelerator_args": "leave it out.",
        "any_of": "name all in accelerators: any of them will do.",
        "autostop": "a run ends when its command ends, or at mosu.wall_limit.",
        "cloud": _CHOOSES_PLACE,
        "disk_tier": "leave it out.",
        "infra": _CHOOSES_PLACE,
        "instance_type": "say what you need with accelerators, cpus and memory.",
        "local_disk": "say disk_size.",
        "network_tier": "leave it out.",
        "ordered": "name all in accelerators: the hub ranks the offers.",
        "ports": "say mosu.kind: session or service; all their ports are reached with mosu port-forward.",
        "region": _CHOOSES_PLACE,
        "spot_recovery": "say job_recovery.",
        "zone": _CHOOSES_PLACE,
    }
)
_TASK_UNSUPPORTED: Final = MappingProxyType(
    {
        **_RESOURCES_UNSUPPORTED,
        "config": "a task cannot change the hub's configuration.",
        "experimental": "leave it out.",
        "event_callback": "follow the run with mosu logs -f.",
        "pool": "name suppliers with mosu.suppliers.",
        "service": "say mosu.kind: service, with mosu.port and mosu.health.",
        "storage_mounts": "put files into workdir or file_mounts.",
    }
)
_BELOW: Final = {key: f"resources.{key}" for key in RESOURCE_KEYS} | {key: f"mosu.{key}" for key in MOSU_KEYS}
_TASK_ELSEWHERE: Final = MappingProxyType(_BELOW | {"gpus": "resources.accelerators", "env": "envs"})
_RESOURCES_ELSEWHERE: Final = MappingProxyType(
    {key: key for key in TASK_KEYS if key != "resources"}
    | {key: f"mosu.{key}" for key in MOSU_KEYS}
    | {"gpus": "accelerators"}
)
_MOSU_ELSEWHERE: Final = MappingProxyType(
    {key: f"resources.{key}" for key in RESOURCE_KEYS} | {key: key for key in TASK_KEYS if key != "mosu"}
)
_NOTHING: Final = MappingProxyType[str, str]({})

_NAME_ALLOWED: Final = "letters, digits, spaces and ._- , at most 63 characters, a letter or digit first"
_IMAGE_ALLOWED: Final = "docker:REPOSITORY@sha256:DIGEST"
_ENVIRONMENT_ALLOWED: Final = "the name of a prebuilt environment, of letters, digits and ._-"

_KINDS: Final[tuple[RunKind, ...]] = get_args(RunKind)
_KINDS_ALLOWED: Final = "batch, session or service"
VOLUMES_MAX: Final = 8
_VOLUME: Final = re.compile(r"{0}(?:@{0})?(?::ro)?".format(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"))
_VOLUME_ALLOWED: Final = "the name of a volume, NAME:ro to read alone, or NAME@LABEL for a snapshot of it"
_MOUNT: Final = re.compile(r"/(?:data|mnt)(?:/[A-Za-z0-9][A-Za-z0-9._-]{0,62}){0,4}")
_MOUNT_ALLOWED: Final = "a path at or below /data or /mnt"
_APPS: Final[tuple[App, ...]] = get_args(App)
_APPS_ALLOWED: Final = "a list of jupyter, ssh and vscode, with kind: session"
_BLOCK_ALLOWED: Final = "the id of a reserved block, such as block_01..."

_NAME = re.compile(r"[^\W_][\w .-]{0,62}")
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_LABEL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._/-]{0,61}[A-Za-z0-9])?")
_ENVIRONMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_BLOCK = re.compile(r"block_[0-9a-z]{26}")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


def parse_task(text: str, *, source: str = "task.yaml") -> TaskFile:
    """The checked task in `text`; `source` names the file in messages.

    Raises:
        TaskRefused: anything is wrong with it; all problems are listed, each with line and column.
    """
    try:
        root = compose(text)
    except Unreadable as unreadable:
        raise TaskRefused(source, [unreadable.problem]) from unreadable
    if root is None:
        raise TaskRefused(
            source, [problem_at(None, "The file is empty.", allowed="a task with at least run")]
        )
    reader = Reader()
    task = _task(reader, root)
    if reader.problems:
        raise TaskRefused(source, reader.problems)
    return task


def _task(reader: Reader, root: Node) -> TaskFile:
    fields = reader.fields(
        root, "", known=TASK_KEYS, unsupported=_TASK_UNSUPPORTED, elsewhere=_TASK_ELSEWHERE
    )
    mosu = fields.read(
        "mosu", reader.fields, known=MOSU_KEYS, unsupported=_NOTHING, elsewhere=_MOSU_ELSEWHERE
    )
    terms = mosu or Fields("mosu", {})
    kind: RunKind = terms.read("kind", _kind, reader) or "batch"
    is_service = kind == "service"
    apps = terms.read("apps", _apps, reader, kind=kind) or ()
    if is_service and "port" not in terms:
        reader.refuse(
            root, "mosu.port", "a service needs the port on which it answers.", allowed="1 to 65535"
        )
    if isinstance(root, MappingNode) and "run" not in fields and "apps" not in terms:
        reader.refuse(root, "run", "a task needs a command to run.", allowed="run: a shell command")
    resources = fields.read("resources", _resources, reader, kind=kind) or ResourceNeed()
    if resources.image and "environment" in terms:
        reader.refuse(
            root, "mosu.environment", "an image is an environment: name one of both.", allowed="one of both"
        )
    if resources.image and set(apps) - {"ssh"}:
        reader.refuse(
            root,
            "resources.image_id",
            "jupyter and vscode come with a prebuilt environment, not with an image.",
            allowed="apps: [ssh], or none",
        )
    # Of a union mypy would infer `object`.
    not_before = cast(
        "datetime | timedelta | None",
        terms.read("not_before", reader.moment, later_s_max=WALL_LIMIT_S_MAX),
    )
    return TaskFile(
        name=fields.read("name", reader.matched, _NAME, allowed=_NAME_ALLOWED) or "",
        resources=resources,
        num_nodes=fields.read("num_nodes", _num_nodes, reader, kind=kind) or 1,
        workdir=fields.read("workdir", _workdir, reader),
        setup=fields.read("setup", reader.text, chars_max=SCRIPT_CHARS_MAX, empty=True) or "",
        run=fields.read("run", reader.text, chars_max=SCRIPT_CHARS_MAX) or "",
        envs=(envs := fields.read("envs", _variables, reader) or ()),
        secrets=fields.read("secrets", _variables, reader, taken=frozenset(name for name, _ in envs)) or (),
        file_mounts=fields.read("file_mounts", _file_mounts, reader) or (),
        volumes=fields.read("volumes", _volumes, reader) or (),
        budget_micros=terms.read("budget", reader.micros),
        not_before=not_before,
        deadline=terms.read("deadline", reader.instant),
        wall_limit_s=terms.read("wall_limit", reader.seconds, maximum=WALL_LIMIT_S_MAX),
        suppliers=terms.read("suppliers", reader.items, _words(reader), of="names or ids of suppliers") or (),
        domestic_only=terms.read("domestic_only", reader.truth) or False,
        vouchers=terms.read("vouchers", _vouchers, reader) or "auto",
        inputs=terms.read("inputs", reader.items, _words(reader), of="names of datasets or models") or (),
        outputs=terms.read("outputs", reader.items, _globs(reader), of="globs below the working folder")
        or (),
        block=terms.read("block", reader.matched, _BLOCK, allowed=_BLOCK_ALLOWED) or "",
        environment=terms.read("environment", reader.matched, _ENVIRONMENT, allowed=_ENVIRONMENT_ALLOWED)
        or "",
        kind=kind,
        apps=apps,
        port=terms.read("port", task_service.port, reader, is_service=is_service),
        health=terms.read("health", task_service.health, reader, is_service=is_service) or "",
        auth=terms.read("auth", task_service.auth, reader, is_service=is_service) or "key",
        replicas=terms.read("replicas", task_service.replicas, reader, is_service=is_service)
        or ReplicaNeed(),
        idle_stop_s=terms.read("idle_stop", _idle_stop, reader, kind=kind),
    )


def _apps(node: Node, field: str, reader: Reader, *, kind: RunKind) -> tuple[App, ...] | None:
    named: tuple[App, ...] | None = reader.items(
        node, field, lambda item, below: _app(item, below, reader), of="jupyter, ssh and vscode"
    )
    if named and kind != "session":
        reader.refuse(node, field, "only a session has apps.", allowed=_APPS_ALLOWED)
    elif named and len(set(named)) < len(named):
        reader.refuse(node, field, "names one twice.", allowed=_APPS_ALLOWED)
    elif isinstance(node, SequenceNode) and not node.value:
        reader.refuse(node, field, "names none.", allowed=_APPS_ALLOWED)
    else:
        return named
    return None


def _app(node: Node, field: str, reader: Reader) -> App | None:
    text = reader.scalar(node, field, allowed=_APPS_ALLOWED)
    if text is not None and text not in _APPS:
        message = f"{text[:60]!r} does not fit; allowed is {_APPS_ALLOWED}."
        reader.refuse(node, field, message, allowed=_APPS_ALLOWED)
    return next((app for app in _APPS if app == text), None)


def _kind(node: Node, field: str, reader: Reader) -> RunKind | None:
    text = reader.scalar(node, field, allowed=_KINDS_ALLOWED)
    if text is not None and text not in _KINDS:
        message = f"{text[:60]!r} does not fit; allowed is {_KINDS_ALLOWED}."
        reader.refuse(node, field, message, allowed=_KINDS_ALLOWED)
    return next((kind for kind in _KINDS if kind == text), None)


def _idle_stop(node: Node, field: str, reader: Reader, *, kind: RunKind) -> int | None:
    if kind == "batch":
        reader.refuse(node, field, "only a session or a service ends so.", allowed="kind: session")
        return None
    found: int | None = reader.seconds(node, field, maximum=IDLE_STOP_S_MAX)
    if found is not None and found < IDLE_STOP_S_MIN:
        reader.refuse(node, field, "is too short: people are warned 10 minutes before.", allowed="15m to 7d")
        return None
    return found


def _num_nodes(node: Node, field: str, reader: Reader, *, kind: RunKind) -> int | None:
    nodes = reader.integer(node, field, minimum=1, maximum=1024)
    if kind != "batch" and nodes is not None and nodes > 1:
        reader.refuse(node, field, f"a {kind} has one node.", allowed="1")
        return None
    return nodes


def _resources(node: Node, field: str, reader: Reader, *, kind: RunKind) -> ResourceNeed:
    fields = reader.fields(
        node, field, known=RESOURCE_KEYS, unsupported=_RESOURCES_UNSUPPORTED, elsewhere=_RESOURCES_ELSEWHERE
    )
    cpus, cpus_at_least = fields.read("cpus", reader.at_least, maximum=4096, unit="cores") or (None, False)
    memory, memory_at_least = fields.read("memory", reader.at_least, maximum=65_536, unit="GB") or (
        None,
        False,
    )
    return ResourceNeed(
        accelerators=fields.read("accelerators", accelerators, reader) or (),
        cpus=cpus,
        cpus_at_least=cpus_at_least,
        memory_gb=memory,
        memory_at_least=memory_at_least,
        disk_gb=fields.read("disk_size", reader.integer, minimum=1, maximum=1_000_000),
        max_hourly_cost_micros=fields.read("max_hourly_cost", reader.micros),
        priority=fields.read("priority", reader.integer, minimum=-1000, maximum=1000),
        use_spot=fields.read("use_spot", reader.truth) or False,
        job_recovery=fields.read("job_recovery", _job_recovery, reader, kind=kind) or False,
        labels=fields.read("labels", _labels, reader) or (),
        image=fields.read("image_id", _image, reader) or "",
    )


def _image(node: Node, field: str, reader: Reader) -> str | None:
    text = reader.scalar(node, field, allowed=_IMAGE_ALLOWED)
    if text is None:
        return None
    try:
        image = image_in(text)
    except Unpinned as unpinned:
        message = (
            f"a tag may come to mean another image; its digest: "
            f"skopeo inspect --format '{{{{.Digest}}}}' docker://{unpinned.name}"
        )
        reader.refuse(node, field, message, allowed=_IMAGE_ALLOWED)
        return None
    if image is None:
        message = f"{text[:60]!r} does not fit; allowed is {_IMAGE_ALLOWED}."
        reader.refuse(node, field, message, allowed=_IMAGE_ALLOWED)
    return image


def _job_recovery(node: Node, field: str, reader: Reader, *, kind: RunKind) -> bool | None:
    """SkyPilot's strategies differ in where they try again; here that is always the pool that was bought."""
    text = reader.text(node, field, chars_max=40)
    if text is None:
        return None
    recovers = text.lower() != "none"
    if text.lower() not in _RECOVERIES:
        reader.refuse(node, field, "is no way to go on.", allowed=", ".join(_RECOVERIES))
    elif recovers and kind != "batch":
        reader.refuse(node, field, f"a {kind} that was interrupted is not begun again.", allowed="none")
    else:
        return recovers
    return None


def _labels(node: Node, field: str, reader: Reader) -> tuple[tuple[str, str], ...]:
    labels = []
    for key, value in reader.pairs(node, field, allowed="a map of labels"):
        name = reader.matched(key, field, _LABEL, allowed="letters, digits and ._/- as a label's name")
        text = reader.text(value, f"{field}.{str(key.value)[:60]}", chars_max=63, empty=True)
        if name is not None and text is not None:
            labels.append((name, text))
    return tuple(labels)


def _variables(
    node: Node, field: str, reader: Reader, *, taken: frozenset[str] = frozenset()
) -> tuple[tuple[str, str], ...]:
    """Environment variables. A plain number or truth value means its written text, as in a shell."""
    variables = []
    for key, value in reader.pairs(node, field, allowed="a map of names and values"):
        name = reader.matched(key, field, _ENV_NAME, allowed="letters, digits and _ as a variable's name")
        below = f"{field}.{str(key.value)[:60]}"
        if name is not None and (name.startswith("MOSU_") or name in taken):
            why = "is also in envs." if name in taken else "is set by mosu itself."
            reader.refuse(key, below, why, allowed="another name, not beginning with MOSU_")
        if value.tag == "tag:yaml.org,2002:null":
            reader.refuse(value, below, "has no value.", allowed="a value; give one here or with --env")
        elif not isinstance(value, ScalarNode):
            reader.refuse_kind(value, below, allowed="text or a number")
        else:
            text = reader.checked_text(value, below, chars_max=VALUE_CHARS_MAX, empty=True)
            if name is not None and text is not None:
                variables.append((name, text))
    return tuple(variables)


def _workdir(node: Node, field: str, reader: Reader) -> str | None:
    if isinstance(node, MappingNode):
        reader.refuse(
            node,
            field,
            "a Git address is known to SkyPilot, not supported by mosu yet: clone it and name the folder.",
            allowed="a relative folder",
        )
        return None
    return _local_path(node, field, reader)


def _file_mounts(node: Node, field: str, reader: Reader) -> tuple[FileMount, ...]:
    mounts = []
    for key, value in reader.pairs(node, field, allowed="a map of target: local source"):
        target = _path(key, field, reader)
        source = _local_path(value, f"{field}.{str(key.value)[:60]}", reader)
        if target is not None and source is not None:
            mounts.append(FileMount(target=target, source=source))
    return tuple(mounts)


def _volumes(node: Node, field: str, reader: Reader) -> tuple[VolumeMount, ...]:
    mounts: list[VolumeMount] = []
    pairs = reader.pairs(node, field, allowed="a map of path: name of a volume")
    if len(pairs) > VOLUMES_MAX:
        reader.refuse(node, field, f"names {len(pairs)} volumes.", allowed=f"at most {VOLUMES_MAX}")
        return ()
    for key, value in pairs:
        below = f"{field}.{str(key.value)[:60]}"
        path = reader.matched(key, below, _MOUNT, allowed=_MOUNT_ALLOWED)
        said = reader.matched(value, below, _VOLUME, allowed=_VOLUME_ALLOWED)
        if path is None or said is None:
            continue
        name, _, only = said.partition(":")
        if any(_lies_in(path, one.path) or _lies_in(one.path, path) for one in mounts):
            reader.refuse(key, below, "lies within another volume.", allowed="paths apart from each other")
        elif any(name == one.name for one in mounts):
            reader.refuse(value, below, "is mounted twice.", allowed="each volume once")
        else:
            mounts.append(VolumeMount(path=path, name=name, writes=not only and "@" not in name))
    return tuple(mounts)


def _lies_in(path: str, other: str) -> bool:
    return f"{path}/".startswith(f"{other}/")


def _local_path(node: Node, field: str, reader: Reader) -> str | None:
    """A local path below the current folder, or `.`, in its shortest form."""
    if isinstance(node, MappingNode) or (isinstance(node, ScalarNode) and _URL.match(node.value)):
        reader.refuse(
            node,
            field,
            "object storage is known to SkyPilot, not supported by mosu yet: name a local file or folder.",
            allowed="a relative local path",
        )
        return None
    if isinstance(node, ScalarNode) and node.value in {".", "./"}:
        return "."
    return _path(node, field, reader)


def _path(node: Node, field: str, reader: Reader) -> str | None:
    text = reader.text(node, field, chars_max=1024)
    if text is None:
        return None
    text = text.removeprefix("./").removesuffix("/") or text
    fault = fault_of_path(text)
    if fault is not None:
        allowed = 'a relative path without ".."'
        reader.refuse(node, field, f"{text[:60]!r} cannot be used as a path: {fault}.", allowed=allowed)
        return None
    return text


def _vouchers(node: Node, field: str, reader: Reader) -> Vouchers | None:
    if isinstance(node, SequenceNode):
        return reader.items(node, field, _words(reader), of="voucher ids") or "none"
    if isinstance(node, ScalarNode) and node.value == "auto":
        return "auto"
    if isinstance(node, ScalarNode) and node.value == "none":
        return "none"
    reader.refuse_kind(node, field, allowed='"auto", "none" or a list of voucher ids')
    return None


def _words(reader: Reader) -> Callable[[Node, str], str | None]:
    return lambda node, field: reader.text(node, field, chars_max=200)


def _globs(reader: Reader) -> Callable[[Node, str], str | None]:
    return lambda node, field: _path(node, field, reader)
