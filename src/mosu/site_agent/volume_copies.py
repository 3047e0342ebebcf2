"""Snapshots of volumes, and volumes made anew from one: copied whole or not at all, one after the other.

A snapshot grows in `FOLDER/.making-ID` and gets its name once it is whole. What is restored grows in `.new` in the
volume's own folder; from the moment that `swap` is written there it takes the place of `data`, whoever is killed when.
"""

import errno
import math
import os
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from mosu.sandbox.watch import folder_bytes
from mosu.site_agent.files import read_json_if_whole, remove_tree, sync_folder, write_durably
from mosu.site_agent.tree_copy import BrokenOff, NotCopied, TreeCopy
from mosu.site_agent.volume_lock import held_lock
from mosu.site_agent.volumes import Volumes, is_named
from mosu.wire.agent import CopyFault, CopySpec, CopyStatus

_STAMP: Final = "copied"
_SWAP: Final = "swap"
_LOCK_S: Final = 30.0
"""A run that has ended lets go of its locks a little after it said so."""
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class _Again(Exception):
    """Neither made nor thrown away: the disk is to be asked once more."""


@dataclass(slots=True)
class _Copy:
    spec: CopySpec
    status: CopyStatus
    tree: TreeCopy
    total: int = 0
    unwanted: threading.Event = field(default_factory=threading.Event)


class VolumeCopies:
    """The copies that the hub wants. They are made in one thread; `told` is called when one ends."""

    def __init__(self, volumes: Volumes, *, told: Callable[[], None]) -> None:
        self._volumes, self._told = volumes, told
        self._copies: dict[str, _Copy] = {}
        self._guard = threading.Lock()
        self._works = False

    def take(self, wanted: Collection[CopySpec]) -> None:
        """Make these and no others: what is no longer named is broken off, what failed and is named is not repeated."""
        names = {spec.copy_id for spec in wanted}
        with self._guard:
            for copy_id in [one for one in self._copies if one not in names]:
                self._copies.pop(copy_id).unwanted.set()
            for spec in wanted:
                if spec.copy_id not in self._copies:
                    self._copies[spec.copy_id] = self._new(spec)
            if not self._works and self._next() is not None:
                self._works = True
                threading.Thread(target=self._work, name="copy", daemon=True).start()

    def statuses(self) -> tuple[CopyStatus, ...]:
        with self._guard:
            return tuple(_seen(one) for one in self._copies.values())

    def _new(self, spec: CopySpec) -> _Copy:
        unwanted = threading.Event()
        tree = TreeCopy(bytes_max=spec.bytes_max, who=self._volumes.who, broken_off=unwanted)
        status = CopyStatus(copy_id=spec.copy_id, phase="copying")
        return _Copy(spec, status, tree, unwanted=unwanted)

    def _next(self) -> _Copy | None:
        return next((one for one in self._copies.values() if one.status.phase == "copying"), None)

    def _work(self) -> None:
        try:
            self._work_off()
        finally:
            with self._guard:
                self._works = False

    def _work_off(self) -> None:
        while True:
            with self._guard:
                copy = self._next()
                if copy is None:
                    self._works = False
                    return
            try:
                status = self._made(copy)
            except BrokenOff:
                continue
            except _Again:
                if copy.unwanted.wait(1.0):
                    continue
                self._put_off(copy)
                continue
            with self._guard:
                copy.status = status
            self._told()

    def _put_off(self, copy: _Copy) -> None:
        """Whatever else waits comes first: this one waits for its disk."""
        with self._guard:
            if self._copies.pop(copy.spec.copy_id, None) is copy:
                self._copies[copy.spec.copy_id] = self._new(copy.spec)

    def _made(self, copy: _Copy) -> CopyStatus:
        """How it ended.

        Raises:
            BrokenOff: nobody wants it any more.
            _Again: the disk does not let it be ended, neither well nor badly.
        """
        work = self._restored if copy.spec.restores else self._snapshot
        try:
            stamp = work(copy)
        except NotCopied as refused:
            return _failed(copy, refused.fault)
        except OSError as error:
            return _failed(copy, _fault_of(error))
        return CopyStatus(
            copy_id=copy.spec.copy_id,
            phase="whole",
            bytes_done=stamp["bytes"],
            bytes_total=stamp["bytes"],
            took_s=stamp["took_s"],
        )

    def _snapshot(self, copy: _Copy) -> dict[str, Any]:
        spec = copy.spec
        volume = self._volumes.folder / spec.target
        self._volumes.check_there()
        with self._volumes.copying_to(spec.target) as making:
            if is_named(volume):  # it was whole before we were killed
                return _stamp_in(volume, _STAMP, spec) or _stamp(spec, volume / "data", took_s=0.0)
            if copy.unwanted.is_set():
                raise BrokenOff
            _clear(making)
            with self._locked(self._volumes.laid(spec.source), writes=False, copy=copy), _cleared(making):
                making.mkdir(mode=0o700)
                stamp = self._copied(copy, making / "data")
                (making / "lock").touch(mode=0o600)
                write_durably(making / _STAMP, stamp)
                making.chmod(0o711)
                making.rename(volume)
            sync_folder(self._volumes.folder)
        return stamp

    def _restored(self, copy: _Copy) -> dict[str, Any]:
        spec = copy.spec
        source, volume = self._volumes.folder / spec.source, self._volumes.folder / spec.target
        if decided := self._decided(copy):
            return decided
        new = volume / ".new"
        with self._locked(volume, writes=True, copy=copy):
            with self._locked(source, writes=False, copy=copy), _cleared(new):
                _clear(new)
                stamp = self._copied(copy, new)
                _decide(volume, stamp)
            _finish(volume)
        return stamp

    def _decided(self, copy: _Copy) -> dict[str, Any] | None:
        """What was noted of a copy that we were killed over after there was no way back; it is brought to its end.

        Raises:
            _Again: the disk, or who uses the volume now, does not let it.
        """
        try:
            self._volumes.check_there()
            volume = self._volumes.laid(copy.spec.target)
            notes = (_stamp_in(volume, name, copy.spec) for name in (_STAMP, _SWAP))
            found = next((note for note in notes if note), None)
            if found:
                with self._locked(volume, writes=True, copy=copy):
                    _finish(volume)
        except (NotCopied, OSError) as error:
            raise _Again from error
        return found

    def _copied(self, copy: _Copy, target: Path) -> dict[str, Any]:
        """Copy the source's files to the new folder; what is to be remembered of it."""
        begun = time.monotonic()
        source = self._volumes.folder / copy.spec.source / "data"
        copy.total = _measured(source)
        if copy.total > copy.spec.bytes_max:
            raise NotCopied(CopyFault.TOO_LARGE)
        copy.tree.copy(source, target)
        return _stamp(copy.spec, target, took_s=time.monotonic() - begun)

    @contextmanager
    def _locked(self, volume: Path, *, writes: bool, copy: _Copy) -> Iterator[None]:
        """
        Raises:
            NotCopied: somebody else has it, and does not let go in time, or it is not there.
            BrokenOff: nobody wants the copy any more.
        """
        patience = time.monotonic() + _LOCK_S
        while (lock := _lock(volume, writes=writes)) is None:
            if time.monotonic() > patience:
                raise NotCopied(CopyFault.IN_USE)
            if copy.unwanted.wait(0.2):
                raise BrokenOff
        with ExitStack() as held:
            held.callback(os.close, lock)
            yield


