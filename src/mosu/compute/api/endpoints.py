"""Operations on endpoints, their replicas and keys, and on what was asked there."""

from datetime import timedelta
from typing import Annotated, Final

from django.http import HttpRequest
from django.utils import timezone
from ninja import Query, Router, Status

from mosu.compute import queries, services
from mosu.compute.api.runs import buyer_of
from mosu.compute.endpoint_figures import figures_of, keys_of, minutes_of, replicas_of, requests_of
from mosu.compute.models import Endpoint
from mosu.compute.shapes import (
    EndpointChangeIn,
    EndpointIn,
    EndpointKeyIn,
    EndpointKeyOut,
    EndpointMinuteOut,
    EndpointOut,
    EndpointRequestOut,
    NewEndpointKeyOut,
    ReplicaOut,
)
from mosu.compute.states import EndpointState
from mosu.platform.auth import token_auth
from mosu.platform.cursors import Listed, Paging, page_of
from mosu.platform.doors import door
from mosu.platform.requests import actor_of, key_of, language_of_request
from mosu.wire.task import parse_task

router: Final = Router(tags=["compute"])
Hours = Annotated[int, Query(ge=1, le=24)]


@router.post("/endpoints", response={201: EndpointOut}, auth=token_auth, operation_id="createEndpoint")
@door("endpoint.change")
def create_endpoint(request: HttpRequest, body: EndpointIn) -> Status[EndpointOut]:
    """Have a service answered at an address. Needs the header Idempotency-Key; repeated with it, answers the first."""
    actor = actor_of(request)
    organisation_id, project_id = buyer_of(actor, body.project_id)
    endpoint = services.make_endpoint(
        actor=actor,
        organisation_id=organisation_id,
        project_id=project_id,
        name=body.name,
        task=parse_task(body.task),
        workdir=[file.entry() for file in body.workdir],
        idempotency_key=key_of(request),
        now=timezone.now(),
    )
    return Status(201, _endpoint_out(request, endpoint))


@router.get("/endpoints", response=Listed[EndpointOut], auth=token_auth, operation_id="listEndpoints")
@door("endpoint.read")
def list_endpoints(
    request: HttpRequest, paging: Annotated[Paging, Query()], state: EndpointState | None = None
) -> dict[str, object]:
    rows = queries.endpoints_visible_to(actor_of(request))
    page, after = page_of(rows.filter(state=state) if state else rows, paging.cursor, paging.limit)
    figures = figures_of(page, now=timezone.now())
    language = language_of_request(request)
    items = [EndpointOut.of(one, figures[one.id], language=language) for one in page]
    return {"items": items, "next": after}


@router.get("/endpoints/{endpoint_id}", response=EndpointOut, auth=token_auth, operation_id="getEndpoint")
@door("endpoint.read")
def get_endpoint(request: HttpRequest, endpoint_id: str) -> EndpointOut:
    return _endpoint_out(request, _endpoint(request, endpoint_id))


@router.patch(
    "/endpoints/{endpoint_id}", response=EndpointOut, auth=token_auth, operation_id="changeEndpoint"
)
@door("endpoint.change")
def change_endpoint(request: HttpRequest, endpoint_id: str, body: EndpointChangeIn) -> EndpointOut:
    """Another task (replicas are replaced one by one), or who may ask, or how many answer. Safe to repeat."""
    endpoint = services.change_endpoint(
        actor=actor_of(request),
        endpoint_id=Endpoint.key_of(endpoint_id),
        task=parse_task(body.task) if body.task is not None else None,
        workdir=[file.entry() for file in body.workdir],
        auth=body.auth,
        replicas=body.replicas.need() if body.replicas else None,
        now=timezone.now(),
    )
    return _endpoint_out(request, endpoint)


@router.post(
    "/endpoints/{endpoint_id}/end", response=EndpointOut, auth=token_auth, operation_id="endEndpoint"
)
@door("endpoint.end")
def end_endpoint(request: HttpRequest, endpoint_id: str) -> EndpointOut:
    """End it for good: nobody is answered any more, its replicas are told to stop and settled for what was used."""
    key = Endpoint.key_of(endpoint_id)
    services.end_endpoint(actor=actor_of(request), endpoint_id=key, now=timezone.now())
    return _endpoint_out(request, _endpoint(request, endpoint_id))


