"""Writing a task file: what `mosu run --write` saves, and what a changed task sends to the hub."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import yaml

from mosu.kernel.money import MICROS
from mosu.wire.images import SIGN
from mosu.wire.task_service import ReplicaNeed

if TYPE_CHECKING:
    from mosu.wire.task import ResourceNeed, TaskFile


def dump_task(task: "TaskFile | Mapping[str, Any]") -> str:
    """The task as YAML, keys in the order of the documentation, scripts as blocks.

    For a `TaskFile`, `parse_task` of the text gives an equal one.
    """
    mapping = dict(task) if isinstance(task, Mapping) else mapping_of(task)
    return yaml.dump(mapping, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1_000_000)


def mapping_of(task: "TaskFile") -> dict[str, Any]:
    """The keys of the file, without those left at their default."""
    mounts = {mount.target: mount.source for mount in task.file_mounts}
    return _given(
        {
            "name": task.name,
            "resources": _resources(task.resources),
            "num_nodes": task.num_nodes if task.num_nodes != 1 else None,
            "workdir": task.workdir,
            "setup": task.setup,
            "run": task.run,
            "envs": dict(task.envs),
            "secrets": dict(task.secrets),
            "file_mounts": mounts,
            "volumes": {one.path: one.name if one.writes else f"{one.name}:ro" for one in task.volumes},
            "mosu": _terms(task),
        }
    )


def _resources(need: "ResourceNeed") -> dict[str, Any]:
    return _given(
        {
            "accelerators": dict(need.accelerators),
            "cpus": _at_least(need.cpus, need.cpus_at_least),
            "memory": _at_least(need.memory_gb, need.memory_at_least),
            "disk_size": need.disk_gb,
            "max_hourly_cost": _amount(need.max_hourly_cost_micros),
            "priority": need.priority,
            "use_spot": True if need.use_spot else None,
            "job_recovery": "failover" if need.job_recovery else None,
            "labels": dict(need.labels),
            "image_id": f"{SIGN}{need.image}" if need.image else None,
        }
    )


def _terms(task: "TaskFile") -> dict[str, Any]:
    vouchers = task.vouchers if isinstance(task.vouchers, str) else list(task.vouchers)
    return _given(
        {
            "kind": task.kind if task.kind != "batch" else None,
            "budget": _amount(task.budget_micros),
            "not_before": _moment(task.not_before),
            "deadline": task.deadline.isoformat() if task.deadline is not None else None,
            "wall_limit": task.wall_limit_s,
            "suppliers": list(task.suppliers),
            "domestic_only": True if task.domestic_only else None,
            "vouchers": vouchers if vouchers != "auto" else None,
            "inputs": list(task.inputs),
            "outputs": list(task.outputs),
            "block": task.block,
            "environment": task.environment,
            "apps": list(task.apps),
            "port": task.port,
            "health": task.health,
            "idle_stop": task.idle_stop_s,
            "auth": task.auth if task.auth != "key" else None,
            "replicas": _replicas(task.replicas),
        }
    )


def _replicas(need: ReplicaNeed) -> dict[str, int] | None:
    if need == ReplicaNeed():
        return None
    return {"min": need.least, "max": need.most, "requests": need.requests, "idle": need.idle_s}


def _moment(at: datetime | timedelta | None) -> str | None:
    if isinstance(at, timedelta):
        return f"+{int(at.total_seconds())}s"
    return at.isoformat() if at is not None else None


def _given(mapping: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in mapping.items() if value not in (None, "", [], {})}


def _at_least(number: int | None, at_least: bool) -> int | str | None:
    return f"{number}+" if at_least else number


def _amount(micros: int | None) -> str | None:
    if micros is None:
        return None
    whole, part = divmod(micros, MICROS)
    return f"{whole}.{part:06d}".rstrip("0").rstrip(".")


_BREAKS = frozenset("\r\x85\u2028\u2029\ufeff")


class _Dumper(yaml.SafeDumper):
    """Texts of several lines become blocks; nothing is written as an alias."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    # Only escapes bring YAML's other line breaks back as they were.
    style = '"' if _BREAKS & set(text) else "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


def _represent_number(dumper: yaml.SafeDumper, number: Decimal) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:float", f"{number:f}")


_Dumper.add_representer(str, _represent_text)
_Dumper.add_representer(Decimal, _represent_number)
