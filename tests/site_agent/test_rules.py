"""Log cleaning, metering, files in and out, settings: no process started."""

import hashlib
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.site_agent.lab import make_spec

from mosu.kernel.refusals import Invalid
from mosu.site_agent.config import load_config
from mosu.site_agent.files import read_json, remove_tree, write_durably
from mosu.site_agent.job_files import JobFile, network_of
from mosu.site_agent.logs import LogCleaner, whole_characters
from mosu.site_agent.metering import Metered, UsageBook, next_record
from mosu.site_agent.outputs import collect, lay_inputs
from mosu.wire.agent import InputFile, Usage

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        (b"plain\n", "plain\n"),
        (b"\x1b[1;31mred\x1b[0m\n", "red\n"),
        (b"\x1b]0;title\x07a\x1b]8;;http://x\x1b\\b", "ab"),
        (b"10%\r20%\r\n", "10%\n20%\n"),
        (b"a\x00\x08\x7fb\tc\n", "ab\tc\n"),
        (b"\xc2\x9b31mx", "31mx"),
        ("模速\n".encode(), "模速\n"),
        (b"\xff\xfe bad\n", "\ufffd\ufffd bad\n"),
        (b"end\x1b", "end"),
        (b"\x1b[", "["),
    ],
)
def test_cleaning(raw: bytes, clean: str) -> None:
    assert _cleaned([raw]) == clean
    assert _cleaned([bytes([byte]) for byte in raw]) == clean


@settings(deadline=None)
@given(
    st.lists(
        st.sampled_from(
            [b"a", b"\x1b", b"[3", b"m", b"]0;", b"\x07", b"\r", b"\n", b"\xe6", b"\xa8\xa1", b"\x1b\\"]
        )
    )
)
def test_cleaning_does_not_depend_on_how_the_bytes_arrive(parts: list[bytes]) -> None:
    cleaned = _cleaned(parts)
    assert cleaned == _cleaned([b"".join(parts)])
    assert not set(cleaned) & set(map(chr, [*range(9), *range(11, 32), 127]))


def test_an_escape_that_never_ends_does_not_swallow_the_log() -> None:
    cleaner = LogCleaner()
    kept = cleaner.feed(b"\x1b]0;" + b"x" * 10_000) + cleaner.feed(b"\nlater\n")
    assert kept.endswith(b"\nlater\n")


def test_long_lines_are_cut_once_however_they_arrive() -> None:
    cleaner = LogCleaner(line_bytes_max=10)
    kept = b"".join(cleaner.feed("模".encode()) for _ in range(50)) + cleaner.feed(b"\nnext\n")
    assert kept.decode() == "模模模 … [mosu: line cut]\nnext\n"


@settings(deadline=None)
@given(st.text(), st.integers(0, 12))
def test_whole_characters(text: str, cut: int) -> None:
    data = text.encode(errors="replace")[:cut]
    whole = whole_characters(data)
    assert data.startswith(whole) and len(data) - len(whole) < 4
    whole.decode()


def _cleaned(parts: list[bytes]) -> str:
    cleaner = LogCleaner()
    return (b"".join(cleaner.feed(part) for part in parts) + cleaner.feed(b"", last=True)).decode()


@settings(deadline=None)
@given(st.integers(1, 8), st.lists(st.integers(0, 7_000_000), max_size=20))
def test_usage_sums_to_units_by_whole_time_without_gap(units: int, steps_us: list[int]) -> None:
    meter, now, records = Metered(0, 0, NOW), NOW, list[Usage]()
    for step in steps_us:
        now += timedelta(microseconds=step)
        record, meter = next_record(
            make_spec().attempt_id, "core_second", units, meter, started_at=NOW, now=now
        )
        records += [record] if record else []
    assert sum(record.quantity for record in records) == int(units * (now - NOW).total_seconds())
    assert [record.sequence for record in records] == list(range(len(records)))
    assert [record.start for record in records] == [NOW, *(record.end for record in records)][: len(records)]


