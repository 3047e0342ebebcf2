"""What the server has of one kind, kept by a watch: looking at a thousand attempts asks it nothing."""

import threading
from collections.abc import Iterable
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
        self._by_job: dict[tuple[str, str], set[tuple[str, str]]] = {}
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
            found = [self._known[key] for key in self._by_job.get((namespace, job), ())]
        return sorted(found, key=lambda item: str(item["metadata"]["creationTimestamp"]))

    def note(self, items: Iterable[Object]) -> None:
        """Take these, for which the server was asked since the watch may be broken; not what went meanwhile."""
        with self._guard:
            for item in items:
                if _key(item) not in self._gone:
                    self._keep(item)

    def drop(self, namespace: str, job: str) -> None:
        """Forget what is gone of this job."""
        with self._guard:
            of_job = self._by_job.pop((namespace, job), set())
            for key in (of_job | {(namespace, job)}) & self._gone:
                del self._known[key]
                self._gone.discard(key)
            if left := of_job & self._known.keys():
                self._by_job[namespace, job] = left

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
        with self._guard:
            self._gone = set(self._known)
            for item in found["items"]:
                self._keep(item)
        self._listed.set()
        return str(found["metadata"]["resourceVersion"])

    def _take(self, kind: str, item: Object) -> None:
        with self._guard:
            self._keep(item)
            if kind == "DELETED":
                self._gone.add(_key(item))

    def _keep(self, item: Object) -> None:
        key = _key(item)
        self._known[key] = item
        self._gone.discard(key)
        if job := item["metadata"]["labels"].get("job-name"):
            self._by_job.setdefault((key[0], job), set()).add(key)


def _key(item: Object) -> tuple[str, str]:
    return item["metadata"]["namespace"], item["metadata"]["name"]
