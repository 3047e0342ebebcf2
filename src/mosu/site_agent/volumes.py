"""Volumes of buyers: folders that outlive what runs, on this machine or on the file system that a cluster shares.

`FOLDER/VOLUME_ID` is the agent's own, and holds `data`, which alone is seen in sandboxes, and `lock`, which whoever
uses it holds. A sandbox's user passes through to `data`, and can list, rename and replace nothing on the way.
"""

import errno
import os
import shutil
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from mosu.kernel.refusals import Invalid
from mosu.sandbox.starter import RunAs, check_reach, give_to_sandbox, run_as
from mosu.site_agent.files import read_json_if_whole, remove_tree, sync_folder, write_durably
from mosu.site_agent.job_files import VolumeFile
from mosu.site_agent.volume_lock import held_lock
from mosu.wire.agent import AttemptSpec

_GIB: Final = 1 << 30
_GONE: Final = ".gone-"
_MAKING: Final = ".making-"
_MARK: Final = ".mark"


class Volumes:
    """The volumes in one folder, of which `room_gb` may be sold.

    A disk that is not mounted leaves an empty folder in its place: runs would write beside their volume, and what is
    to be deleted would seem gone. So the folder has a mark, and the file `memory`, on another disk, keeps it.

    Raises (on creation):
        Invalid: the folder is not there or without its mark, or its file system is smaller than what is to be sold.
        SandboxUnavailable: the sandbox's user cannot reach it.
    """

    unkept: Final = ""

    def __init__(self, folder: Path, *, room_gb: int, memory: Path) -> None:
        if not folder.is_dir() or folder.is_symlink():
            raise Invalid(
                f"There is no folder {folder} for volumes.",
                hint="Make it, on a disk that is kept.",
                field="volumes_dir",
            )
        if room_gb < 1 or room_gb * _GIB > shutil.disk_usage(folder).total:
            raise Invalid(
                f"volumes_gb: {folder} does not have {room_gb} GB.",
                hint="Set what its file system has, or less.",
                field="volumes_gb",
                found=room_gb,
            )
        self.folder, self.room_gb = folder, room_gb
        self.who: RunAs = run_as()
        folder.chmod(0o711)
        check_reach(folder, self.who)
        self._mark = self._mark_known(memory)
        self._deleting: set[str] = set()
        self._copied_to: set[str] = set()
        self._guard = threading.Lock()

    def laid_for(self, spec: AttemptSpec) -> list[VolumeFile]:
        """What the attempt's supervisor needs to know of its volumes; those that are new are made.

        Raises:
            OSError: the disk is not there, is full or fails; making them again is safe.
        """
        if spec.volumes:
            self.check_there()
        return [
            VolumeFile(
                name=one.volume_id,
                folder=str(self.laid(one.volume_id)),
                path=one.path,
                size_bytes=one.size_bytes,
                writes=one.writes,
            )
            for one in spec.volumes
        ]

    def check_there(self) -> None:
        """
        Raises:
            OSError: the disk is not there.
        """
        if self._mark_there() != self._mark:
            raise OSError(errno.ESTALE, f"{self.folder} is not the folder in which volumes are kept")

    @contextmanager
    def copying_to(self, volume_id: str) -> Iterator[Path]:
        """The folder in which a new volume is made; whoever wants it deleted meanwhile asks again afterwards."""
        with self._guard:
            self._copied_to.add(volume_id)
        try:
            yield self.folder / f"{_MAKING}{volume_id}"
        finally:
            with self._guard:
                self._copied_to.discard(volume_id)

    def delete(self, volume_ids: Collection[str]) -> tuple[str, ...]:
        """Set about deleting these; those of which nothing is left. What is still in use, and what the disk does not
        give up, stays until asked again."""
        left = [volume_id for volume_id in volume_ids if self._may_be_there(volume_id)]
        for volume_id in left:
            with self._guard:
                if volume_id in self._deleting or volume_id in self._copied_to:
                    continue
                self._deleting.add(volume_id)
            # A million files take minutes; heartbeats must go on meanwhile.
            threading.Thread(target=self._delete, args=(volume_id,), name="delete", daemon=True).start()
        return tuple(volume_id for volume_id in volume_ids if volume_id not in left)

    def _mark_known(self, memory: Path) -> str:
        """The folder's mark, as it was kept; where there was none it is made."""
        kept = read_json_if_whole(memory) or {}
        found = self._mark_there()
        if kept.get("folder") == str(self.folder) and kept["mark"] != found:
            raise Invalid(
                f"{self.folder} is not the folder in which volumes were kept.",
                hint=f"Mount its disk. If that was lost with all volumes on it, delete {memory}.",
                field="volumes_dir",
            )
        if not found:
            found = os.urandom(16).hex()
            write_durably(self.folder / _MARK, found)
        write_durably(memory, {"folder": str(self.folder), "mark": found})
        return found

    def _mark_there(self) -> str:
        """The mark that the folder has now; empty where it has none."""
        return read_json_if_whole(self.folder / _MARK) or ""

    def laid(self, volume_id: str) -> Path:
        """The volume's own folder, made where it is new."""
        volume = self.folder / volume_id
        if not (volume / "lock").exists():
            volume.mkdir(mode=0o711, exist_ok=True)
            volume.chmod(0o711)
            (volume / "data").mkdir(mode=0o700, exist_ok=True)
            give_to_sandbox(volume / "data", self.who)
            (volume / "lock").touch(mode=0o600)
            sync_folder(volume)
            sync_folder(self.folder)
        return volume

    def _may_be_there(self, volume_id: str) -> bool:
        """Whether anything is left of it; of a disk that does not say, that is: the heartbeats of a whole pool do not
        end with one bad disk."""
        with self._guard:
            if volume_id in self._deleting or volume_id in self._copied_to:
                return True
        try:
            return self._mark_there() != self._mark or any(map(is_named, self._places(volume_id)))
        except OSError:
            return True

    def _places(self, volume_id: str) -> tuple[Path, Path, Path]:
        """Where it is, where it is deleted, and where it was being made."""
        name = self.folder / volume_id
        return name, name.with_name(f"{_GONE}{volume_id}"), name.with_name(f"{_MAKING}{volume_id}")

    def _delete(self, volume_id: str) -> None:
        volume, gone, making = self._places(volume_id)
        try:
            with suppress(OSError):  # what the disk does not give up is asked for again
                if is_named(volume) and not _set_aside(volume, gone):
                    return
                remove_tree(gone)
                remove_tree(making)
                sync_folder(self.folder)  # its room is sold once we say so: no crash brings it back
        finally:
            with self._guard:
                self._deleting.discard(volume_id)


def is_named(path: Path) -> bool:
    """Whether there is such a name. Not `Path.exists`: what the disk cannot say is an error here."""
    try:
        path.lstat()
    except FileNotFoundError:
        return False
    return True


def _set_aside(volume: Path, gone: Path) -> bool:
    """Whether nobody comes to the volume any more; not while somebody uses it."""
    try:
        lock = held_lock(volume, writes=True)
    except FileNotFoundError:
        volume.rename(gone)  # its making was broken off, on a full disk, say: nobody ever used it
        return True
    if lock is None:
        return False
    try:
        volume.rename(gone)
    finally:
        os.close(lock)
    return True
