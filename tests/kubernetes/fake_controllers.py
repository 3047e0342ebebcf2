"""What acts in the fake cluster: Kueue's admission, the Job controller, a kubelet that runs containers as processes."""

import base64
import copy
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.kubernetes.fake_server import CLAIMS, ApiError, Key, Object, Store, now_text

JOBS, PODS = "/apis/batch/v1/jobs", "/api/v1/pods"
_DIAL = """
import socket, sys
joined = socket.create_connection(("localhost", int(sys.argv[1])), 5)
joined.settimeout(None)
socket.send_fds(socket.socket(fileno=0), [b"x"], [joined.fileno()])
"""
QUEUES = "/apis/kueue.x-k8s.io/v1beta2/localqueues"


class Controllers:
    """One thread that looks at everything twenty times a second. `cores` is what Kueue may admit at once."""

    def __init__(self, store: Store, *, volume: Path, scratch: Path, bwrap: Path, cores: int = 64) -> None:
        self.store, self._volume, self._scratch, self._bwrap = store, volume, scratch, bwrap
        self.cores = cores
        self.provides = True
        """Whether storage classes have room."""
        self.hidden: list[str] = []
        """Programs that images do not have."""
        self.started: list[str] = []
        """The attempt of each container that was started."""
        self._containers: dict[str, Container] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Controllers":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()
        for container in self._containers.values():
            container.kill()

    def dial(self, pod: str, port: int) -> socket.socket:
        """As a container runtime does it: from inside the pod's own network."""
        return self._containers[pod].dial(port)

    def container_of(self, pod: str) -> "Container":
        return self._containers[pod]

    def claimed(self, namespace: str, name: str) -> Path:
        """What a volume that a storage class provided is on the disk."""
        return self._scratch / f"{namespace}.{name}"

    def _run(self) -> None:
        while not self._stopping.wait(0.05):
            with self.store.changed:
                for key in [key for key in self.store.objects if key[0] == CLAIMS]:
                    self._claim(key, self.store.objects[key])
                for key in [key for key in self.store.objects if key[0] == JOBS]:
                    self._job(key, self.store.objects[key])
                for key in [key for key in self.store.objects if key[0] == PODS]:
                    self._pod(key, self.store.objects[key])

    def _claim(self, key: Key, claim: Object) -> None:
        """A class provides it, with a file system that is root's; it goes when no pod uses it any more."""
        if "deletionTimestamp" in claim["metadata"]:
            if not any(
                pod["spec"].get("nodeName")
                and pod["status"]["phase"] == "Running"
                and key[2]
                in [one.get("persistentVolumeClaim", {}).get("claimName") for one in pod["spec"]["volumes"]]
                for other, pod in self.store.objects.items()
                if other[:2] == (PODS, key[1])
            ):
                shutil.rmtree(self.claimed(*key[1:]), ignore_errors=True)
                self.store.remove(key)
            return
        wanted = claim["spec"].get("storageClassName")
        known = ("/apis/storage.k8s.io/v1/storageclasses", "", wanted) in self.store.objects
        if wanted and claim["status"].get("phase") != "Bound":
            claim["status"]["phase"] = "Pending"
            if known and self.provides:
                made = self.claimed(*key[1:])
                made.mkdir(mode=0o755)
                (made / "lost+found").mkdir(mode=0o700)
                claim["status"]["phase"] = "Bound"
                self.store.update(key, claim)

    def _is_provided(self, key: Key, pod: Object) -> bool:
        """Whether a scheduler finds all its claims bound; else it says so."""
        for source in pod["spec"]["volumes"]:
            name = source.get("persistentVolumeClaim", {}).get("claimName", "mosu")
            if name != "mosu":
                claim = self.store.objects.get((CLAIMS, key[1], name))
                if (
                    claim is None
                    or claim["status"].get("phase") != "Bound"
                    or "deletionTimestamp" in claim["metadata"]
                ):
                    message = "0/2 nodes are available: pod has unbound immediate PersistentVolumeClaims."
                    why = {"type": "PodScheduled", "status": "False", "message": message}
                    if pod["status"].get("conditions") != [why]:
                        pod["status"]["conditions"] = [why]
                        self.store.update(key, pod)
                    return False
        return True

    def _pods_of(self, job: Key) -> list[tuple[Key, Object]]:
        return [
            (key, pod)
            for key, pod in self.store.objects.items()
            if key[0] == PODS and key[1] == job[1] and pod["metadata"]["labels"].get("job-name") == job[2]
        ]

    def _job(self, key: Key, job: Object) -> None:
        pods = self._pods_of(key)
        if "deletionTimestamp" in job["metadata"]:
            self._end_pods(pods)
            if not pods:
                self.store.remove(key)
            return
        if any(
            item["status"] == "True" and item["type"] in {"Complete", "Failed"}
            for item in job["status"].get("conditions", ())
        ):
            return
        if job["spec"].get("suspend"):
            self._admit(key, job)
            return
        self._make_pods(key, job, pods)
        self._judge(key, job, self._pods_of(key))

    def _admit(self, key: Key, job: Object) -> None:
        queue = job["metadata"]["labels"].get("kueue.x-k8s.io/queue-name", "")
        if (QUEUES, key[1], queue) not in self.store.objects:
            return
        taken = sum(
            _cores(item) for other, item in self.store.objects.items() if other[0] == JOBS and _runs(item)
        )
        if taken + _cores(job) <= self.cores:
            job["spec"]["suspend"] = False
            job["status"]["startTime"] = now_text()
            job["_began"] = time.monotonic()
            self.store.update(key, job)

    def _make_pods(self, key: Key, job: Object, pods: list[tuple[Key, Object]]) -> None:
        if job["status"].get("_made"):
            return
        template = job["spec"]["template"]
        for index in range(job["spec"]["completions"]):
            name = f"{key[2]}-{index}-{secrets.token_hex(3)[:5]}"
            pod = {"apiVersion": "v1", "kind": "Pod", **copy.deepcopy(template)}
            pod["metadata"] |= {"name": name, "namespace": key[1]}
            pod["metadata"]["labels"] |= {"job-name": key[2], "batch.kubernetes.io/job-name": key[2]}
            pod["metadata"]["annotations"] = {"batch.kubernetes.io/job-completion-index": str(index)}
            pod["spec"]["containers"][0]["env"].append({"name": "JOB_COMPLETION_INDEX", "value": str(index)})
            pod["status"] = {"phase": "Pending"}
            try:
                self.store.create((PODS, key[1], name), pod)
            except ApiError as error:  # an event, in Kubernetes; here the test should hear of it
                job["status"]["refused"] = error.message
        job["status"]["_made"] = True
        self.store.update(key, job)

    def _judge(self, key: Key, job: Object, pods: list[tuple[Key, Object]]) -> None:
        phases = [pod["status"]["phase"] for _, pod in pods]
        why = job["status"].get("_failing")
        if why is None and "Failed" in phases:
            why = ("BackoffLimitExceeded", "Job has reached the specified backoff limit")
        if why is None and time.monotonic() - job["_began"] > job["spec"]["activeDeadlineSeconds"]:
            why = ("DeadlineExceeded", "Job was active longer than specified deadline")
        if why is not None:
            job["status"]["_failing"] = why
            self._end_pods([(k, p) for k, p in pods if p["status"]["phase"] in {"Pending", "Running"}])
            if not {"Pending", "Running"} & set(phases):
                self._conclude(key, job, "Failed", *why)
        elif phases and set(phases) == {"Succeeded"}:
            self._conclude(
                key, job, "Complete", "CompletionsReached", "Reached expected number of succeeded pods"
            )

    def _conclude(self, key: Key, job: Object, kind: str, reason: str, message: str) -> None:
        condition = {
            "type": kind,
            "status": "True",
            "reason": reason,
            "message": message,
            "lastTransitionTime": now_text(),
        }
        job["status"]["conditions"] = [condition]
        self.store.update(key, job)

    def _end_pods(self, pods: list[tuple[Key, Object]]) -> None:
        for key, pod in pods:
            if "deletionTimestamp" not in pod["metadata"]:
                self.store.delete(key, "Background")

    def _pod(self, key: Key, pod: Object) -> None:
        container = self._containers.get(key[2])
        leaving = "deletionTimestamp" in pod["metadata"]
        if container is None:
            if leaving:
                self.store.remove(key)
            elif pod["status"]["phase"] == "Pending":
                self._start(key, pod)
            return
        if leaving:
            container.stop(pod["spec"]["terminationGracePeriodSeconds"])
        if container.ended and "terminated" not in pod["status"]["containerStatuses"][0]["state"]:
            self._note(key, pod, container)
        if leaving and container.ended:
            self.store.remove(key)

    def _start(self, key: Key, pod: Object) -> None:
        node = self._node_for(pod)
        if node is None:
            return
        spec = pod["spec"]["containers"][0]
        folder = self._claimed(key[1])
        if folder is None or not self._is_provided(key, pod):
            return
        pod["spec"]["nodeName"] = node
        ip = f"10.0.0.{len(self._containers) + 1}"
        lines = self.store.logs[key[2]] = []
        options = self._mounts(key, pod, folder)
        for program in self.hidden:
            options += ["--ro-bind", "/dev/null", program]
        variables = {item["name"]: _value(item, key[2], ip) for item in spec["env"]}
        self._containers[key[2]] = Container(
            self._bwrap,
            options,
            spec["command"],
            variables,
            pod["spec"]["securityContext"]["runAsUser"],
            lines,
        )
        self.started.append(pod["metadata"]["labels"]["app.kubernetes.io/instance"])
        state = {"running": {"startedAt": now_text()}}
        pod["status"] = {
            "phase": "Running",
            "podIP": ip,
            "containerStatuses": [{"name": "task", "state": state}],
        }
        self.store.update(key, pod)

    def _node_for(self, pod: Object) -> str | None:
        terms = pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
        wanted = terms["nodeSelectorTerms"][0]["matchExpressions"][0]["values"]
        attempt = pod["metadata"]["labels"]["app.kubernetes.io/instance"]
        taken = {
            other["spec"].get("nodeName")
            for key, other in self.store.objects.items()
            if key[0] == PODS and other["metadata"]["labels"]["app.kubernetes.io/instance"] == attempt
        }
        nodes = [key[2] for key in self.store.objects if key[0] == "/api/v1/nodes"]
        return next((name for name in nodes if name in wanted and name not in taken), None)

    def _claimed(self, namespace: str) -> Path | None:
        """Where the namespace's claim is bound to; None while it is not."""
        claim = self.store.objects.get(("/api/v1/persistentvolumeclaims", namespace, "mosu"))
        volume = claim and self.store.objects.get(
            ("/api/v1/persistentvolumes", "", claim["spec"]["volumeName"])
        )
        bound = volume and volume["spec"]["claimRef"] | {} == {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "name": "mosu",
            "namespace": namespace,
        }
        return self._volume if bound else None

    def _mounts(self, key: Key, pod: Object, folder: Path) -> list[str]:
        sources = {item["name"]: item for item in pod["spec"]["volumes"]}
        options = []
        for mount in pod["spec"]["containers"][0]["volumeMounts"]:
            source = sources[mount["name"]]
            bind = "--ro-bind" if mount.get("readOnly") else "--bind"
            if "persistentVolumeClaim" in source and source["name"] != "shared":
                made = self.claimed(key[1], source["persistentVolumeClaim"]["claimName"])
                options += [bind, str(_sub_path(made, mount["subPath"], pod)), mount["mountPath"]]
            elif "persistentVolumeClaim" in source:
                options += [bind, str(folder / mount["subPath"]), mount["mountPath"]]
            elif "emptyDir" in source:
                options += ["--perms", "1777", "--tmpfs", mount["mountPath"]]
            else:
                options += [bind, str(self._secret(key, source["secret"])), mount["mountPath"]]
        return options

    def _secret(self, key: Key, source: Object) -> Path:
        found = self.store.objects[("/api/v1/secrets", key[1], source["secretName"])]
        folder = self._scratch / f"secret-{key[2]}"
        folder.mkdir(mode=0o755)
        folder.chmod(0o755)
        for name, value in found["data"].items():
            (folder / name).write_bytes(base64.b64decode(value))
            (folder / name).chmod(source["defaultMode"])
        return folder

    def _note(self, key: Key, pod: Object, container: "Container") -> None:
        state = pod["status"]["containerStatuses"][0]["state"]
        began = state["running"]["startedAt"]
        end = {
            "exitCode": container.exit_code,
            "startedAt": began,
            "finishedAt": now_text(),
            "reason": container.why,
        }
        pod["status"]["containerStatuses"][0]["state"] = {"terminated": end}
        pod["status"]["phase"] = "Succeeded" if container.exit_code == 0 else "Failed"
        self.store.update(key, pod)


