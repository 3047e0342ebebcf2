"""Small state on disk that is either the old or the new, whatever is killed when."""

import json
import os
import threading
from pathlib import Path
from typing import Any


def write_durably(path: Path, value: Any, *, to_disk: bool = True) -> None:
    """Replace `path` with `value` as JSON: written aside, flushed to the disk, renamed.

    Not `to_disk`: whole after a crash of ours, but maybe the old one after a crash of the machine.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.write(fd, json.dumps(value).encode())
        if to_disk:
            os.fsync(fd)
    finally:
        os.close(fd)
    draft.rename(path)
    if to_disk:
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def read_json(path: Path) -> Any:
    """What `path` holds; None if there is no such file."""
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
