"""A way beside the library's own WebSocket: what the one says, the other understands, however it is cut."""

import asyncio
import random
import socket
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode
from websockets.protocol import CLIENT, OPEN, SERVER, Protocol
from websockets.utils import apply_mask

from mosu.wire.websocket import MESSAGE_BYTES_MAX, Bytes, Way

PING = b"\x89\x04ping"


class Transport:
    """What a way asks of one. `room` is what it takes before it is full."""

    def __init__(self, room: int = 1 << 40) -> None:
        self.written, self.waits, self.room = bytearray(), 0, room
        self.writes = 0
        self.is_paused = self.is_over = False

    def write(self, data: Bytes) -> None:
        self.writes += 1
        self.written += data
        if len(self.written) > self.room:
            self.waits = len(self.written) - self.room

    def get_write_buffer_size(self) -> int:
        return self.waits

    def get_extra_info(self, name: str) -> object:
        return name == "sslcontext"  # so all that is sent comes here

    def is_closing(self) -> bool:
        return self.is_over

    def pause_reading(self) -> None:
        self.is_paused = True

    def resume_reading(self) -> None:
        self.is_paused = False

    def abort(self) -> None:
        self.is_over = True


class Library(asyncio.Protocol):
    """Where what is no whole binary message goes."""

    def __init__(self) -> None:
        self.left_to_it = bytearray()

    def data_received(self, data: bytes) -> None:
        self.left_to_it += data


class Side(Way, Library):
    """One end, and who listens to it."""

    def __init__(self, *, masks: bool, room: int = 1 << 40, holds_after: int = 1 << 40) -> None:
        super().__init__()
        self.masks = masks  # type: ignore[misc]
        self.messages, self.texts, self.is_lost = list[bytes](), 0, False
        self._holds_after = holds_after
        self.wire: Any = Transport(room)
        self.transport = self.wire
        self.begin(self)

    def is_over(self) -> bool:
        return bool(getattr(self.wire, "is_over", False))

    def taken(self, message: Bytes) -> None:
        self.messages.append(bytes(message))
        if len(self.messages) == self._holds_after:
            self.hold()

    def text_came(self) -> None: ...
    def has_room(self) -> None: ...

    def lost(self) -> None:
        self.is_lost = True

    async def hears(self, parts: Sequence[bytes]) -> None:
        for part in parts:
            while self.wire.is_paused and self._is_behind:
                await asyncio.sleep(0)
            self.data_received(part)
        while self._is_behind:
            await asyncio.sleep(0)


def cut(data: bytes, places: Sequence[int]) -> list[bytes]:
    ends = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[start:end] for start, end in pairwise(ends)]


sizes = st.one_of(st.integers(0, 300), st.sampled_from([125, 126, 127, 65_535, 65_536, 200_000]))


@pytest.mark.parametrize("masks", [True, False])
@settings(max_examples=60, deadline=None)
@given(st.lists(sizes, max_size=90), st.lists(st.integers(0, 1 << 20), max_size=12))
def test_what_the_library_says_is_heard_however_it_is_cut(
    masks: bool, message_sizes: list[int], places: list[int]
) -> None:
    messages = [bytes([number % 251]) * size for number, size in enumerate(message_sizes)]
    said = b"".join(
        Frame(Opcode.BINARY, message).serialize(mask=not masks)
        + (Frame(Opcode.PING, b"ping").serialize(mask=False) if number % 3 == 0 else b"")
        for number, message in enumerate(messages)
    )

    async def tried() -> None:
        side = Side(masks=masks)
        await side.hears(cut(said, places))
        assert side.messages == messages
        assert side.left_to_it == PING * len(range(0, len(messages), 3))

    asyncio.run(tried())


@pytest.mark.parametrize("masks", [True, False])
@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(sizes, min_size=1, max_size=3), max_size=10))
def test_what_is_said_the_library_hears(masks: bool, messages: list[list[int]]) -> None:
    async def tried() -> None:
        side = Side(masks=masks)
        wanted = []
        for number, parts in enumerate(messages):
            made = [bytes([number + 65, place]) * size for place, size in enumerate(parts)]
            side.put(*made)
            wanted.append(b"".join(made))
        await asyncio.sleep(0)
        library = Protocol(SERVER if masks else CLIENT, state=OPEN, max_size=None)
        library.receive_data(bytes(side.wire.written))
        assert [
            bytes(event.data) for event in library.events_received() if isinstance(event, Frame)
        ] == wanted
        assert side.wire.writes <= 1 + sum(map(len, wanted)) // (256 * 1024)

    asyncio.run(tried())


