from collections.abc import Iterator
from typing import Any

import pytest
from cryptography.fernet import Fernet

from tests.images.registry import Registry, registry
from tests.site_agent.fixtures import environment, folder, lab, shelf

__all__ = ["environment", "folder", "lab", "shelf"]


@pytest.fixture
def shop(monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    """A registry that is trusted here."""
    monkeypatch.setenv("SSL_CERT_FILE", str(registry().certificate))
    yield registry()


@pytest.fixture
def hub_keys(settings: Any) -> None:
    """Those of sessions follow from the hub's."""
    settings.MOSU_ENCRYPTION_KEY = Fernet.generate_key().decode()
