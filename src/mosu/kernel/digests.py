"""One way to hash a structure, so that a digest can be recomputed by anyone."""

import hashlib
import json
from typing import Any


def canonical(value: Any) -> bytes:
    """JSON with sorted keys, no spaces, UTF-8. Only str, int, bool, None, list, tuple and dict are taken.

    Raises:
        TypeError: something else is inside; floats too, since their text is not unique.
    """
    _check(value)
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def sha256_of(value: Any) -> str:
    """The sha256, in hex, of the canonical form."""
    return hashlib.sha256(canonical(value)).hexdigest()


def _check(value: Any) -> None:
    if isinstance(value, dict):
        for key, inner in value.items():
            if not isinstance(key, str):
                raise TypeError(f"a key must be a string, not {type(key).__name__}")
            _check(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            _check(inner)
    elif value is not None and not isinstance(value, str | int | bool):
        raise TypeError(f"{type(value).__name__} has no canonical form")