def masked(message: bytes, key: bytes) -> bytes:
    """As one frame of a peer that chose this key."""
    head = Frame(Opcode.BINARY, message).serialize(mask=False)[: -len(message)]
    return head[:1] + bytes([head[1] | 0x80]) + head[2:] + key + apply_mask(message, key)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(1, 100_000), st.sampled_from([bytes(4), b"\0\0\0\1", b"mask"])), max_size=20
    ),
    st.lists(st.integers(0, 1 << 20), max_size=12),
)
def test_every_key_is_understood_zero_too(said: list[tuple[int, bytes]], places: list[int]) -> None:
    messages = [bytes(range(256)) * (size // 256 + 1) for size, _ in said]
    frames = b"".join(masked(message, key) for message, (_, key) in zip(messages, said, strict=True))

    async def tried() -> None:
        side = Side(masks=False)
        await side.hears(cut(frames, places))
        assert side.messages == messages

    asyncio.run(tried())


@pytest.mark.parametrize("is_unseen", [False, True])
def test_nobody_foresees_a_key_unless_nobody_is_there(is_unseen: bool) -> None:
    async def tried() -> None:
        side = Side(masks=True)
        side.is_unseen = is_unseen
        for _ in range(50):
            side.put(b"GET / ", b"HTTP/1.1")
        side.flush()
        assert side.wire.written[:2] == b"\x82\x8e"
        frames = [bytes(side.wire.written[at : at + 20]) for at in range(0, 50 * 20, 20)]
        keys = {frame[2:6] for frame in frames}
        assert keys == {bytes(4)} if is_unseen else len(keys) == 50
        library = Protocol(SERVER, state=OPEN)
        library.receive_data(bytes(side.wire.written))
        heard = [event.data for event in library.events_received() if isinstance(event, Frame)]
        assert heard == [b"GET / HTTP/1.1"] * 50

    asyncio.run(tried())


class Keeping(Side):
    """Copies nothing of what it is given."""

    def taken(self, message: Bytes) -> None:
        self.messages.append(message)  # type: ignore[arg-type]


@pytest.mark.parametrize("is_unseen", [False, True])
def test_what_is_kept_stays_what_it_was(is_unseen: bool) -> None:
    """What is given is part of what was read at once: it may be kept while all that comes later is read."""
    chosen = random.Random(25)
    sent = [chosen.randbytes(chosen.choice([1, 700, 70_000, 256 * 1024])) for _ in range(120)]

    async def tried() -> None:
        sides = list[Side]()
        for masks, one in zip((True, False), socket.socketpair(), strict=True):
            one.setblocking(False)
            side = Keeping(masks=masks)
            transport, _ = await asyncio.get_running_loop().connect_accepted_socket(
                asyncio.Protocol if masks else lambda side=side: side, one
            )
            side.wire = side.transport = transport
            side.begin(side)
            sides.append(side)
        here, there = sides
        here.is_unseen = is_unseen
        async with asyncio.timeout(60):
            for message in sent:
                here.put(message[:5], message[5:])
                while here.transport.get_write_buffer_size():
                    await asyncio.sleep(0)
            while len(there.messages) < len(sent):
                await asyncio.sleep(0)
        assert there.messages == sent
        for side in sides:
            side.transport.abort()
        await asyncio.sleep(0)

    asyncio.run(tried())


def test_a_message_in_parts_is_the_librarys_until_its_end() -> None:
    frames = [
        Frame(Opcode.BINARY, b"a", fin=False), Frame(Opcode.PING, b""), Frame(Opcode.CONT, b"b"),
        Frame(Opcode.TEXT, b"text"), Frame(Opcode.BINARY, b"whole"),
    ]  # fmt: skip
    said = [frame.serialize(mask=False) for frame in frames]

    async def tried() -> None:
        side = Side(masks=True)
        await side.hears(said)
        assert side.messages == [b"whole"]
        assert side.left_to_it == b"".join(said[:4])

    asyncio.run(tried())


@pytest.mark.parametrize(
    "frame",
    [
        Frame(Opcode.BINARY, b"x").serialize(mask=True),
        b"\xc2\x01x",
        b"\x82\x7f" + (MESSAGE_BYTES_MAX + 1).to_bytes(8, "big") + b"x",
        b"\x82\x7f" + b"\xff" * 8,
    ],
    ids=["masked", "a bit that means nothing", "long", "very long"],
)
def test_what_breaks_the_protocol_is_left_to_the_library_at_once(frame: bytes) -> None:
    async def tried() -> None:
        side = Side(masks=True)
        await side.hears([frame])
        assert not side.messages
        assert side.left_to_it == frame

    asyncio.run(tried())


def test_who_is_held_is_given_no_more_until_it_goes_on() -> None:
    said = b"".join(Frame(Opcode.BINARY, b"%d" % number).serialize(mask=False) for number in range(10))

    async def tried() -> None:
        side = Side(masks=True, holds_after=3)
        side.data_received(said)
        await asyncio.sleep(0)
        assert len(side.messages) == 3
        assert side.wire.is_paused
        side.go_on()
        await asyncio.sleep(0)
        assert len(side.messages) == 10
        assert not side.wire.is_paused

    asyncio.run(tried())


def test_crumbs_are_taken_a_few_in_a_turn() -> None:
    said = Frame(Opcode.BINARY, b"x").serialize(mask=False) * 1000

    async def tried() -> None:
        side = Side(masks=True)
        side.data_received(said)
        assert len(side.messages) < 100
        assert side.wire.is_paused
        await side.hears([])
        assert len(side.messages) == 1000
        assert not side.wire.is_paused

    asyncio.run(tried())


def test_who_lets_others_wait_with_too_much_is_cut_off() -> None:
    async def tried() -> None:
        side = Side(masks=False, room=1000)
        side.pause_writing()
        for _ in range(3):
            side.put(bytes(MESSAGE_BYTES_MAX))
        assert not side.wire.is_over
        for _ in range(3):
            side.put(bytes(MESSAGE_BYTES_MAX))
        assert side.wire.is_over

    asyncio.run(tried())


def test_what_the_kernel_does_not_take_now_follows_in_its_place() -> None:
    """A real socket, its reader behind: what goes past the transport and what waits in it come as they were sent."""
    parts = [bytes([number]) * size for number in range(3) for size in (1, 300_000, 0, 70_000)] * 3

    async def tried() -> None:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        side = Side(masks=False)
        loop = asyncio.get_running_loop()
        transport, _ = await loop.connect_accepted_socket(asyncio.Protocol, ours)
        side.wire = side.transport = transport
        side.begin(side)
        for part in parts:
            side.put(part[:1], part[1:])
            await asyncio.sleep(0)
        assert transport.get_write_buffer_size()
        peer = Protocol(CLIENT, state=OPEN, max_size=MESSAGE_BYTES_MAX)
        heard = list[bytes]()
        with theirs:
            theirs.setblocking(False)
            while len(heard) < len(parts):
                peer.receive_data(await loop.sock_recv(theirs, 1 << 20))
                heard += [event.data for event in peer.events_received() if isinstance(event, Frame)]
        transport.close()
        await asyncio.sleep(0)  # it goes in the next turn
        assert heard == parts

    asyncio.run(tried())


def test_who_broke_off_is_the_transports_to_notice() -> None:
    async def tried() -> None:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        side = Side(masks=False)
        lost = asyncio.Event()

        class Heard(asyncio.Protocol):
            def connection_lost(self, exc: Exception | None) -> None:
                lost.set()

        side.wire = side.transport = (await asyncio.get_running_loop().connect_accepted_socket(Heard, ours))[
            0
        ]
        side.begin(side)
        theirs.close()
        side.put(b"to nobody")
        side.flush()
        async with asyncio.timeout(60):
            await lost.wait()

    asyncio.run(tried())


def test_what_is_over_says_and_hears_no_more() -> None:
    async def tried() -> None:
        side = Side(masks=True)
        side.put(b"first")
        side.silence()
        side.put(b"second")
        await side.hears([Frame(Opcode.BINARY, b"x").serialize(mask=False)])
        assert side.wire.writes == 1
        assert not side.messages
        side.connection_lost(None)
        assert side.is_lost

    asyncio.run(tried())
