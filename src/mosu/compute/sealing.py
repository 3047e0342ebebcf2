"""Secrets of runs at rest: sealed with the hub's key, opened only into the spec that an agent leases."""

import json
from collections.abc import Mapping

from mosu.platform.secrets import seal, unseal


def sealed(secrets: Mapping[str, str]) -> str:
    """The secrets as ciphertext; empty for none, so that what has no secrets needs no key."""
    return seal(json.dumps(dict(secrets))).decode() if secrets else ""


def opened(ciphertext: str) -> dict[str, str]:
    """The secrets of `sealed`."""
    if not ciphertext:
        return {}
    secrets: dict[str, str] = json.loads(unseal(ciphertext.encode()))
    return secrets
