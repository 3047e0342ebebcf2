"""A copy of a folder that untrusted code has filled: no link is followed, no byte is shared that either may write."""

import ctypes
import errno
import fcntl
import os
import stat
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Final

from mosu.sandbox.starter import RunAs
from mosu.sandbox.watch import ENTRY_BYTES
from mosu.wire.agent import CopyFault

_FICLONE: Final = 0x40049409
_PIECE_BYTES: Final = 8 << 20
_DEPTH_MAX: Final = 128
"""Each level is open three times."""
_REST_FROM_S: Final = 0.02
_NOT_HERE: Final = frozenset({errno.EOPNOTSUPP, errno.ENOTTY, errno.EXDEV, errno.EINVAL, errno.ENOSYS})
_RIGHTS: Final = 0o777
"""No rights of a file's own: it is copied without set-user-id and set-group-id."""


class NotCopied(Exception):
    """The copy cannot be made; what there is of it is worth nothing."""

    def __init__(self, fault: CopyFault) -> None:
        super().__init__(fault.value)
        self.fault = fault


class BrokenOff(Exception):
    """Nobody wants it any more."""


@dataclass(slots=True)
class TreeCopy:
    """Copies one tree. At most half of the time the disk is at work for it: what runs beside it comes first.

    Files share their blocks where the file system does that (FICLONE), until one of them is written; elsewhere bytes
    are copied, holes left out. Several names of one file become several files, as their sizes were counted. Devices,
    pipes and sockets are left out.
    """

    bytes_max: int
    who: RunAs
    broken_off: Event
    bytes_done: int = 0
    _clones: bool = True
    _worked_from: float = field(default_factory=time.monotonic)

    def copy(self, source: Path, target: Path) -> None:
        """Fill the new folder `target`; it is on the disk when this returns.

        Raises:
            NotCopied: something changed meanwhile, is too large, too deep, or closed.
            BrokenOff: it was asked to end.
            OSError: the disk is full, or fails.
        """
        target.mkdir(mode=0o700)
        with ExitStack() as opened:
            pair = self._opened(opened, _AT, str(source), _AT, str(target))
            self._copy_folders(pair)
            sync_file_system(pair.target)

    def _copy_folders(self, top: "_Pair") -> None:
        todo = [_level(top, ExitStack())]
        try:
            while todo:
                level = todo[-1]
                entry = next(level.entries, None)
                if entry is None:
                    self._finish_folder(level.pair)
                    todo.pop().opened.close()
                elif entry.is_dir(follow_symlinks=False):
                    if len(todo) == _DEPTH_MAX:
                        raise NotCopied(CopyFault.CLOSED)
                    self._count(0)
                    os.mkdir(entry.name, 0o700, dir_fd=level.pair.target)
                    todo.append(self._entered(level.pair, entry.name))
                else:
                    self._copy_entry(entry, level.pair)
        finally:
            for level in reversed(todo):
                level.opened.close()

    def _entered(self, above: "_Pair", name: str) -> "_Level":
        with ExitStack() as opened:
            pair = self._opened(opened, above.source, name, above.target, name)
            return _level(pair, opened.pop_all())

    def _opened(self, opened: ExitStack, source_at: int, source: str, target_at: int, target: str) -> "_Pair":
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        source_fd = _open(source, flags, dir_fd=source_at)
        opened.callback(os.close, source_fd)
        target_fd = os.open(target, flags, dir_fd=target_at if target_at != _AT else None)
        opened.callback(os.close, target_fd)
        return _Pair(source_fd, target_fd, os.fstat(source_fd))

    def _finish_folder(self, pair: "_Pair") -> None:
        if _stamp(os.fstat(pair.source)) != _stamp(pair.facts):
            raise NotCopied(CopyFault.CHANGED)
        self._give(pair.target, pair.facts)

    def _copy_entry(self, entry: "os.DirEntry[str]", pair: "_Pair") -> None:
        facts = entry.stat(follow_symlinks=False)
        if stat.S_ISREG(facts.st_mode):
            self._copy_file(entry.name, pair)
        elif stat.S_ISLNK(facts.st_mode):
            self._count(0)
            os.symlink(os.readlink(entry.name, dir_fd=pair.source), entry.name, dir_fd=pair.target)
            if self.who.switches:
                os.chown(entry.name, self.who.uid, self.who.gid, dir_fd=pair.target, follow_symlinks=False)

    def _copy_file(self, name: str, pair: "_Pair") -> None:
        # Not blocking: what was a file a moment ago may be a pipe.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        with ExitStack() as opened:
            source = _open(name, flags, dir_fd=pair.source)
            opened.callback(os.close, source)
            facts = os.fstat(source)
            if not stat.S_ISREG(facts.st_mode):
                raise NotCopied(CopyFault.CHANGED)
            made = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            target = os.open(name, made, 0o600, dir_fd=pair.target)
            opened.callback(os.close, target)
            self._count(0)
            if not self._cloned(source, target, facts):
                self._copy_bytes(source, target, facts.st_size)
            if _stamp(os.fstat(source)) != _stamp(facts):
                raise NotCopied(CopyFault.CHANGED)
            self._give(target, facts)

    def _cloned(self, source: int, target: int, facts: os.stat_result) -> bool:
        if not self._clones or not facts.st_size:
            return False
        try:
            fcntl.ioctl(target, _FICLONE, source)
        except OSError as error:
            if error.errno not in _NOT_HERE:
                raise
            self._clones = False
            return False
        self._count(min(facts.st_size, facts.st_blocks * 512))
        return True

    def _copy_bytes(self, source: int, target: int, size: int) -> None:
        for start, end in _written_parts(source, size):
            os.lseek(source, start, os.SEEK_SET)
            os.lseek(target, start, os.SEEK_SET)
            left = end - start
            while left:
                done = _copied_piece(source, target, min(_PIECE_BYTES, left))
                if not done:
                    raise NotCopied(CopyFault.CHANGED)
                left -= done
                self._count(done)
        os.ftruncate(target, size)

    def _give(self, target: int, facts: os.stat_result) -> None:
        if self.who.switches:
            os.fchown(target, self.who.uid, self.who.gid)
        os.fchmod(target, facts.st_mode & _RIGHTS)
        os.utime(target, ns=(facts.st_atime_ns, facts.st_mtime_ns))

    def _count(self, done: int) -> None:
        """Note what was copied, end what is too large or not wanted, and rest for as long as was worked."""
        self.bytes_done += done or ENTRY_BYTES
        if self.bytes_done > self.bytes_max:
            raise NotCopied(CopyFault.TOO_LARGE)
        worked_s = time.monotonic() - self._worked_from
        if self.broken_off.is_set() or (worked_s > _REST_FROM_S and self.broken_off.wait(worked_s)):
            raise BrokenOff
        if worked_s > _REST_FROM_S:
            self._worked_from = time.monotonic()


