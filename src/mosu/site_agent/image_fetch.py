"""Fetching an image of a container by its digest, and unpacking it: skopeo asks the registry, umoci unpacks.

skopeo checks every byte against the digest. What it brought is unpacked in the sandbox, without network, and what it
says of itself is not believed.
"""

import errno
import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from mosu.kernel.refusals import DomainError, Invalid
from mosu.sandbox import bubblewrap, image_root, watch
from mosu.sandbox.environments import Environment
from mosu.sandbox.starter import RunAs, give_to_sandbox

STALLED_S: Final = 300.0
"""So long without a byte, and it is given up."""
FETCH_S_MAX: Final = 4 * 3600.0
"""So long altogether, or a registry that drips keeps what the attempt was given, for nothing."""
_LOOK_S: Final = 0.1
_WATCH_SHARE: Final = 20
_LOOK_S_MAX: Final = 10.0
"""Between two looks, however long one takes: meanwhile it grows."""
_SAID_BYTES_MAX: Final = 16384
_JSON_BYTES_MAX: Final = 4 << 20
_ENVS_MAX: Final = 200
_GIB: Final = 1 << 30
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_UNSAYABLE: Final = re.compile("[\0\ud800-\udfff]")
_DIGEST: Final = re.compile(r"sha256:([0-9a-f]{64})")
_TOOLS: Final = ("skopeo", "umoci", "setpriv")
_INHERITED: Final = (
    *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR"),
)
_FINAL: Final = re.compile(
    r"manifest unknown|name unknown|not found|unauthorized|denied|forbidden|does not match|did not match|rejected"
    r"|no image found|unsupported|invalid",
    re.IGNORECASE,
)
"""What a registry says that it will say again; anything else may pass."""
_DISK: Final = re.compile(r"no space left on device|quota exceeded|input/output error", re.IGNORECASE)
_BY_SIGNAL: Final = 128
"""A shell ends with this or more where a signal ended what it ran: somebody's, or for want of memory."""
_MESSAGE: Final = re.compile(r'msg="((?:[^"\\]|\\.)*)"')


class ImageRefused(DomainError):
    """The image cannot be had, or is none that can be unpacked."""

    code = "image_refused"


class NotWanted(Exception):
    """Whoever wanted the image does not any more."""


