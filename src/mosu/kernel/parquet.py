"""Parquet files of text, decimals and instants, written a row group at a time.

As the Parquet format's specification has it: for each column of each row group one data page, PLAIN, compressed by
gzip; nulls by definition levels; the footer in Thrift's compact protocol. Nothing else is written here: who needs more
takes Arrow, which is as large as the hub.
"""

import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from itertools import islice
from typing import Any, Final, Literal

Kind = Literal["text", "decimal", "time"]

ROWS_PER_GROUP: Final = 5_000
DECIMAL_DIGITS: Final = 38
DECIMAL_SCALE: Final = 15
"""Digits after the point: what FOCUS asks of decimals, and finer than any figure here."""
_DECIMAL_BYTES: Final = 16
_MAGIC: Final = b"PAR1"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

# Numbers of the specification (parquet.thrift).
_INT64, _BYTE_ARRAY, _FIXED = 2, 6, 7
_UTF8, _DECIMAL = 0, 5
_OPTIONAL = 1
_PLAIN, _RLE = 0, 3
_GZIP = 2
_DATA_PAGE = 0

# Types of Thrift's compact protocol.
_I32, _I64, _BINARY, _LIST, _STRUCT = 5, 6, 8, 9, 12


@dataclass(frozen=True, slots=True)
class Column:
    """One column; every value may be null."""

    name: str
    kind: Kind = "text"


def parquet_of(columns: Sequence[Column], rows: Iterable[Mapping[str, Any]]) -> Iterator[bytes]:
    """The file, piece by piece; memory holds one row group. A decimal is a `Decimal`, a time an aware `datetime`."""
    yield _MAGIC
    written, groups, count = len(_MAGIC), list[bytes](), 0
    left = iter(rows)
    while group := list(islice(left, ROWS_PER_GROUP)):
        chunks, size = [], 0
        for column in columns:
            page, plain = _page(column, [row.get(column.name) for row in group])
            chunks.append(_chunk(column, offset=written, rows=len(group), size=len(page), plain=plain))
            yield page
            written += len(page)
            size += plain
        groups.append(_struct((1, _LIST, _list(_STRUCT, chunks)), (2, _I64, size), (3, _I64, len(group))))
        count += len(group)
    footer = _struct(
        (1, _I32, 1),
        (2, _LIST, _list(_STRUCT, _schema(columns))),
        (3, _I64, count),
        (4, _LIST, _list(_STRUCT, groups)),
        (6, _BINARY, b"mosu"),
    )
    yield footer + struct.pack("<I", len(footer)) + _MAGIC


def _page(column: Column, values: Sequence[Any]) -> tuple[bytes, int]:
    """A column's page with its header, and how long it is uncompressed."""
    levels = _levels([value is not None for value in values])
    write = _WRITERS[column.kind]
    written = b"".join(write(value) for value in values if value is not None)
    data = struct.pack("<I", len(levels)) + levels + written
    squeezer = zlib.compressobj(6, zlib.DEFLATED, 31)
    packed = squeezer.compress(data) + squeezer.flush()
    page = _struct((1, _I32, len(values)), (2, _I32, _PLAIN), (3, _I32, _RLE), (4, _I32, _RLE))
    header = _struct((1, _I32, _DATA_PAGE), (2, _I32, len(data)), (3, _I32, len(packed)), (5, _STRUCT, page))
    return header + packed, len(header) + len(data)


def _levels(present: Sequence[bool]) -> bytes:
    """Which values are there: runs of ones and zeros, each its length and its bit."""
    runs, start = list[bytes](), 0
    for at in range(1, len(present) + 1):
        if at == len(present) or present[at] is not present[start]:
            runs.append(_varint((at - start) << 1) + bytes([present[start]]))
            start = at
    return b"".join(runs)


def _text(value: str) -> bytes:
    encoded = value.encode()
    return struct.pack("<I", len(encoded)) + encoded


def _decimal(value: Decimal) -> bytes:
    unscaled = int(value.scaleb(DECIMAL_SCALE).to_integral_exact())
    return unscaled.to_bytes(_DECIMAL_BYTES, "big", signed=True)


def _time(value: datetime) -> bytes:
    since = value - _EPOCH
    return struct.pack("<q", (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds)


_WRITERS: Final[Mapping[Kind, Callable[[Any], bytes]]] = {"text": _text, "decimal": _decimal, "time": _time}
_PHYSICAL: Final[Mapping[Kind, int]] = {"text": _BYTE_ARRAY, "decimal": _FIXED, "time": _INT64}


def _chunk(column: Column, *, offset: int, rows: int, size: int, plain: int) -> bytes:
    data = _struct(
        (1, _I32, _PHYSICAL[column.kind]),
        (2, _LIST, _list(_I32, [_zigzag(_PLAIN), _zigzag(_RLE)])),
        (3, _LIST, _list(_BINARY, [_binary(column.name.encode())])),
        (4, _I32, _GZIP),
        (5, _I64, rows),
        (6, _I64, plain),
        (7, _I64, size),
        (9, _I64, offset),
    )
    return _struct((2, _I64, offset), (3, _STRUCT, data))


def _schema(columns: Sequence[Column]) -> list[bytes]:
    root = _struct((4, _BINARY, b"schema"), (5, _I32, len(columns)))
    return [root, *(_element(column) for column in columns)]


def _element(column: Column) -> bytes:
    head: list[_Field] = [(1, _I32, _PHYSICAL[column.kind])]
    name: list[_Field] = [(3, _I32, _OPTIONAL), (4, _BINARY, column.name.encode())]
    if column.kind == "text":
        return _struct(*head, *name, (6, _I32, _UTF8), (10, _STRUCT, _struct((1, _STRUCT, _struct()))))
    if column.kind == "decimal":
        meant = _struct((1, _I32, DECIMAL_SCALE), (2, _I32, DECIMAL_DIGITS))
        scale: list[_Field] = [(7, _I32, DECIMAL_SCALE), (8, _I32, DECIMAL_DIGITS)]
        logical = (10, _STRUCT, _struct((5, _STRUCT, meant)))
        return _struct(*head, (2, _I32, _DECIMAL_BYTES), *name, (6, _I32, _DECIMAL), *scale, logical)
    micros = _struct((2, _STRUCT, _struct()))
    stamp = _struct((1, _TRUE, None), (2, _STRUCT, micros))
    return _struct(*head, *name, (10, _STRUCT, _struct((8, _STRUCT, stamp))))


# Thrift's compact protocol

_TRUE: Final = 1
_Field = tuple[int, int, Any]
"""Its number, its type, its value: an int, bytes (text), or what is already written (lists, structs)."""


def _struct(*fields: _Field) -> bytes:
    parts, last = list[bytes](), 0
    for number, kind, value in fields:
        parts.append(bytes([(number - last) << 4 | kind]))
        last = number
        if kind in (_I32, _I64):
            parts.append(_zigzag(value))
        elif kind == _BINARY:
            parts.append(_binary(value))
        elif value is not None:
            parts.append(value)
    return b"".join(parts) + b"\0"


def _list(kind: int, items: Sequence[bytes]) -> bytes:
    short = len(items) < 15
    head = bytes([len(items) << 4 | kind]) if short else bytes([0xF0 | kind]) + _varint(len(items))
    return head + b"".join(items)


def _binary(value: bytes) -> bytes:
    return _varint(len(value)) + value


def _zigzag(value: int) -> bytes:
    return _varint(value << 1 if value >= 0 else (-value << 1) - 1)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])
