"""The plan of a run that has found its place: what is frozen of its task, and what the counter prices."""

from uuid import UUID

from mosu.compute.copying import copying_facts
from mosu.compute.models import Pool
from mosu.compute.placement import Need, Placement
from mosu.compute.requests import PERIOD_GRACE_S, RunRequest
from mosu.compute.services.fitting import Asked
from mosu.compute.session_apps import environments_for, environments_with_sshd
from mosu.market.services import Plan, PlanLine
from mosu.wire.images import SIGN
from mosu.wire.task import TaskFile


def run_plan(asked: Asked, offer_id: UUID, pool: Pool, placed: Placement, request: RunRequest) -> Plan:
    """The run at its place, for the counter to price."""
    quantity_max = request.units * asked.wall_limit_s
    return Plan(
        offer_id=offer_id,
        lines=(PlanLine(meter=request.meter, units=request.units, quantity_max=quantity_max),),
        starts_at=placed.period.start,
        wall_limit_s=asked.wall_limit_s,
        request=request.to_json(),
        facts={
            "grace_s": PERIOD_GRACE_S,
            "name": request.name,
            "cores": request.cores,
            "cards": request.cards,
            "nodes": request.nodes,
            "copying": copying_facts(
                in_bytes=asked.workdir_bytes,
                into=pool.copied_in,
                out_bytes=None if request.outputs else 0,
                back=pool.copied_out,
            ),
        },
    )


def run_request(asked: Asked, pool: Pool, need: Need, *, block_id: UUID | None = None) -> RunRequest:
    """What is frozen of the task; `block_id`: it runs inside that block."""
    task = asked.task
    return RunRequest(
        pool_id=str(pool.id),
        name=task.name,
        run=task.run,
        setup=task.setup,
        envs=dict(task.envs),
        sealed_secrets=asked.sealed_secrets,
        outputs=task.outputs,
        environment=_environment(task, pool),
        workdir_manifest=asked.manifest,
        cores=need.cores,
        memory_bytes=need.memory_bytes,
        disk_bytes=need.disk_bytes,
        accelerator=need.accelerator,
        cards=need.cards,
        nodes=need.nodes,
        wall_limit_s=asked.wall_limit_s,
        priority=asked.task.resources.priority or 0,
        interruptible=asked.task.resources.use_spot,
        recovers=asked.task.resources.job_recovery,
        not_before_s=int(asked.earliest.timestamp()) if asked.earliest > asked.now else 0,
        task=asked.shown_task,
        block=str(block_id) if block_id else "",
        kind=task.kind,
        apps=task.apps,
        port=task.port or 0,
        health=task.health,
        volumes=tuple(asked.volumes),
        idle_stop_s=task.idle_stop_s,
        endpoint=str(asked.replica.endpoint_id) if asked.replica else "",
        replica=asked.replica.ordinal if asked.replica else 0,
        version=asked.replica.version if asked.replica else 0,
    )


def _environment(task: TaskFile, pool: Pool) -> str:
    """As named; else the pool's first in which the task's apps start; the engine says no where there is none."""
    if task.resources.image:
        return f"{SIGN}{task.resources.image}"
    if task.environment:
        return task.environment
    brings_sshd = "ssh" in task.apps and not pool.has_sshd
    fit = (environments_with_sshd if brings_sshd else environments_for)(task.apps, pool.environments)
    return next(iter(fit), "")
