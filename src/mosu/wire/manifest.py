"""Which files of a working folder go up, and under which paths.

`.gitignore` files are honoured as Git does: the deepest one that says anything about a path decides, and
nothing below an ignored folder comes back. `.git` never goes up.
"""

import hashlib
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pathspec import GitIgnoreSpec

from mosu.kernel.refusals import Invalid
from mosu.wire.paths import safe_relative_path
from mosu.wire.task import FileMount

FILES_MAX: Final = 10_000
BYTES_MAX: Final = 2 * 1024**3
_CHUNK_BYTES: Final = 1_048_576


class WorkdirRefused(Invalid):
    """The working folder holds something that cannot go up."""

    code = "workdir_refused"


@dataclass(frozen=True, slots=True)
class ManifestEntry:
    """One file as the hub will know it; `path` is relative and normal."""

    path: str
    sha256: str
    size_bytes: int
    executable: bool


@dataclass(frozen=True, slots=True)
class LocalFile:
    """An entry and where its bytes are on this machine."""

    entry: ManifestEntry
    source: Path


def files_of(
    workdir: Path | None,
    *,
    mounts: Sequence[FileMount] = (),
    base: Path = Path(),
    files_max: int = FILES_MAX,
    bytes_max: int = BYTES_MAX,
) -> tuple[LocalFile, ...]:
    """The files of `workdir` and of the mounts (their sources relative to `base`), by path, hashed.

    Raises:
        WorkdirRefused: something is missing, cannot be read or is neither file nor folder, a symbolic
            link leaves its folder or names a folder, two files claim one path, or a limit is passed.
        UnsafePath: a file's name cannot exist everywhere.
    """
    budget = _Budget(files_max=files_max, bytes_max=bytes_max)
    found: dict[str, LocalFile] = {}
    for target, source in _sources(workdir, mounts, base):
        for path, file in _walk(source, target):
            if path in found:
                raise WorkdirRefused(
                    f"{path} comes from two places: {found[path].source} and {file}.",
                    hint="Change the file_mounts.",
                    field="file_mounts",
                )
            found[path] = _local_file(path, file, budget)
    return tuple(found[path] for path in sorted(found))


def _sources(workdir: Path | None, mounts: Sequence[FileMount], base: Path) -> Iterator[tuple[str, Path]]:
    if workdir is not None:
        if not workdir.is_dir():
            raise WorkdirRefused(
                f"workdir {workdir} is no folder.", hint="Name an existing folder.", field="workdir"
            )
        yield "", workdir
    for mount in mounts:
        source = base / mount.source
        if not source.exists():
            raise WorkdirRefused(
                f"file_mounts: {mount.source} does not exist.",
                hint="Name a file or folder.",
                field="file_mounts",
            )
        yield mount.target, source


@dataclass(slots=True)
class _Budget:
    files_max: int
    bytes_max: int
    files: int = 0
    bytes: int = 0

    def take(self, size_bytes: int) -> None:
        self.files += 1
        self.bytes += size_bytes
        for count, count_max, unit in (
            (self.files, self.files_max, "files"),
            (self.bytes, self.bytes_max, "bytes"),
        ):
            if count > count_max:
                raise WorkdirRefused(
                    f"The working folder has more than {count_max} {unit}.",
                    hint="List what is not needed in .gitignore.",
                    field="workdir",
                    allowed=f"at most {count_max} {unit}",
                )


def _walk(root: Path, target: str) -> Iterator[tuple[str, Path]]:
    """Path and file of all below `root` that is not ignored; `root` itself, if it is a file."""
    if not root.is_dir():
        yield safe_relative_path(target), root
        return
    inside = root.resolve()
    pending: list[tuple[Path, tuple[_Ignore, ...]]] = [(root, ())]
    while pending:
        folder, ignores = pending.pop()
        ignores = (*ignores, *_ignore_in(folder))
        for item in _listed(folder):
            is_folder = item.is_dir(follow_symlinks=False)
            path = Path(item.path)
            if item.name == ".git" or _is_ignored(path, is_folder, ignores):
                continue
            if is_folder:
                pending.append((path, ignores))
            else:
                _check_kind(item, path, inside)
                relative = path.relative_to(root).as_posix()
                yield safe_relative_path(f"{target}/{relative}" if target else relative), path


def _listed(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as items:
            return sorted(items, key=lambda item: item.name)
    except OSError as error:
        raise _unreadable(folder, error) from error


def _unreadable(path: Path, error: OSError) -> WorkdirRefused:
    return WorkdirRefused(
        f"{path} cannot be read: {error.strerror}.",
        hint="Make it readable or list it in .gitignore.",
        field="workdir",
    )


@dataclass(frozen=True, slots=True)
class _Ignore:
    folder: Path
    spec: GitIgnoreSpec


def _ignore_in(folder: Path) -> tuple[_Ignore, ...]:
    file = folder / ".gitignore"
    if not file.is_file() or file.is_symlink():  # Git does not follow a linked .gitignore either
        return ()
    try:
        lines = file.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError as error:
        raise _unreadable(file, error) from error
    try:
        return (_Ignore(folder, GitIgnoreSpec.from_lines(lines)),)
    except ValueError as error:
        raise WorkdirRefused(
            f"{file} has a pattern that cannot be read: {error}.", hint="Mend the pattern.", field="workdir"
        ) from error


def _is_ignored(path: Path, is_folder: bool, ignores: tuple[_Ignore, ...]) -> bool:
    for ignore in reversed(ignores):
        relative = path.relative_to(ignore.folder).as_posix()
        decision = ignore.spec.check_file(f"{relative}/" if is_folder else relative).include
        if decision is not None:
            return decision
    return False


def _check_kind(item: os.DirEntry[str], path: Path, inside: Path) -> None:
    """Pass a regular file, or a link to one inside the folder (its bytes go up in its place)."""
    hint = "Replace it by a file, or list it in .gitignore."
    if not item.is_symlink():
        if not item.is_file(follow_symlinks=False):
            raise WorkdirRefused(f"{path} is neither a file nor a folder.", hint=hint, field="workdir")
        return
    try:
        destination = path.resolve(strict=True)
    except (OSError, RuntimeError) as error:
        raise WorkdirRefused(f"{path} is a link to nothing.", hint=hint, field="workdir") from error
    if not destination.is_relative_to(inside):
        raise WorkdirRefused(f"{path} is a link that leaves the working folder.", hint=hint, field="workdir")
    if not destination.is_file():
        raise WorkdirRefused(f"{path} is a link to something else than a file.", hint=hint, field="workdir")


def _local_file(path: str, file: Path, budget: _Budget) -> LocalFile:
    try:
        with file.open("rb") as stream:
            status = os.fstat(stream.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise WorkdirRefused(f"{file} is no file.", hint="Name a file or folder.", field="workdir")
            budget.take(status.st_size)
            digest, size_bytes = hashlib.sha256(), 0
            while chunk := stream.read(_CHUNK_BYTES):
                digest.update(chunk)
                size_bytes += len(chunk)
    except OSError as error:
        raise _unreadable(file, error) from error
    executable = bool(status.st_mode & stat.S_IXUSR)
    return LocalFile(ManifestEntry(path, digest.hexdigest(), size_bytes, executable), file)
