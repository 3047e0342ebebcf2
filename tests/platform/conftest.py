"""The hub's key for secrets at rest, for tests."""

from typing import Any

import pytest
from cryptography.fernet import Fernet

from mosu.platform.services import events


@pytest.fixture(autouse=True)
def _encryption_key(settings: Any) -> None:
    settings.MOSU_ENCRYPTION_KEY = Fernet.generate_key().decode()


@pytest.fixture
def subscribers(monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, events.Handler]]:
    """No subscribers but the test's own."""
    own: dict[str, dict[str, events.Handler]] = {}
    monkeypatch.setattr(events, "_subscribers", own)
    return own
