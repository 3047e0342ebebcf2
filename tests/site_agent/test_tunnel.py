"""The agent's end of a tunnel, joined in memory with a relay's streams."""

import asyncio
import socket
import threading

import pytest
import structlog
from tests.wire.ends import Wire

from mosu.kernel.ids import typeid, uuid7
from mosu.site_agent.tunnel import DIALS_MAX, Tunnel, is_as_safe
from mosu.wire.streams import Stream, Streams
from mosu.wire.tunnel import Target

SLOW, QUICK = (Target(attempt_id=typeid("attempt", uuid7()), port=8000) for _ in range(2))


class Pair:
    """A relay whose agent's engine takes its time for `SLOW`, until `go` is set."""

    def __init__(self) -> None:
        self.go, self.asked, self._doors = threading.Event(), list[str](), list[socket.socket]()
        self._tunnel = Tunnel(
            "ws://hub", "", join=self._dial, wanted=lambda: True, log=structlog.get_logger()
        )
        to_agent, to_relay = Wire(), Wire()
        self.relay, self._agent = Streams(to_agent), Streams(to_relay, asked=self._begin)
        to_agent.take, to_relay.take = self._agent.take, self.relay.take

    async def close(self) -> None:
        self._agent.close("over")
        await asyncio.sleep(0)
        for door in self._doors:
            door.close()

    def _begin(self, stream: Stream, target: Target) -> None:
        self._tunnel._begin(self._agent, stream, target)

    def _dial(self, attempt_id: str, port: int) -> socket.socket:
        self.asked.append(attempt_id)
        if attempt_id == SLOW.attempt_id:
            self.go.wait(5)
        here, there = socket.socketpair()
        self._doors.append(there)
        return here


def test_a_task_that_answers_nobody_keeps_nobody_else_waiting() -> None:
    async def tried() -> None:
        pair = Pair()
        waiting = [asyncio.create_task(pair.relay.open(SLOW)) for _ in range(40)]
        await asyncio.sleep(0.1)
        try:
            async with asyncio.timeout(2):
                await pair.relay.open(QUICK)
            assert pair.asked.count(SLOW.attempt_id) == DIALS_MAX
            for task in waiting:  # nobody waits any more: nobody is asked
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
        finally:
            pair.go.set()
        await asyncio.sleep(0.2)
        assert pair.asked.count(SLOW.attempt_id) == DIALS_MAX
        await pair.close()

    asyncio.run(tried())


@pytest.mark.parametrize(
    ("url", "hub_url", "safe"),
    [
        ("wss://hub/agent/v1/tunnel", "https://hub", True),
        ("ws://hub/agent/v1/tunnel", "https://hub", False),
        ("ws://hub/agent/v1/tunnel", "HTTPS://hub", False),
        ("ws://127.0.0.1:8001/agent/v1/tunnel", "http://127.0.0.1:8000", True),
        ("http://hub/agent/v1/tunnel", "http://hub", False),
        ("wss://somebody@hub/agent/v1/tunnel", "https://hub", False),
        ("wss:///agent/v1/tunnel", "https://hub", False),
    ],
)
def test_the_token_goes_nowhere_less_safe_than_the_hub(url: str, hub_url: str, safe: bool) -> None:
    assert is_as_safe(url, hub_url=hub_url) is safe
