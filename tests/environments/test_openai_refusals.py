"""What OpenAI's own client makes of an endpoint's refusals."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest

from mosu.compute.relay import endpoint_requests
from tests.compute.asking import Asker, asking, host_of, make_endpoint, program
from tests.compute.browsing import Relay
from tests.environments.test_model import CLIENT

pytestmark = pytest.mark.environments
ASKS = """
import json, sys, openai
url, host, key = sys.argv[1:]
client = openai.OpenAI(base_url=url, api_key=key, default_headers={"Host": host}, max_retries=0)
try:
    client.models.list()
except openai.APIStatusError as error:
    said = error.body["message"]
    print(json.dumps([type(error).__name__, error.status_code, error.type, error.code, said, said in str(error)]))
"""


@pytest.fixture
def relay(fresh_db: None, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Relay]:
    with asking(settings, monkeypatch) as relay:
        yield relay


async def told(asker: Asker, key: str) -> list[Any]:
    process = await asyncio.create_subprocess_exec(
        CLIENT, "-c", ASKS, f"http://127.0.0.1:{asker.relay.port}/v1", asker.host.netloc, key,
        stdout=asyncio.subprocess.PIPE, env={},
    )  # fmt: skip
    said, _ = await process.communicate()
    found: list[Any] = json.loads(said)
    return found


def test_it_shows_why(relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint_requests, "HELD_S_MAX", 0.1)
    endpoint = make_endpoint(relay, replicas=0)
    asker = program(relay, endpoint)
    key = asker.headers["Authorization"].removeprefix("Bearer ")

    async def tried() -> None:
        assert await told(Asker(relay, host_of(endpoint), {}), "sk-of-nobody") == [
            "AuthenticationError", 401, "invalid_request_error", "unauthenticated",
            "This endpoint needs a key of its own. Send it as Authorization: Bearer sk-mosu-...", True,
        ]  # fmt: skip
        assert await told(asker, key) == [
            "InternalServerError", 503, "server_error", "none_answers",
            "Nothing answers at this endpoint now. Try again in a minute; its owner sees its log.", True,
        ]  # fmt: skip

    asyncio.run(tried())