@dataclass(frozen=True, slots=True)
class _Pair:
    """One folder, open at both ends, as it was when it was opened."""

    source: int
    target: int
    facts: os.stat_result


@dataclass(frozen=True, slots=True)
class _Level:
    pair: _Pair
    entries: "Iterator[os.DirEntry[str]]"
    opened: ExitStack


def _level(pair: _Pair, opened: ExitStack) -> _Level:
    """`opened` is what is closed once its last entry was copied."""
    return _Level(pair, opened.enter_context(os.scandir(pair.source)), opened)


_AT: Final = -1
"""No folder: the path is whole."""


def _open(path: str, flags: int, *, dir_fd: int) -> int:
    try:
        return os.open(path, flags, dir_fd=dir_fd if dir_fd != _AT else None)
    except OSError as error:
        if error.errno == errno.EACCES:
            raise NotCopied(CopyFault.CLOSED) from error
        if error.errno in {errno.ENOENT, errno.ELOOP, errno.ENOTDIR, errno.ENXIO}:
            raise NotCopied(CopyFault.CHANGED) from error
        raise


def _stamp(facts: os.stat_result) -> tuple[int, ...]:
    return facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns


def _written_parts(fd: int, size: int) -> "Iterator[tuple[int, int]]":
    """Where the file has bytes; a file system that does not know its holes has one part."""
    end = 0
    while end < size:
        try:
            start = os.lseek(fd, end, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # nothing but a hole is left
                return
            raise
        end = min(size, os.lseek(fd, start, os.SEEK_HOLE))
        yield start, end


def _copied_piece(source: int, target: int, count: int) -> int:
    try:
        return os.copy_file_range(source, target, count)
    except OSError as error:
        if error.errno not in _NOT_HERE:
            raise
        return os.sendfile(target, source, None, count)


def sync_file_system(fd: int) -> None:
    """Bring all that the file system of `fd` has still to write to the disk: one call for a million files.

    Raises:
        OSError: it could not be written.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syncfs(fd):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
