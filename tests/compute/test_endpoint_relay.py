"""Endpoints: requests through a real relay to real servers behind an agent's tunnel."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from mosu.compute.models import Replica
from mosu.compute.stream_doors import in_thread
from tests.compute.asking import make_endpoint, program
from tests.compute.browsing import Relay, asgi_at, browsing, joined_to


@pytest.fixture
def relay(fresh_db: None, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Relay]:
    with browsing(settings, monkeypatch) as relay:
        yield relay


def test_a_program_with_a_key_is_answered(relay: Relay) -> None:
    endpoint = make_endpoint(relay)
    asker = program(relay, endpoint)

    async def tried() -> None:
        async with joined_to(relay, asgi_at) as agent:
            answer = await asker.ask("POST", "/v1/chat?x=1", content=b"hello")
            assert answer.status_code == 200, answer.text
            seen = answer.json()
            assert (seen["line"], seen["bytes"]) == ("POST /v1/chat?x=1 HTTP/1.1", 5)
            told = {name.lower(): value for name, value in seen["headers"]}
            assert told["host"] == asker.host.netloc and "authorization" not in told
            assert {target.port for target in agent.targets} == {8000}
            for _ in range(300):
                if (await in_thread(Replica.objects.get)).well_at is not None:
                    break
                await asyncio.sleep(0.02)
            else:
                raise AssertionError("it was not noted as well")

    asyncio.run(tried())
