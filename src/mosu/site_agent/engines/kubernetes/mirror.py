"""What the server has of one kind, kept by a watch: looking at a thousand attempts asks it nothing."""

import threading
from typing import Final

from mosu.site_agent.engines.kubernetes.api import Gone, KubernetesApi, KubernetesAway, Object, Refused

_RETRY_S: Final = 1.0


class Mirror:
    """The objects at `path` that `selector` picks, by namespace and name.

    While the server is away, the last known. What was deleted stays, as it was last seen, until it is dropped:
    how a pod ended is told by its last state alone.
    """

    def __init__(self, api: KubernetesApi, path: str, *, selector: str) -> None:
        self._api, self._path, self._selector = api, path, selector
        self._known: dict[tuple[str, str], Object] = {}
        self._gone: set[tuple[str, str]] = set()
        self._guard = threading.Lock()
        self._thread: threading.Thread | None = None
        self._listed, self._closed = threading.Event(), threading.Event()

    def close(self) -> None:
        """Follow no longer, once the watch under way ends."""
        self._closed.set()

    def get(self, namespace: str, name: str) -> Object | None:
        """As it is; None if it is not there, or not yet known here."""
        self._begin()
        with self._guard:
            return None if (namespace, name) in self._gone else self._known.get((namespace, name))

    def of_job(self, namespace: str, job: str) -> list[Object]:
        """The pods of a job, those that are gone too, oldest first."""
        self._begin()
        with self._guard:
            found = [
                item
                for (where, _), item in self._known.items()
                if where == namespace and item["metadata"]["labels"].get("job-name") == job
            ]
        return sorted(found, key=lambda item: str(item["metadata"]["creationTimestamp"]))

    def drop(self, namespace: str, job: str) -> None:
        """Forget what is gone of this job."""
        with self._guard:
            for key in [key for key in self._gone if key[0] == namespace]:
                labels = self._known[key]["metadata"].get("labels", {})
                if key[1] == job or labels.get("job-name") == job:
                    del self._known[key]
                    self._gone.discard(key)

    def _begin(self) -> None:
        """Follow, from the first look on; that one waits for the first list."""
        with self._guard:
            if self._thread is None:
                self._thread = threading.Thread(target=self._follow, name=f"watch {self._path}", daemon=True)
                self._thread.start()
        self._listed.wait(5.0)

    def _follow(self) -> None:
        since = ""
        while not self._closed.is_set():
            try:
                since = since or self._list()
                for kind, item in self._api.watch(self._path, since=since, selector=self._selector):
                    since = item["metadata"]["resourceVersion"]
                    if kind != "BOOKMARK":
                        self._take(kind, item)
            except Gone:
                since = ""
            except (KubernetesAway, Refused, ValueError):  # a stream cut inside a line among them
                self._closed.wait(_RETRY_S)

    def _list(self) -> str:
        found = self._api.get(self._path, labelSelector=self._selector)
        if found is None:
            raise KubernetesAway(f"there is no {self._path}")
        now = {_key(item): item for item in found["items"]}
        with self._guard:
            self._gone |= self._known.keys() - now.keys()
            self._gone -= now.keys()
            self._known |= now
        self._listed.set()
        return str(found["metadata"]["resourceVersion"])

    def _take(self, kind: str, item: Object) -> None:
        with self._guard:
            self._known[_key(item)] = item
            (self._gone.add if kind == "DELETED" else self._gone.discard)(_key(item))


def _key(item: Object) -> tuple[str, str]:
    return item["metadata"]["namespace"], item["metadata"]["name"]
