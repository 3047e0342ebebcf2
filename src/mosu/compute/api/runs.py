"""Operations on card types, quotes, runs; their logs, outputs and blobs are the data plane's (`streams.py`)."""

from typing import Annotated, Final
from uuid import UUID

from django.http import HttpRequest
from django.utils import timezone
from ninja import Query, Router, Status

from mosu.compute import queries, services
from mosu.compute.accelerators import catalogue
from mosu.compute.models import Attempt, Run
from mosu.compute.shapes import (
    AcceleratorOut,
    AppsOut,
    ConnectionOut,
    ExtensionIn,
    FenceIn,
    QuoteIn,
    QuotesOut,
    RunIdleStopIn,
    RunOut,
    SamplesOut,
)
from mosu.compute.states import RunState
from mosu.kernel.refusals import NotFound
from mosu.market.shapes import QuoteOut
from mosu.platform.actors import Actor
from mosu.platform.auth import public_auth, token_auth
from mosu.platform.cursors import Listed, Paging, page_of
from mosu.platform.doors import door
from mosu.platform.models import Project
from mosu.platform.requests import actor_of, language_of_request, organisation_asked
from mosu.wire.task import parse_task

router: Final = Router(tags=["compute"])


@router.get("/accelerators", response=list[AcceleratorOut], auth=public_auth, operation_id="listAccelerators")
@door("offer.read")
def list_accelerators(request: HttpRequest) -> list[AcceleratorOut]:
    return [AcceleratorOut.of(one) for one in catalogue().accelerators.values()]


@router.post("/quotes", response={201: QuotesOut}, auth=token_auth, operation_id="createQuotes")
@door("quote.ask")
def create_quotes(request: HttpRequest, body: QuoteIn) -> Status[QuotesOut]:
    """Ask every offer of compute for the task: quotes, best first, and why the others were refused."""
    actor, now = actor_of(request), timezone.now()
    organisation_id, project_id = buyer_of(actor, body.project_id)
    task = parse_task(body.task)
    result = services.quote_run(
        actor=actor,
        organisation_id=organisation_id,
        project_id=project_id,
        task=task,
        workdir=[file.entry() for file in body.workdir],
        choice=services.choice_of(body.vouchers if body.vouchers is not None else task.vouchers),
        now=now,
    )
    return Status(201, QuotesOut.of(result, language=language_of_request(request), now=now))


@router.get("/runs", response=Listed[RunOut], auth=token_auth, operation_id="listRuns")
@door("run.read")
def list_runs(
    request: HttpRequest, paging: Annotated[Paging, Query()], state: RunState | None = None
) -> dict[str, object]:
    rows = queries.runs_listed(actor_of(request))
    page, after = page_of(rows.filter(state=state) if state else rows, paging.cursor, paging.limit)
    return {
        "items": RunOut.all_of(page, language=language_of_request(request), now=timezone.now()),
        "next": after,
    }


@router.get("/runs/{run_id}", response=RunOut, auth=token_auth, operation_id="getRun")
@door("run.read")
def get_run(request: HttpRequest, run_id: str) -> RunOut:
    return _run_out(request, Run.key_of(run_id))


@router.get("/runs/{run_id}/samples", response=SamplesOut, auth=token_auth, operation_id="listRunSamples")
@door("run.read")
def list_run_samples(request: HttpRequest, run_id: str) -> SamplesOut:
    """CPU and memory of the run's last attempt over time; no points where its engine takes no samples."""
    return SamplesOut.of(queries.run_visible_to(actor_of(request), Run.key_of(run_id)))


@router.get(
    "/runs/{run_id}/connections",
    response=Listed[ConnectionOut],
    auth=token_auth,
    operation_id="listRunConnections",
)
@door("run.read")
def list_run_connections(
    request: HttpRequest, run_id: str, paging: Annotated[Paging, Query()]
) -> dict[str, object]:
    """Who was joined to which port of the session, newest first."""
    rows = queries.connections_of(actor_of(request), Run.key_of(run_id))
    page, after = page_of(rows, paging.cursor, paging.limit)
    language = language_of_request(request)
    return {"items": [ConnectionOut.of(row, language=language) for row in page], "next": after}


