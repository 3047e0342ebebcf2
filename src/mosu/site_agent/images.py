"""Images of containers that this agent fetched, kept while there is room: on this machine, or on the file system that
a cluster shares.

| below the folder | what |
|---|---|
| `DIGEST/root`, `DIGEST/image.json` | an image, as its files are seen, and what its makers set |
| `uses/ATTEMPT_ID` | the digest that the attempt needs; such an image is not deleted |
| `.new-*`, `.gone-*` | what grows and what goes; nothing of it outlives the agent |
"""

import errno
import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Final

from mosu.kernel.refusals import Invalid
from mosu.sandbox import watch
from mosu.sandbox.environments import Environment
from mosu.sandbox.starter import check_reach, find_bwrap, run_as
from mosu.site_agent.files import held_alone, read_json_if_whole, remove_tree, write_durably
from mosu.site_agent.image_fetch import Fetching, ImageRefused, NotWanted, check_tools
from mosu.site_agent.job_files import ImageFile
from mosu.wire.images import is_allowed

_GB: Final = 1_000_000_000
_FACTS: Final = "image.json"
_NEW: Final = ".new-"
_GONE: Final = ".gone-"
_WAIT_S: Final = 0.2


class Images:
    """The images in one folder, of `room_gb` together; tasks may name those of the `allowed` registries, or parts.

    Raises (on creation):
        Invalid: a setting is missing, a program is, or another agent keeps its images there.
        SandboxUnavailable: the sandbox's user cannot reach the folder.
    """

    def __init__(
        self, folder: Path, *, room_gb: int, allowed: Sequence[str], environment: Environment
    ) -> None:
        check_place(folder, room_gb=room_gb)
        self._allowed = tuple(allowed)
        self._folder, self._room_bytes, self._environment = folder, room_gb * _GB, environment
        self._who = run_as()
        self._only_one = _lock(folder)
        self._uses = folder / "uses"
        self._uses.mkdir(mode=0o700, exist_ok=True)
        for path in self._uses.glob(".*"):
            path.unlink()
        for path in folder.iterdir():
            if path.name.startswith((_NEW, _GONE)):
                remove_tree(path)
        self._guard = threading.Lock()
        self._coming: set[str] = set()
        self._growing: dict[str, int] = {}
        self._sizes = self._known_sizes()

    def close(self) -> None:
        os.close(self._only_one)

    def of(self, image: str, *, drivers: Sequence[str] = ()) -> ImageFile:
        """The image that `lay_for` laid, with these libraries of its node's.

        Raises:
            Invalid: there is no such image here.
        """
        digest = _digest_of(image)
        facts = read_json_if_whole(self._folder / digest / _FACTS)
        if facts is None:
            raise Invalid("The image is not here.", hint="Order again.", field="image_id", found=image)
        return ImageFile(root=str(self._folder / digest / "root"), envs=facts["envs"], drivers=list(drivers))

    def lay_for(self, attempt_id: str, image: str, *, wanted: Callable[[], bool]) -> None:
        """The image is here when this returns, and stays until the attempt lets it go. Each is fetched once, for all
        who wait for it.

        Raises:
            Invalid: its registry is not allowed.
            ImageRefused: the registry does not give it, it cannot be unpacked, or is larger than there is room.
            NotWanted: `wanted` says so.
            OSError: registry or disk failed; another try may do.
        """
        if not is_allowed(image, self._allowed):
            raise Invalid(
                "Images from there are not run here.",
                hint="Its supplier may allow it: allowed_images.",
                field="image_id",
            )
        digest = _digest_of(image)
        write_durably(self._uses / attempt_id, digest)
        while not self._is_ours_to_fetch(digest):
            if (self._folder / digest / _FACTS).is_file():
                os.utime(self._folder / digest / _FACTS)  # the least lately used go first
                return
            if not wanted():
                raise NotWanted
            time.sleep(_WAIT_S)
        try:
            self._fetch(digest, image, wanted)
        finally:
            with self._guard:
                self._coming.discard(digest)
                self._growing.pop(digest, None)

    def let_go(self, attempt_id: str) -> None:
        (self._uses / attempt_id).unlink(missing_ok=True)

    def keep_for(self, attempt_ids: Collection[str]) -> None:
        """Of no other attempt is anything known any more."""
        for path in self._uses.iterdir():
            if path.name not in attempt_ids and path.name[0] != ".":  # one that is just written
                path.unlink(missing_ok=True)

    def _is_ours_to_fetch(self, digest: str) -> bool:
        with self._guard:
            if digest in self._coming or (self._folder / digest / _FACTS).is_file():
                return False
            self._coming.add(digest)
            return True

    def _fetch(self, digest: str, image: str, wanted: Callable[[], bool]) -> None:
        spoilt: list[Path] = []
        draft = Path(tempfile.mkdtemp(prefix=f"{_NEW}{digest[:12]}-", dir=self._folder))
        try:
            scratch = draft / "work"
            scratch.mkdir(mode=0o700)
            draft.chmod(0o711)
            fetching = Fetching(
                image,
                scratch,
                who=self._who,
                starter=find_bwrap(self._folder / "tools"),
                environment=self._environment,
                room=lambda size: self._make_room(digest, size),
                wanted=wanted,
            )
            envs = fetching.unpacked()
            (scratch / "root").rename(draft / "root")
            remove_tree(scratch)
            # Else a machine that fails now may have the name, and not what it names.
            subprocess.run(["sync", "-f", str(draft)], check=True, stdin=subprocess.DEVNULL)
            size = watch.folder_bytes(draft) or 0
            write_durably(draft / _FACTS, {"envs": envs, "bytes": size})
            with self._guard:
                if (self._folder / digest).exists():  # the disk garbled what we wrote of it
                    self._sizes.setdefault(digest, 0)
                    spoilt.append(self._set_aside(digest))
                draft.rename(self._folder / digest)
                self._sizes[digest] = size
                self._growing.pop(digest, None)
        except subprocess.CalledProcessError as error:
            raise OSError(errno.EIO, "the disk did not take the image") from error
        finally:
            for path in (draft, *spoilt):
                remove_tree(path)

    def _make_room(self, digest: str, size: int) -> None:
        """Room for what this image takes by now; others that nobody uses go, the least lately used first.

        Raises:
            ImageRefused: there is not so much.
        """
        gone: list[Path] = []
        with self._guard:
            self._growing[digest] = size
            taken = sum(self._sizes.values()) + sum(self._growing.values())
            if taken > self._room_bytes:
                unused = sorted(set(self._sizes) - self._used(), key=self._used_at)
                while taken > self._room_bytes and unused:
                    taken -= self._sizes[unused[0]]
                    gone.append(self._set_aside(unused.pop(0)))
        for path in gone:
            remove_tree(path)
        if taken > self._room_bytes:
            raise ImageRefused(
                f"The image takes more than the room that is left for images here: {self._room_bytes // _GB} GB "
                "with those that other runs use.",
                hint="Use a smaller one, or try again when other runs have ended.",
                field="image_id",
            )

    def _set_aside(self, digest: str) -> Path:
        """An image that nobody uses is none any more; what is to be deleted."""
        gone = self._folder / f"{_GONE}{digest}"
        (self._folder / digest).rename(gone)
        del self._sizes[digest]
        return gone

    def _used(self) -> set[str]:
        return {str(read_json_if_whole(path)) for path in self._uses.iterdir() if path.name[0] != "."}

    def _used_at(self, digest: str) -> float:
        try:
            return (self._folder / digest / _FACTS).stat().st_mtime
        except FileNotFoundError:  # the disk garbled it
            return 0.0

    def _known_sizes(self) -> dict[str, int]:
        found = {path.parent.name: read_json_if_whole(path) for path in self._folder.glob(f"*/{_FACTS}")}
        return {digest: facts["bytes"] for digest, facts in found.items() if facts is not None}


def check_place(folder: Path, *, room_gb: int) -> None:
    """Whether images could be kept there; the folder is opened for the sandbox's user to pass through.

    Raises:
        Invalid: a program is missing, or the folder does not do.
        SandboxUnavailable: the sandbox's user cannot reach it.
    """
    check_tools()
    if not folder.is_dir() or folder.is_symlink():
        raise Invalid(f"There is no folder {folder} for images.", hint="Make it first.", field="images_dir")
    if room_gb < 1 or room_gb * _GB > shutil.disk_usage(folder).total:
        raise Invalid(
            f"images_gb: {folder} does not have {room_gb} GB.",
            hint="Set what its file system has, or less.",
            field="images_gb",
            found=room_gb,
        )
    folder.chmod(0o711)
    check_reach(folder, run_as())


def _digest_of(image: str) -> str:
    """Of an image by digest, 64 hexadecimal digits."""
    return image.rpartition("@sha256:")[2]


def _lock(folder: Path) -> int:
    lock = held_alone(folder / "lock")
    if lock is None:
        raise Invalid(
            f"Another agent keeps its images in {folder}.", hint="Give each its own.", field="images_dir"
        )
    return lock
