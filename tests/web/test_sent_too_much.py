"""What is too large is read to its end and dropped: only then does a browser show why it was refused."""

import asyncio
from typing import Any

import pytest

from mosu.web import bodies


def read(sent: int, *, size_max: int, drop: int, monkeypatch: pytest.MonkeyPatch) -> tuple[int, int, int]:
    """How much was kept, how much was taken from the sender, and for how much room was asked."""
    monkeypatch.setattr(bodies, "DROPPED_BYTES_MAX", drop)
    monkeypatch.setattr(bodies, "SMALL_BODY_BYTES", 0)
    given, asked = 0, 0

    async def receive() -> Any:
        nonlocal given
        given += 10
        return {"type": "http.request", "body": b"a" * 10, "more_body": given < sent}

    def take(size: int) -> None:
        nonlocal asked
        asked = size

    async def kept() -> int:
        return sum([len(part) async for part in bodies._parts(receive, take, size_max=size_max)])

    return asyncio.run(kept()), given, asked


@pytest.mark.parametrize(
    ("sent", "found"),
    [
        (50, (50, 50, 50)),  # it fits
        (200, (60, 200, 60)),  # kept by which it is too large, the rest dropped
        (10_000, (60, 360, 60)),  # and no more than that
    ],
)
def test_the_rest_of_what_is_too_large_is_dropped(
    sent: int, found: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert read(sent, size_max=50, drop=300, monkeypatch=monkeypatch) == found
