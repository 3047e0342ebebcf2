"""Asking another program of this machine."""

import os
import shutil
import subprocess
from typing import Final

_PATIENCE_S: Final = 10.0


def said_by(*argv: str) -> str | None:
    """What the program printed; None where it is not there, does not answer in time, or ends with an error."""
    if shutil.which(argv[0]) is None:
        return None
    try:
        done = subprocess.run(
            argv,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_PATIENCE_S,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "LC_ALL": "C"},
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