@router.get("/runs/{run_id}/apps", response=AppsOut, auth=token_auth, operation_id="listRunApps")
@door("run.connect")
def list_run_apps(request: HttpRequest, run_id: str) -> AppsOut:
    """What the hub started in a session that runs, and what lets a browser in: a secret of those who may connect."""
    apps = services.reached_apps(actor=actor_of(request), run_id=Run.key_of(run_id), now=timezone.now())
    return AppsOut.of(apps)


@router.post("/runs/{run_id}/cancel", response=RunOut, auth=token_auth, operation_id="cancelRun")
@door("run.cancel")
def cancel_run(request: HttpRequest, run_id: str) -> RunOut:
    """End what has not started; stop what runs, which is then settled for what was used."""
    actor = actor_of(request)
    run = services.cancel_run(actor=actor, run_id=Run.key_of(run_id), now=timezone.now())
    return _run_out(request, run.id)


@router.post(
    "/runs/{run_id}/quotes", response={201: QuoteOut}, auth=token_auth, operation_id="createExtensionQuote"
)
@door("quote.ask")
def create_extension_quote(request: HttpRequest, run_id: str, body: ExtensionIn) -> Status[QuoteOut]:
    """Ask what more time for a run that runs costs, from its wall limit on; `POST /orders` buys it."""
    now = timezone.now()
    quote = services.quote_extension(
        actor=actor_of(request),
        run_id=Run.key_of(run_id),
        seconds=body.seconds,
        choice=services.choice_of(body.vouchers),
        now=now,
    )
    return Status(201, QuoteOut.of(quote, now=now))


@router.post("/runs/{run_id}/keep", response=RunOut, auth=token_auth, operation_id="keepRun")
@door("run.keep")
def keep_run(request: HttpRequest, run_id: str) -> RunOut:
    """Say that a session or service is still needed though nobody uses it: its idle time starts anew."""
    run = services.keep_run(actor=actor_of(request), run_id=Run.key_of(run_id), now=timezone.now())
    return _run_out(request, run.id)


@router.put("/runs/{run_id}/idle-stop", response=RunOut, auth=token_auth, operation_id="setRunIdleStop")
@door("run.keep")
def set_run_idle_stop(request: HttpRequest, run_id: str, body: RunIdleStopIn) -> RunOut:
    """Stop a session or service when nobody used it for so long; null: by the organisation's rule alone."""
    run = services.set_own_idle_stop(
        actor=actor_of(request),
        run_id=Run.key_of(run_id),
        stop_after_s=body.stop_after_s,
        now=timezone.now(),
    )
    return _run_out(request, run.id)


@router.post(
    "/attempts/{attempt_id}/fence", response={204: None}, auth=token_auth, operation_id="fenceAttempt"
)
@door("attempt.fence")
def fence_attempt(request: HttpRequest, attempt_id: str, body: FenceIn) -> Status[None]:
    """Record that an attempt runs no more: its run ends, nothing is charged, what it held is free."""
    services.fence_attempt(
        actor=actor_of(request), attempt_id=Attempt.key_of(attempt_id), why=body.why, now=timezone.now()
    )
    return Status(204, None)


def _run_out(request: HttpRequest, run_id: UUID) -> RunOut:
    run = queries.run_visible_to(actor_of(request), run_id)
    return RunOut.all_of([run], language=language_of_request(request), now=timezone.now())[0]


def buyer_of(actor: Actor, project_id: str | None) -> tuple[UUID, UUID]:
    """The organisation and project for which the actor buys; without a project, the organisation's first."""
    visible = Project.objects.filter(organisation_id__in=actor.organisation_ids)
    if project_id:
        chosen = visible.filter(id=Project.key_of(project_id)).first()
    else:
        organisation_id = organisation_asked(actor, None)
        chosen = visible.filter(organisation_id=organisation_id).order_by("created_at", "id").first()
    if chosen is None:
        raise NotFound("There is no such project.", hint="Make one in your organisation.")
    return chosen.organisation_id, chosen.id