@settings(deadline=None)
@given(st.integers(1, 8), st.lists(st.floats(0, 60), max_size=8), st.floats(0, 200))
def test_the_last_word_is_what_counts(units: int, shown_s: list[float], books_s: float) -> None:
    """Whatever a queue showed while a job ran, forward or back: the sum is what the books have."""
    meter, records = Metered(0, 0, NOW), list[Usage]()
    for seconds, final in [*((seconds, False) for seconds in shown_s), (books_s, True), (books_s, True)]:
        record, meter = next_record(
            make_spec().attempt_id,
            "core_second",
            units,
            meter,
            started_at=NOW,
            now=NOW + timedelta(seconds=seconds),
            final=final,
        )
        records += [record] if record else []
    assert sum(record.quantity for record in records) == int(
        units * timedelta(seconds=books_s).total_seconds()
    )
    assert [record.sequence for record in records] == list(range(len(records)))
    assert all(record.start <= record.end for record in records)


def test_usage_survives_a_restart_unsent_and_undoubled(tmp_path: Path) -> None:
    spec = make_spec(cores=2)
    book = UsageBook(tmp_path / "usage.json", spec)
    book.advance(started_at=NOW, now=NOW + timedelta(seconds=5))
    again = UsageBook(tmp_path / "usage.json", spec)
    assert again.unsent == book.unsent and [record.quantity for record in again.unsent] == [10]
    again.taken(again.unsent)
    last = UsageBook(tmp_path / "usage.json", spec)
    last.advance(started_at=NOW, now=NOW + timedelta(seconds=6.5))
    assert [(record.sequence, record.quantity) for record in last.unsent] == [(1, 3)]


def _input(path: str, content: bytes = b"x", **changes: object) -> InputFile:
    facts = {
        "path": path,
        "sha256": hashlib.sha256(content).hexdigest(),
        "size_bytes": len(content),
        **changes,
    }
    return InputFile.model_validate(facts)


def _give(content: bytes = b"x"):  # type: ignore[no-untyped-def]
    return lambda _sha256, target: target.write_bytes(content)


