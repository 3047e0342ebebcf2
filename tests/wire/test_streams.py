"""Streams of two sides that are joined in memory: nothing is lost, mixed, or held beyond a window."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.wire.ends import Reading, Wire

from mosu.kernel.ids import typeid, uuid7
from mosu.wire.streams import Broken, Refused, Stream, Streams
from mosu.wire.tunnel import (
    CHUNK_BYTES,
    WINDOW_BYTES,
    FrameKind,
    Garbled,
    Target,
    frame_of,
    packed,
    packed_credit,
)
from mosu.wire.websocket import Bytes

TARGET = Target(attempt_id=typeid("attempt", uuid7()), port=8000)


class Pair:
    """A relay's and an agent's side, and what the relay has opened at the agent."""

    def __init__(self, answer: Callable[["Pair", Stream], Awaitable[None]] | None = None) -> None:
        self.at_agent: list[Reading] = []
        self.targets: list[Target] = []
        self._answer = answer or Pair.accepted
        self._tasks: list[asyncio.Task[None]] = []
        self.to_agent, to_relay = Wire(), Wire()
        self.relay, self.agent = Streams(self.to_agent), Streams(to_relay, asked=self._asked)
        self.to_agent.take, to_relay.take = self.agent.take, self.relay.take

    async def accepted(self, stream: Stream) -> None:
        self.at_agent.append(Reading(stream))
        self.agent.accept(stream)

    def _asked(self, stream: Stream, target: Target) -> None:
        self.targets.append(target)
        self._tasks.append(asyncio.create_task(self._answer(self, stream)))

    async def opened(self) -> tuple[Reading, Reading]:
        here = Reading(await self.relay.open(TARGET))
        return here, self.at_agent[-1]


class Full:
    """An end that can take nothing."""

    is_full = True

    def give(self, data: Bytes) -> None: ...
    def give_end(self) -> None: ...
    def hold(self) -> None: ...
    def go_on(self) -> None: ...
    def ended(self) -> None: ...
    def broken(self, why: str) -> None: ...


async def sent(end: Reading, data: bytes) -> None:
    await end.write(data)
    end.stream.end()


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 3 * WINDOW_BYTES), st.integers(0, 3 * WINDOW_BYTES)), min_size=1, max_size=5
    )
)
def test_what_goes_in_comes_out_of_its_own_stream(sizes: list[tuple[int, int]]) -> None:
    async def both_ways(pair: Pair, size_there: int, size_back: int, mark: int) -> None:
        here, there = await pair.opened()
        one, other = here.stream, there.stream
        assert one.number == other.number
        way_there, way_back = bytes([mark]) * size_there, bytes([mark + 100]) * size_back
        came_back, came_there, _, _ = await asyncio.gather(
            here.everything(), there.everything(), sent(here, way_there), sent(there, way_back)
        )
        assert came_there == way_there
        assert came_back == way_back
        assert (one.bytes_out, one.bytes_in) == (size_there, size_back) == (other.bytes_in, other.bytes_out)

    async def all_at_once() -> None:
        pair = Pair()
        for mark, size in enumerate(sizes):
            await both_ways(pair, *size, mark)
        await asyncio.gather(*(both_ways(Pair(), *size, mark) for mark, size in enumerate(sizes)))
        assert len(pair.relay) == len(pair.agent) == 0

    asyncio.run(all_at_once())


def test_a_writer_waits_for_who_does_not_read_and_holds_no_other() -> None:
    async def tried() -> None:
        pair = Pair()
        slow, slow_there = await pair.opened()
        writing = asyncio.create_task(sent(slow, b"x" * (WINDOW_BYTES + 5)))
        quick, quick_there = await pair.opened()
        await sent(quick, b"y" * (2 * CHUNK_BYTES))
        assert await quick_there.everything() == b"y" * (2 * CHUNK_BYTES)
        while slow_there.stream.bytes_in < WINDOW_BYTES:
            await asyncio.sleep(0)
        for _ in range(100):
            await asyncio.sleep(0)
        assert not writing.done()
        assert slow_there.stream.bytes_in == WINDOW_BYTES
        assert await slow_there.everything() == b"x" * (WINDOW_BYTES + 5)
        await writing

    asyncio.run(tried())


@pytest.mark.parametrize("share", [1, 4])
def test_a_small_part_of_what_was_read_keeps_none_of_the_rest(share: int) -> None:
    """Else a window of such parts would hold many times its size."""
    frame = packed(FrameKind.DATA, 1, b"x" * CHUNK_BYTES)

    async def tried() -> None:
        pair = Pair()
        here, _ = await pair.opened()
        read = bytearray(frame * share)
        here.stream.join(Full())
        pair.relay.take(memoryview(read)[: len(frame)])
        if share == 1:
            with pytest.raises(BufferError):  # it is kept as it is
                read.clear()
        else:
            read.clear()

    asyncio.run(tried())


def test_one_way_ends_and_the_other_goes_on() -> None:
    async def tried() -> None:
        here, there = await Pair().opened()
        here.stream.end()
        assert not await there.read()
        await there.write(b"still")
        assert bytes(await here.read()) == b"still"

    asyncio.run(tried())


def test_a_reset_is_heard_and_says_why() -> None:
    async def tried() -> None:
        pair = Pair()
        here, there = await pair.opened()
        reading = asyncio.create_task(there.read())
        await asyncio.sleep(0)
        here.stream.reset("its allocation ended")
        with pytest.raises(Broken, match="its allocation ended"):
            await reading
        for end in (here, there):
            with pytest.raises(Broken, match="its allocation ended"):
                await end.write(b"x")
        assert len(pair.relay) == len(pair.agent) == 0
        pair.relay.take(packed(FrameKind.DATA, here.stream.number, b"on its way"))  # passed over

    asyncio.run(tried())


def test_what_is_refused_never_was() -> None:
    async def refused(pair: Pair, stream: Stream) -> None:
        pair.agent.refuse(stream, "nobody listens on port 8000\n")

    async def tried() -> None:
        pair = Pair(refused)
        with pytest.raises(Refused, match=r"^nobody listens on port 8000 $"):
            await pair.relay.open(TARGET)
        assert pair.targets == [TARGET]
        assert len(pair.relay) == len(pair.agent) == 0

    asyncio.run(tried())


def test_who_gives_up_waiting_leaves_nothing_behind() -> None:
    async def late(pair: Pair, stream: Stream) -> None:
        await asyncio.sleep(0.05)
        await Pair.accepted(pair, stream)

    async def tried() -> None:
        pair = Pair(late)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(pair.relay.open(TARGET), 0.01)
        await asyncio.gather(*pair._tasks)
        assert len(pair.relay) == len(pair.agent) == 0
        with pytest.raises(Broken):
            await pair.at_agent[0].read()

    asyncio.run(tried())


def test_a_tunnel_that_is_gone_breaks_all_its_streams() -> None:
    async def never(pair: Pair, stream: Stream) -> None:
        await asyncio.sleep(0)

    async def tried() -> None:
        pair = Pair()
        here, _ = await pair.opened()
        reading = asyncio.create_task(here.read())
        pair._answer = never
        opening = asyncio.create_task(pair.relay.open(TARGET))
        await asyncio.sleep(0.01)
        pair.relay.close("the agent is away")
        for waits in (reading, opening):
            with pytest.raises(Broken, match="the agent is away"):
                await waits
        with pytest.raises(Broken, match="the agent is away"):
            await pair.relay.open(TARGET)
        assert len(pair.relay) == 0

    asyncio.run(tried())


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\x04\x00\x00",
        b"\x09\x00\x00\x00\x01",
        b"\x04\x00\x00\x00\x01" + b"x" * (CHUNK_BYTES + 1),
        packed(FrameKind.CREDIT, 1, b"\x00"),
        packed_credit(1, 1),
        packed(FrameKind.OPEN, 7, TARGET.model_dump_json().encode()),
    ],
    ids=["empty", "short", "kind", "long", "credit", "more credit than the window", "opens at the relay"],
)
def test_who_breaks_the_protocol_is_not_heard_further(message: bytes) -> None:
    async def tried() -> None:
        pair = Pair()
        await pair.opened()
        with pytest.raises(Garbled):
            pair.relay.take(message)

    asyncio.run(tried())


def test_more_than_the_window_and_more_after_the_end_break_the_protocol() -> None:
    async def tried() -> None:
        pair = Pair()
        here, _ = await pair.opened()
        chunk = packed(FrameKind.DATA, here.stream.number, b"x" * CHUNK_BYTES)
        for _ in range(WINDOW_BYTES // CHUNK_BYTES):
            pair.relay.take(chunk)
        with pytest.raises(Garbled):
            pair.relay.take(packed(FrameKind.DATA, here.stream.number, b"x"))
        other, _ = await pair.opened()
        pair.relay.take(packed(FrameKind.END, other.stream.number))
        with pytest.raises(Garbled):
            pair.relay.take(packed(FrameKind.DATA, other.stream.number, b"x"))

    asyncio.run(tried())


def test_a_window_of_single_bytes_takes_no_more_than_a_window() -> None:
    async def tried() -> None:
        pair = Pair()
        here = await pair.relay.open(TARGET)
        for _ in range(100_000):
            here.take(frame_of(packed(FrameKind.DATA, here.number, b"xxx")))
        assert len(here._arrived._parts) <= 2
        assert CHUNK_BYTES - 3 < len(await Reading(here).read()) <= CHUNK_BYTES

    asyncio.run(tried())


def test_who_waits_for_room_takes_turns_of_a_chunk() -> None:
    class Narrow:
        """Has room for one message at a time."""

        def __init__(self) -> None:
            self.is_full, self.messages = False, list[bytes]()

        def put(self, *parts: Bytes) -> None:
            self.messages.append(b"".join(parts))
            self.is_full = True

    async def tried() -> None:
        way = Narrow()
        streams = Streams(way)
        held = []
        for number in range(1, 5):
            opening = asyncio.create_task(streams.open(TARGET))
            await asyncio.sleep(0)
            streams.take(packed(FrameKind.OPENED, number))
            held.append(Reading(await opening))
        writing = [asyncio.create_task(end.write(bytes(3 * CHUNK_BYTES))) for end in held]
        await asyncio.sleep(0)
        way.messages.clear()
        for turns in range(1, 13):
            way.is_full = False
            streams.has_room()
            assert len(way.messages) == turns
        sent = [frame_of(message) for message in way.messages]
        assert [frame.stream for frame in sent] == [1, 2, 3, 4] * 3
        assert all(len(frame.body) == CHUNK_BYTES for frame in sent)
        await asyncio.gather(*writing)
        way.is_full = False
        streams.has_room()
        assert len(way.messages) == 12

    asyncio.run(tried())


def test_crumbs_that_wait_leave_as_one() -> None:
    async def tried() -> None:
        pair = Pair()
        here, there = await pair.opened()
        pair.to_agent.is_full = True
        for _ in range(1000):
            here.stream.send(b"x")
        assert not pair.to_agent.messages
        pair.to_agent.is_full = False
        pair.relay.has_room()
        assert len(pair.to_agent.messages) == 1
        assert await there.read() == b"x" * 1000

    asyncio.run(tried())


def test_words_of_the_other_side_are_cut_and_cleaned() -> None:
    said = frame_of(packed(FrameKind.RESET, 1, b"\x1b[31mno\n" + b"\xff" * 3000)).words
    assert said.isprintable() and len(said) == 500
