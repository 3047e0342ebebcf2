"""Secrets of runs at rest: sealed with the hub's key, opened only into the spec that an agent leases."""

import json
from collections.abc import Mapping

from cryptography.fernet import Fernet
from django.conf import settings


def sealed(secrets: Mapping[str, str]) -> str:
    """The secrets as ciphertext; empty for none, so that a hub needs no key to run what has no secrets."""
    return _key().encrypt(json.dumps(dict(secrets)).encode()).decode() if secrets else ""


def opened(ciphertext: str) -> dict[str, str]:
    """The secrets of `sealed`."""
    if not ciphertext:
        return {}
    secrets: dict[str, str] = json.loads(_key().decrypt(ciphertext.encode()))
    return secrets


def _key() -> Fernet:
    return Fernet(settings.MOSU_ENCRYPTION_KEY)
