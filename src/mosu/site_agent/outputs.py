"""Files in and out of a working folder that untrusted code has had its hands on."""

import hashlib
import os
import re
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final, NamedTuple

from mosu.kernel.refusals import Invalid
from mosu.wire.agent import InputFile
from mosu.wire.paths import PATH_BYTES_MAX, fault_of_path

FILES_MAX: Final = 10_000
_CHUNK_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Found:
    """A regular file below the working folder; `path` is relative to it."""

    path: str
    sha256: str
    size_bytes: int


class Collected(NamedTuple):
    """What the globs name, and how much of it has a name that cannot cross the wire."""

    files: list[Found]
    unnameable: int


def lay_inputs(work: Path, files: Sequence[InputFile], *, fetch: Callable[[str, Path], None]) -> None:
    """Write each input below `work`, checked against its sha256; those already there are kept.

    `fetch` writes the bytes with a sha256 to a path.

    Raises:
        Invalid: a path leaves the folder, two collide, or the bytes are not what was promised.
    """
    for file in files:
        target = work / _safe(file.path)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise _refused(file.path, "a part of its path is a file") from error
        if target.is_file() and target.stat().st_size == file.size_bytes and _sha256(target) == file.sha256:
            continue
        _lay(work, target, file, fetch)


def collect(work: Path, globs: Sequence[str]) -> Collected:
    """The regular files that a glob names (a folder's name takes all in it), hashed, sorted by path.

    Symbolic links are neither followed nor taken, so nothing from outside the folder comes back. A file whose
    name the hub would refuse is counted and left out: the job chose it, and it may not keep the rest back.

    Raises:
        Invalid: there are more than 10,000.
    """
    patterns = [_pattern(glob) for glob in globs]
    named = [
        (path, size)
        for path, size in sorted(_regular_files(work))
        if any(pattern.fullmatch(path) for pattern in patterns)
    ]
    files = [(path, size) for path, size in named if fault_of_path(path) is None]
    if len(files) > FILES_MAX:
        raise Invalid(
            f"{len(files)} output files are more than {FILES_MAX}.",
            hint="Pack them into an archive in the task.",
            found=len(files),
        )
    return Collected(
        [Found(path, _sha256(work / path), size) for path, size in files], len(named) - len(files)
    )


def read_chunks(path: Path) -> Iterator[bytes]:
    """The bytes of a regular file; a link in its place is an error (OSError), not followed."""
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk


def _safe(path: str) -> PurePosixPath:
    pure = PurePosixPath(path)
    if (
        not path
        or "\0" in path
        or pure.is_absolute()
        or ".." in pure.parts
        or str(pure) != path
        or path == "."
    ):
        raise _refused(path, "it must be relative, normalised and stay in the folder")
    return pure


def _refused(path: str, why: str) -> Invalid:
    return Invalid(
        f"The input {path[:200]!r} cannot be laid: {why}.",
        hint="Send paths relative to the working folder.",
        field="workdir",
        found=path[:200],
    )


def _lay(work: Path, target: Path, file: InputFile, fetch: Callable[[str, Path], None]) -> None:
    # Beside the folder, not in it: no input's own name can be the draft of another.
    draft = work.with_name(f"{work.name}.draft")
    try:
        fetch(file.sha256, draft)
        if draft.stat().st_size != file.size_bytes or _sha256(draft) != file.sha256:
            raise _refused(file.path, "its bytes are not those that were promised")
        draft.chmod(0o755 if file.executable else 0o644)
        draft.rename(target)
    finally:
        draft.unlink(missing_ok=True)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    for chunk in read_chunks(path):
        digest.update(chunk)
    return digest.hexdigest()


def _regular_files(work: Path) -> Iterator[tuple[str, int]]:
    """Folders deeper than a path may be long are not entered: nothing in them can be named."""
    todo = [""]
    while todo:
        folder = todo.pop()
        with os.scandir(work / folder) as entries:
            for entry in entries:
                path = f"{folder}{entry.name}"
                facts = entry.stat(follow_symlinks=False)
                if stat.S_ISREG(facts.st_mode):
                    yield path, facts.st_size
                elif stat.S_ISDIR(facts.st_mode) and len(os.fsencode(path)) < PATH_BYTES_MAX:
                    todo.append(f"{path}/")


def _pattern(glob: str) -> re.Pattern[str]:
    """`*` and `?` stay within a folder, `**` does not; a match takes what is below it too."""
    parts = []
    for piece in re.split(r"(\*\*/|\*\*|\*|\?)", glob.strip().removeprefix("./").rstrip("/")):
        parts.append({"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}.get(piece, re.escape(piece)))
    return re.compile("".join(parts) + "(?:/.*)?", re.DOTALL)
