from collections.abc import Iterator

import pytest
from tests.client.fake_hub import FakeHub, running_hub


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with running_hub() as hub:
        yield hub