@dataclass(frozen=True, slots=True)
class Fetching:
    """One image on its way: it grows in `scratch`, which is ours and is deleted by whoever made it.

    `room(BYTES)` is asked now and then whether so much may lie there, and raises where it may not; `wanted` whether
    to go on.
    """

    image: str
    scratch: Path
    who: RunAs
    starter: Path
    environment: Environment
    room: Callable[[int], None]
    wanted: Callable[[], bool]

    def unpacked(self) -> dict[str, str]:
        """The image lies below `scratch/root` then; the variables that its makers set.

        Raises:
            ImageRefused: the registry does not give it, or it cannot be unpacked.
            NotWanted: nobody waits for it any more.
            OSError: the registry, or the disk, does not answer as it should: another try may do.
            SandboxUnavailable: there is no sandbox here.
        """
        give_to_sandbox(self.scratch, self.who)
        self._fetch()
        envs = self._envs()
        self._unpack()
        return envs

    def _fetch(self) -> None:
        said, who = self.scratch / "said", self.who
        with said.open("wb") as out:
            process = subprocess.Popen(
                [
                    # It ends with us, however we end, and has our rights only where we have none to drop.
                    *(_tool("setpriv"), "--pdeathsig", "KILL", "--no-new-privs"),
                    *(
                        ("--reuid", str(who.uid), "--regid", str(who.gid), "--clear-groups")
                        if who.switches
                        else ()
                    ),
                    *(_tool("skopeo"), "--tmpdir", str(self.scratch), "copy", "--quiet", "--src-no-creds"),
                    *(f"docker://{self.image}", f"oci:{self.scratch / 'oci'}:image"),
                ],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                cwd=self.scratch,
                env={
                    "PATH": "/usr/bin:/bin",
                    "HOME": str(self.scratch),
                    "TMPDIR": str(self.scratch),
                    **{name: os.environ[name] for name in _INHERITED if name in os.environ},
                },
                umask=0o022,
                start_new_session=True,
            )
        try:
            self._wait(process.poll)
        finally:
            process.kill()
            process.wait()
        if process.returncode != 0:
            with said.open("rb") as words:
                why = self._complaint(words.read(_SAID_BYTES_MAX).decode(errors="replace"))
            if _FINAL.search(why.replace(self.image.partition("@")[0], "")):
                raise ImageRefused(
                    f"The image {self.image} could not be fetched: {why}",
                    hint="Look at its name and digest; the pool asks for it without a sign-in.",
                    field="image_id",
                )
            raise OSError(errno.EIO, f"the image could not be fetched: {why}")
        said.unlink()

    def _unpack(self) -> None:
        job = bubblewrap.Job(
            label="image",
            setup="",
            script="set -e\nexport PATH=/usr/bin:/bin\n"
            "umoci --log=error raw unpack --rootless --image /work/oci:image /work/root\n"
            + image_root.prepare(bubblewrap.WORK + "/root"),
            workdir=self.scratch,
            environment=self.environment.root,
            python=self.environment.python,
            limits=bubblewrap.Limits(
                cores=os.cpu_count() or 1,
                memory_bytes=2 * _GIB,
                file_bytes=shutil.disk_usage(self.scratch).total,
            ),
        )
        sandbox = bubblewrap.start(job, starter=self.starter, who=self.who)
        os.set_blocking(sandbox.log.fileno(), False)
        said = b""

        def ended() -> int | None:
            nonlocal said
            said = (said + (sandbox.log.read(_SAID_BYTES_MAX) or b""))[-_SAID_BYTES_MAX:]
            return sandbox.process.poll()

        try:
            self._wait(ended)
            ended()
        finally:
            sandbox.kill()
            sandbox.process.wait()
            sandbox.log.close()
            sandbox.status.close()
        if sandbox.process.returncode != 0:
            code = sandbox.process.returncode
            why = self._complaint(said.decode(errors="replace")) or f"umoci ended with {code}"
            if not 0 < code < _BY_SIGNAL or _DISK.search(why):
                raise OSError(errno.EIO, f"the image could not be unpacked: {why}")
            raise ImageRefused(
                f"The image {self.image} could not be unpacked: {why}",
                hint="Build it with layers of tar or tar+gzip, as docker and buildah do.",
                field="image_id",
            )

    def _wait(self, ended: Callable[[], int | None]) -> None:
        """Until it has, as long as it is wanted, there is room, and bytes come."""
        known, changed_at, look_at = 0, time.monotonic(), 0.0
        until = changed_at + FETCH_S_MAX
        while ended() is None:
            if not self.wanted():
                raise NotWanted
            now = time.monotonic()
            if now >= look_at:
                there = self._looked_at()
                took = time.monotonic() - now
                look_at = now + took + max(_LOOK_S, min(_LOOK_S_MAX, _WATCH_SHARE * took))
                if there != known:
                    known, changed_at = there, now
            if now > changed_at + STALLED_S:
                raise OSError(errno.ETIMEDOUT, f"the image did not come on for {STALLED_S:g} s")
            if now > until:
                raise OSError(errno.ETIMEDOUT, f"the image took more than {FETCH_S_MAX:g} s")
            time.sleep(_LOOK_S)
        self._looked_at()

    def _looked_at(self) -> int:
        there = watch.folder_bytes(self.scratch)
        if there is None:
            raise ImageRefused(
                f"The image {self.image} has parts that are too deep to be measured.",
                hint="Build it with shorter paths.",
                field="image_id",
            )
        self.room(there)
        return there

    def _envs(self) -> dict[str, str]:
        """The variables that the image's makers set; those that no shell could hold are left out."""
        try:
            index = _json(self.scratch / "oci" / "index.json")
            manifest = _json(self._blob(index["manifests"][0]["digest"]))
            config = _json(self._blob(manifest["config"]["digest"]))
            set_there = [str(one) for one in (config.get("config") or {}).get("Env") or ()][:_ENVS_MAX]
        except (
            OSError,
            ValueError,
            KeyError,
            IndexError,
            TypeError,
            AttributeError,
            RecursionError,
        ) as error:
            raise ImageRefused(
                f"The image {self.image} does not say what it holds.",
                hint="Build it again, as docker and buildah do.",
                field="image_id",
            ) from error
        pairs = (one.partition("=") for one in set_there)
        return {
            name: value for name, _, value in pairs if _NAME.fullmatch(name) and not _UNSAYABLE.search(value)
        }

    def _complaint(self, said: str) -> str:
        """The last thing that a tool says went wrong, without our folders, and what no terminal should be told."""
        lines = [line.strip() for line in said.splitlines() if line.strip()]
        found = _MESSAGE.search(lines[-1]) if lines else None
        text = found[1].replace('\\"', '"') if found else (lines[-1].removeprefix("ERROR: ") if lines else "")
        text = text.replace(str(self.scratch), "").removeprefix(
            f"initializing source docker://{self.image}: "
        )
        return "".join(letter if letter.isprintable() else "?" for letter in text)[:400]

    def _blob(self, digest: str) -> Path:
        found = _DIGEST.fullmatch(digest)
        if found is None:
            raise ValueError(digest)
        return self.scratch / "oci" / "blobs" / "sha256" / found[1]


def check_tools() -> None:
    """
    Raises:
        Invalid: a program that fetches images is not installed.
    """
    missing = [name for name in _TOOLS if shutil.which(name, path="/usr/bin:/bin") is None]
    if missing:
        raise Invalid(
            f"Images of containers need {' and '.join(missing)}, which this machine does not have.",
            hint=f"Install: apt-get install -y {' '.join(missing)}",
            field="images_dir",
        )


def _tool(name: str) -> str:
    """Where the system keeps it."""
    return shutil.which(name, path="/usr/bin:/bin") or name


def _json(path: Path) -> Mapping[str, Any]:
    if path.lstat().st_size > _JSON_BYTES_MAX:
        raise ValueError(path.name)
    found: Mapping[str, Any] = json.loads(path.read_bytes())
    return found