class Container:
    """A process that sees of the machine what a container would."""

    def __init__(
        self,
        bwrap: Path,
        mounts: list[str],
        command: list[str],
        variables: dict[str, str],
        user: int,
        lines: list[tuple[str, bytes]],
    ) -> None:
        options = ["--unshare-all", "--uid", str(user), "--gid", str(user), "--die-with-parent", "--as-pid-1"]
        options += ["--cap-drop", "ALL", "--clearenv", "--setenv", "PATH", "/usr/local/bin:/usr/bin:/bin"]
        options += ["--ro-bind", "/usr", "/usr", "--proc", "/proc", "--dev", "/dev"]
        for name in ("bin", "sbin", "lib", "lib64"):
            path = Path("/", name)
            options += ["--symlink", str(path.readlink()), str(path)] if path.is_symlink() else []
        options += [
            "--ro-bind-try",
            "/etc/ld.so.cache",
            "/etc/ld.so.cache",
            *mounts,
            "--remount-ro",
            "/",
            "--chdir",
            "/work",
        ]
        for name, value in variables.items():
            options += ["--setenv", name, value]
        told, tell = os.pipe()
        root = os.geteuid() == 0
        self._process = subprocess.Popen(
            [bwrap, *options, "--info-fd", str(tell), "--", *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=[tell],
            cwd="/",
            env={},
            user=user if root else None,
            group=user if root else None,
            extra_groups=[] if root else None,
        )
        os.close(tell)
        with os.fdopen(told) as file:
            said = file.read()
        self.first_pid = json.loads(said)["child-pid"] if said else self._process.pid
        self.why = ""
        self._killed_at: float | None = None
        self._lines = lines
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def ended(self) -> bool:
        return self._process.poll() is not None and not self._reader.is_alive()

    @property
    def exit_code(self) -> int:
        code = self._process.returncode
        self.why = self.why or ("Completed" if code == 0 else "Error")
        return code if code >= 0 else 128 - code

    def dial(self, port: int) -> socket.socket:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            done = subprocess.run(
                [
                    *("nsenter", f"--target={self.first_pid}", "--user", "--net", "--preserve-credentials"),
                    *(sys.executable, "-I", "-S", "-c", _DIAL, str(port)),
                ],
                stdin=theirs,
                stderr=subprocess.PIPE,
                text=True,
                cwd="/",
            )
            if done.returncode:
                raise OSError(done.stderr.strip().rpartition("\n")[2])
            _, [fd], _, _ = socket.recv_fds(ours, 1, 1)
            return socket.socket(fileno=fd)

    def stop(self, grace_s: int) -> None:
        """Ask, and kill when the grace is over."""
        if self._killed_at is None:
            self._killed_at = time.monotonic() + grace_s
            self._signal(signal.SIGTERM)
        elif time.monotonic() > self._killed_at:
            self._signal(signal.SIGKILL)

    def kill(self) -> None:
        self._signal(signal.SIGKILL)
        self._process.wait()
        self._reader.join()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def _signal(self, number: int) -> None:
        if self._process.poll() is None:
            try:
                os.kill(self.first_pid, number)
            except ProcessLookupError:
                return

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f000Z")
            self._lines.append((at, line.rstrip(b"\n")))


def _sub_path(root: Path, name: str, pod: Object) -> Path:
    """As a kubelet makes it: the file system is given to the pod's group, and the folder has its root's rights."""
    group = pod["spec"]["securityContext"].get("fsGroup")
    if group is not None and os.geteuid() == 0 and root.stat().st_gid != group:
        os.chown(root, -1, group)
        root.chmod(0o2775)
    made = root / name
    if not made.is_dir():
        made.mkdir()
        made.chmod(root.stat().st_mode & 0o7777)
    return made


def _runs(job: Object) -> bool:
    return not job["spec"].get("suspend") and not job["status"].get("conditions")


def _cores(job: Object) -> int:
    requests = job["spec"]["template"]["spec"]["containers"][0]["resources"]["requests"]
    return int(requests["cpu"]) * int(job["spec"]["parallelism"])


def _value(item: Object, pod: str, ip: str) -> Any:
    if "value" in item:
        return item["value"].replace("$$(", "$(")
    return {"metadata.name": pod, "status.podIP": ip}[item["valueFrom"]["fieldRef"]["fieldPath"]]