@router.get(
    "/endpoints/{endpoint_id}/replicas",
    response=Listed[ReplicaOut],
    auth=token_auth,
    operation_id="listReplicas",
)
@door("endpoint.read")
def list_replicas(
    request: HttpRequest, endpoint_id: str, paging: Annotated[Paging, Query()]
) -> dict[str, object]:
    """The runs that answer there or did, newest first."""
    rows = replicas_of(_endpoint(request, endpoint_id))
    page, after = page_of(rows, paging.cursor, paging.limit)
    return {"items": [ReplicaOut.of(one) for one in page], "next": after}


@router.get(
    "/endpoints/{endpoint_id}/keys",
    response=Listed[EndpointKeyOut],
    auth=token_auth,
    operation_id="listEndpointKeys",
)
@door("endpoint.read")
def list_keys(
    request: HttpRequest, endpoint_id: str, paging: Annotated[Paging, Query()]
) -> dict[str, object]:
    rows = keys_of(_endpoint(request, endpoint_id))
    page, after = page_of(rows, paging.cursor, paging.limit)
    return {"items": [EndpointKeyOut.of(one) for one in page], "next": after}


@router.post(
    "/endpoints/{endpoint_id}/keys",
    response={201: NewEndpointKeyOut},
    auth=token_auth,
    operation_id="createEndpointKey",
)
@door("endpoint.change")
def create_key(request: HttpRequest, endpoint_id: str, body: EndpointKeyIn) -> Status[NewEndpointKeyOut]:
    """A key with which programs ask there; its secret is in this answer alone."""
    made = services.make_key(
        actor=actor_of(request),
        endpoint_id=Endpoint.key_of(endpoint_id),
        name=body.name,
        now=timezone.now(),
    )
    return Status(201, NewEndpointKeyOut.of(made))


@router.delete(
    "/endpoints/{endpoint_id}/keys/{key_id}",
    response=EndpointKeyOut,
    auth=token_auth,
    operation_id="revokeEndpointKey",
)
@door("endpoint.change")
def revoke_key(request: HttpRequest, endpoint_id: str, key_id: str) -> EndpointKeyOut:
    """The key holds no more; who asks with it is cut off within 30 s."""
    key = services.revoke_key(
        actor=actor_of(request),
        endpoint_id=Endpoint.key_of(endpoint_id),
        key_id=key_id,
        now=timezone.now(),
    )
    return EndpointKeyOut.of(key)


@router.get(
    "/endpoints/{endpoint_id}/requests",
    response=Listed[EndpointRequestOut],
    auth=token_auth,
    operation_id="listEndpointRequests",
)
@door("endpoint.read")
def list_requests(
    request: HttpRequest, endpoint_id: str, paging: Annotated[Paging, Query()]
) -> dict[str, object]:
    """What was asked there, newest first: paths without queries, no headers, no bodies. Kept for a week."""
    rows = requests_of(_endpoint(request, endpoint_id))
    page, after = page_of(rows, paging.cursor, paging.limit)
    return {"items": [EndpointRequestOut.of(one) for one in page], "next": after}


@router.get(
    "/endpoints/{endpoint_id}/minutes",
    response=list[EndpointMinuteOut],
    auth=token_auth,
    operation_id="listEndpointMinutes",
)
@door("endpoint.read")
def list_minutes(request: HttpRequest, endpoint_id: str, hours: Hours = 1) -> list[EndpointMinuteOut]:
    """Requests, errors and latency by the minute, for curves; a minute without a request is left out."""
    since = timezone.now() - timedelta(hours=hours)
    return [EndpointMinuteOut.of(one) for one in minutes_of(_endpoint(request, endpoint_id), since=since)]


def _endpoint(request: HttpRequest, endpoint_id: str) -> Endpoint:
    return queries.endpoint_visible_to(actor_of(request), Endpoint.key_of(endpoint_id))


def _endpoint_out(request: HttpRequest, endpoint: Endpoint) -> EndpointOut:
    figures = figures_of([endpoint], now=timezone.now())[endpoint.id]
    return EndpointOut.of(endpoint, figures, language=language_of_request(request))
