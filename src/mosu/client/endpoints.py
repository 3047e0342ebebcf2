"""The calls of endpoints."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal
from uuid import uuid4

from mosu.client.calls import Calls, folder_of, given, read, segment
from mosu.client.models import Endpoint, EndpointKey, EndpointRequest, NewEndpointKey, Page, Replica

if TYPE_CHECKING:
    from mosu.wire.manifest import LocalFile


class EndpointCalls(Calls):
    """Addresses at which services answer."""

    def endpoints(
        self, *, state: str | None = None, limit: int | None = None, cursor: str | None = None
    ) -> Page[Endpoint]:
        return self._page(Endpoint, "/endpoints", limit=limit, cursor=cursor, **given(state=state))

    def endpoint(self, endpoint_id: str) -> Endpoint:
        return self._get(Endpoint, f"/endpoints/{segment(endpoint_id)}")

    def make_endpoint(
        self,
        name: str,
        task: str,
        *,
        files: "Sequence[LocalFile]" = (),
        project_id: str | None = None,
        idempotency_key: str | None = None,
    ) -> Endpoint:
        """An address for a service: one, however often this has to be sent until an answer comes."""
        headers = {"Idempotency-Key": idempotency_key or str(uuid4())}
        body = given(name=name, task=task, workdir=folder_of(files), project_id=project_id)
        return read(Endpoint, self._hub.json("POST", "/endpoints", repeat=True, json=body, headers=headers))

    def change_endpoint(
        self,
        endpoint_id: str,
        *,
        task: str | None = None,
        files: "Sequence[LocalFile]" = (),
        auth: Literal["key", "hub", "public"] | None = None,
    ) -> Endpoint:
        """Another task, whose replicas take over one by one, or who may ask."""
        body = given(task=task, workdir=folder_of(files), auth=auth)
        path = f"/endpoints/{segment(endpoint_id)}"
        return read(Endpoint, self._hub.json("PATCH", path, repeat=True, json=body))

    def end_endpoint(self, endpoint_id: str) -> Endpoint:
        return read(Endpoint, self._hub.json("POST", f"/endpoints/{segment(endpoint_id)}/end", repeat=True))

    def replicas(
        self, endpoint_id: str, *, limit: int | None = None, cursor: str | None = None
    ) -> Page[Replica]:
        return self._page(Replica, f"/endpoints/{segment(endpoint_id)}/replicas", limit=limit, cursor=cursor)

    def endpoint_keys(
        self, endpoint_id: str, *, limit: int | None = None, cursor: str | None = None
    ) -> Page[EndpointKey]:
        return self._page(EndpointKey, f"/endpoints/{segment(endpoint_id)}/keys", limit=limit, cursor=cursor)

    def make_endpoint_key(self, endpoint_id: str, name: str) -> NewEndpointKey:
        """A key with which programs ask there; nobody can show its secret again."""
        path = f"/endpoints/{segment(endpoint_id)}/keys"
        return read(NewEndpointKey, self._hub.json("POST", path, repeat=False, json={"name": name}))

    def revoke_endpoint_key(self, endpoint_id: str, key_id: str) -> EndpointKey:
        path = f"/endpoints/{segment(endpoint_id)}/keys/{segment(key_id)}"
        return read(EndpointKey, self._hub.json("DELETE", path, repeat=True))

    def endpoint_requests(
        self, endpoint_id: str, *, limit: int | None = None, cursor: str | None = None
    ) -> Page[EndpointRequest]:
        path = f"/endpoints/{segment(endpoint_id)}/requests"
        return self._page(EndpointRequest, path, limit=limit, cursor=cursor)
