"""Why a command ended early, as one message and an exit code."""

import errno
from pathlib import Path
from typing import Final

from mosu.kernel.refusals import DomainError

USAGE: Final = 2
REFUSED: Final = 3
NO_HUB: Final = 4

_THE_FILES_OWN: Final = frozenset(
    {
        errno.EACCES,
        errno.EPERM,
        errno.EROFS,
        errno.ENOSPC,
        errno.EDQUOT,
        errno.ENOTDIR,
        errno.EISDIR,
        errno.EEXIST,
    }
)
"""What a folder or a disk that the caller named may answer; none of it is a bug of mosu."""


class Stop(Exception):
    """The command ends here. `message` says what and why, `hint` what to do next."""

    def __init__(self, message: str, *, hint: str = "", code: int = REFUSED) -> None:
        super().__init__(message)
        self.message, self.hint, self.code = message, hint, code

    def text(self) -> str:
        from mosu.cli.text import clean, told

        hint = "".join(f"  {line}\n" for line in told(self.hint).splitlines() if line.strip())
        return clean(f"{told('error: ')}{told(self.message)}\n{hint}")


def check_folder_of(file: Path) -> None:
    """Before anything is asked for or reckoned: there is a folder to write the file into.

    Raises:
        Stop: there is none.
    """
    if not file.absolute().parent.is_dir():
        raise Stop(f"There is no folder {file.parent}.", hint="Make it first.", code=USAGE)


def stop_of(error: Exception) -> Stop | None:
    """The stop that an error means; None for a bug, which must show its traceback."""
    if isinstance(error, Stop):
        return error
    if isinstance(error, DomainError):
        return Stop(error.message, hint=error.hint)
    if (
        isinstance(error, OSError)
        and isinstance(error.filename, str | Path)
        and error.errno in _THE_FILES_OWN
    ):
        return Stop(f"{error.filename}: {error.strerror}.", hint="Name a place that you may use.", code=USAGE)
    from mosu.client.errors import BrokenAnswer, ClientError, NotSignedIn, Unreachable

    if isinstance(error, ClientError):
        if isinstance(error, NotSignedIn):
            code = USAGE
        else:
            code = NO_HUB if isinstance(error, Unreachable | BrokenAnswer) else REFUSED
        return Stop(error.message, hint=error.hint, code=code)
    return None