def test_inputs_are_laid_once_and_checked(tmp_path: Path) -> None:
    files = [_input("a/b.sh", executable=True), _input("c")]
    lay_inputs(tmp_path, files, fetch=_give())
    assert (tmp_path / "a/b.sh").stat().st_mode & 0o777 == 0o755
    lay_inputs(tmp_path, files, fetch=lambda *_: pytest.fail("fetched again"))
    with pytest.raises(Invalid, match="promised"):
        lay_inputs(tmp_path, [_input("d")], fetch=_give(b"other"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "c"]


def test_no_input_is_the_draft_of_another(tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    contents = {".a.mosu": b"first", "a": b"second", "work.draft": b"third", "字" * 80: b"fourth"}
    files = [_input(path, content) for path, content in contents.items()]
    by_hash = {file.sha256: contents[file.path] for file in files}
    lay_inputs(work, files, fetch=lambda sha256, target: target.write_bytes(by_hash[sha256]))  # type: ignore[arg-type,return-value]
    assert {path.name: path.read_bytes() for path in work.iterdir()} == contents
    assert list(tmp_path.iterdir()) == [work]


def test_state_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that is nearly full takes the first part of what is written."""
    path = tmp_path / "state.json"
    write_durably(path, ["old"])
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, bytes(data)[:3]))
    write_durably(path, ["new", "longer"])
    assert read_json(path) == ["new", "longer"]
    monkeypatch.undo()
    full = Path("/dev/full")
    monkeypatch.setattr(Path, "with_name", lambda _path, _name: full)
    with pytest.raises(OSError, match="No space"):
        write_durably(path, ["newer"])
    assert read_json(path) == ["new", "longer"]


def test_meters_that_the_disk_lost_claim_nothing_more(tmp_path: Path) -> None:
    path = tmp_path / "usage.json"
    path.write_bytes(b'{"meters": {"core_sec')
    for _ in range(2):
        book = UsageBook(path, make_spec())
        book.advance(started_at=NOW, now=NOW + timedelta(seconds=5))
        assert book.unsent == ()
    assert path.with_name("usage.json.garbled").exists()


@pytest.mark.parametrize("path", ["../x", "/etc/x", "a/../../x", "", ".", "a//b", "./a", "a\0b", "a/."])
def test_inputs_stay_in_the_folder(tmp_path: Path, path: str) -> None:
    work = tmp_path / "work"
    work.mkdir()
    with pytest.raises(Invalid):
        lay_inputs(work, [_input(path)], fetch=_give())
    assert list(tmp_path.rglob("*")) == [work]


def test_an_input_below_another_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Invalid):
        lay_inputs(tmp_path, [_input("a"), _input("a/b")], fetch=_give())


def test_outputs_follow_no_link_and_match_their_globs(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("host")
    work = tmp_path / "work"
    for name in ("out/a.txt", "out/deep/b.bin", "loss.csv", "other.txt"):
        (work / name).parent.mkdir(parents=True, exist_ok=True)
        (work / name).write_text(name)
    (work / "out/link").symlink_to(secret)
    (work / "folder").symlink_to(tmp_path)
    os.mkfifo(work / "out/pipe")
    assert _paths(work, "out") == ["out/a.txt", "out/deep/b.bin"]
    assert _paths(work, "*.csv", "./out/") == ["loss.csv", "out/a.txt", "out/deep/b.bin"]
    assert _paths(work, "**/*.txt") == ["other.txt", "out/a.txt"]
    assert _paths(work, "folder", "folder/secret", "../secret", "/etc/passwd", "out/link") == []
    assert collect(work, ["loss.csv"]).files[0].sha256 == hashlib.sha256(b"loss.csv").hexdigest()


def test_outputs_whose_names_the_hub_would_refuse_are_counted_and_left_out(tmp_path: Path) -> None:
    for name in ("good", "a\nb", "a\x1bb", "a\\b", "~x", "caf\udce9"):
        (tmp_path / name).write_text("x")
    found = collect(tmp_path, ["**"])
    assert ([file.path for file in found.files], found.unnameable) == (["good"], 5)


def test_folders_too_deep_to_name_are_passed_over_and_can_be_deleted(tmp_path: Path) -> None:
    top = tmp_path / "work"
    top.mkdir()
    (top / "good").write_text("x")
    fd = os.open(top, os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("d", dir_fd=fd)
        deeper = os.open("d", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = deeper
    os.close(os.open("x", os.O_CREAT | os.O_WRONLY, dir_fd=fd))
    os.fchmod(fd, 0)
    os.close(fd)
    assert [file.path for file in collect(top, ["**"]).files] == ["good"]
    remove_tree(top)
    assert not top.exists()
    remove_tree(top)


def _paths(work: Path, *globs: str) -> list[str]:
    return [found.path for found in collect(work, globs).files]


def test_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MOSU_POOL_TOKEN", raising=False)
    (tmp_path / "token").write_text("mosu_pool_x\n")
    file = tmp_path / "agent.toml"
    good = f'hub_url = "http://h"\nstate_dir = "/s"\nenvironments = ["/e"]\ntoken_file = "{tmp_path}/token"\n'
    file.write_text(good)
    config = load_config(file)
    assert (config.token, config.environments) == ("mosu_pool_x", (Path("/e"),))
    assert "mosu_pool_x" not in repr(config)
    for bad, said in (
        (good + 'colour = "red"', "unknown key 'colour'"),
        (good + 'cores = "four"', "cores must be a int"),
        (good.replace("hub_url", "# "), "hub_url is missing"),
        (good.replace("token_file", "# "), "no pool token"),
        ("x = [", "agent.toml"),
    ):
        file.write_text(bad)
        with pytest.raises(Invalid, match=said):
            load_config(file)


@pytest.mark.parametrize(
    ("said", "network"),
    [("none", "none"), ("loopback", "loopback"), ("machine", "machine"), (False, "none"), (True, "machine")],
)
def test_a_job_that_an_older_agent_left_in_the_queue_keeps_its_network(said: object, network: str) -> None:
    assert network_of(cast(JobFile, {"network": said})) == network
