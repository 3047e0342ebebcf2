"""Paths and manifests, without a database."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mosu.kernel.refusals import Invalid
from mosu.store import rules
from mosu.store.rules import ManifestEntry

SHA = "a" * 64


def entry(path: str, **changes: object) -> ManifestEntry:
    return ManifestEntry(**({"path": path, "sha256": SHA, "size_bytes": 1} | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text", ["", "a" * 63, "A" * 64, "g" * 64, "../" + "a" * 61, "a" * 64 + "\n", "a" * 65]
)
def test_what_is_not_a_sha256(text: str) -> None:
    with pytest.raises(Invalid):
        rules.checked_sha256(text)


@pytest.mark.parametrize(
    "path",
    ["", "/etc/passwd", "..", "a/../b", "./a", "a//b", "a/", "a\\b", "a\0b", "a\nb", "\x7f", "x" * 256, "\udcff",
     "/".join(["d" * 100] * 11)],
)  # fmt: skip
def test_paths_that_are_refused(path: str) -> None:
    with pytest.raises(Invalid):
        rules.checked_entries([entry(path)])


@pytest.mark.parametrize("path", ["a", "a/b.txt", "数据/第一.txt", "...", "a..b/.hidden", "x" * 255])
def test_paths_that_are_taken(path: str) -> None:
    assert rules.checked_entries([entry(path)])[0].path == path


@pytest.mark.parametrize(
    "entries",
    [
        [entry("a"), entry("a")],
        [entry("a"), entry("a/b")],
        [entry("a/b"), entry("a"), entry("a-b")],
        [entry("a", size_bytes=-1)],
        [entry("a", sha256="x")],
    ],
)
def test_what_is_not_a_folder(entries: list[ManifestEntry]) -> None:
    with pytest.raises(Invalid):
        rules.checked_entries(entries)


NAMES = st.text("ab._数", min_size=1, max_size=4).filter(lambda name: name not in {".", ".."})
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)


@given(st.dictionaries(PATHS, st.tuples(st.integers(0, 2**60), st.booleans()), max_size=6))
def test_a_manifest_is_read_as_it_was_written_in_any_order(files: dict[str, tuple[int, bool]]) -> None:
    entries = [entry(path, size_bytes=size, executable=flag) for path, (size, flag) in files.items()]
    try:
        data = rules.manifest_bytes(entries)
    except Invalid:
        assert any(a != b and b.startswith(a + "/") for a in files for b in files)
        return
    assert data == rules.manifest_bytes(reversed(entries))
    assert rules.manifest_of(data) == tuple(sorted(entries, key=lambda each: each.path))


GOOD = json.loads(rules.manifest_bytes([entry("a")]))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff",
        b"[]",
        b"[" * 100_000,
        b'{"files":[],"version":2}',
        json.dumps(GOOD).encode(),
        rules.canonical({**GOOD, "more": 1}),
        rules.canonical({**GOOD, "files": [{**GOOD["files"][0], "size_bytes": True}]}),
        rules.canonical({**GOOD, "files": [{**GOOD["files"][0], "path": "../a"}]}),
        rules.canonical({**GOOD, "files": [1]}),
    ],
)
def test_bytes_that_are_not_a_manifest(data: bytes) -> None:
    with pytest.raises(Invalid):
        rules.manifest_of(data)