def _seen(copy: _Copy) -> CopyStatus:
    if copy.status.phase != "copying":
        return copy.status
    return copy.status.model_copy(update={"bytes_done": copy.tree.bytes_done, "bytes_total": copy.total})


def _failed(copy: _Copy, fault: CopyFault) -> CopyStatus:
    return CopyStatus(copy_id=copy.spec.copy_id, phase="failed", fault=fault)


def _fault_of(error: OSError) -> CopyFault:
    if error.errno in _FULL:
        return CopyFault.FULL
    return CopyFault.CHANGED if error.errno == errno.ENOENT else CopyFault.DISK


def _lock(volume: Path, *, writes: bool) -> int | None:
    try:
        return held_lock(volume, writes=writes)
    except FileNotFoundError as error:
        raise NotCopied(CopyFault.DISK) from error


def _measured(folder: Path) -> int:
    found = folder_bytes(folder)
    if found is None:
        raise NotCopied(CopyFault.CLOSED)
    return found


def _stamp(spec: CopySpec, data: Path, *, took_s: float) -> dict[str, Any]:
    """What is noted of a copy beside it, so that it can be told after a restart."""
    return {"copy": spec.copy_id, "bytes": _measured(data), "took_s": math.ceil(1000 * took_s) / 1000}


def _stamp_in(volume: Path, name: str, spec: CopySpec) -> dict[str, Any] | None:
    """What was noted of this copy, if it came so far."""
    found = read_json_if_whole(volume / name)
    return found if isinstance(found, dict) and found.get("copy") == spec.copy_id else None


@contextmanager
def _cleared(half: Path) -> Iterator[None]:
    """What is not whole when this ends is thrown away.

    Raises:
        _Again: the disk does not give it up: it would take room that is sold to others.
    """
    try:
        yield
    except (NotCopied, BrokenOff, OSError) as error:
        try:
            _clear(half)
        except OSError:
            raise _Again from error
        raise


def _clear(folder: Path) -> None:
    remove_tree(folder)
    if is_named(folder):
        raise OSError(errno.EIO, os.strerror(errno.EIO))


def _decide(volume: Path, stamp: dict[str, Any]) -> None:
    """From here on there is no way back."""
    try:
        write_durably(volume / _SWAP, stamp)
    except OSError:
        (volume / _SWAP).unlink(missing_ok=True)
        raise


def _finish(volume: Path) -> None:
    """Put what was copied in the place of what was there; as often as it takes, whoever is killed when.

    Raises:
        _Again: the disk does not let it.
    """
    new, old, data = volume / ".new", volume / ".old", volume / "data"
    try:
        if is_named(new):
            if is_named(data):
                data.rename(old)
            new.rename(data)
            sync_folder(volume)
        if is_named(volume / _SWAP):
            (volume / _SWAP).rename(volume / _STAMP)
            sync_folder(volume)
        _clear(old)
    except OSError as error:
        raise _Again from error
