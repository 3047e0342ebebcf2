"""What of a folder goes up, and what is refused."""

import hashlib
import os
import subprocess
from pathlib import Path

import pytest

from mosu.wire.manifest import WorkdirRefused, files_of
from mosu.wire.paths import UnsafePath, safe_relative_path
from mosu.wire.task import FileMount


def lay(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def paths_in(root: Path) -> list[str]:
    return [file.entry.path for file in files_of(root)]


def test_entries_have_path_digest_size_and_mode(tmp_path: Path) -> None:
    lay(tmp_path, {"run.sh": "echo", "数据/a b.txt": ""})
    (tmp_path / "run.sh").chmod(0o755)
    files = files_of(tmp_path)
    assert [(f.entry.path, f.entry.size_bytes, f.entry.executable) for f in files] == [
        ("run.sh", 4, True),
        ("数据/a b.txt", 0, False),
    ]
    assert files[0].entry.sha256 == hashlib.sha256(b"echo").hexdigest()
    assert files[0].source == tmp_path / "run.sh"


IGNORES = {
    ".gitignore": "*.log\n/build\ncache/\n!keep.log\ndocs/*\n!docs/api.md\n",
    "sub/.gitignore": "!wanted.log\n/local\n",
    "deep/er/.gitignore": "*\n!yes.txt\n",
}


def test_gitignore_means_what_git_means(tmp_path: Path) -> None:
    lay(tmp_path, IGNORES)
    for name in [
        "a.log",
        "keep.log",
        "build/x",
        "sub/build/x",
        "cache/keep.log",
        "sub/cache/x",
        "sub/wanted.log",
        "sub/other.log",
        "sub/local/x",
        "local/x",
        "deep/er/yes.txt",
        "deep/er/no.txt",
        "docs/api.md",
        "docs/x.md",
        "main.py",
    ]:
        lay(tmp_path, {name: "x"})
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    listed = subprocess.run(
        ["git", "-C", str(tmp_path), "ls-files", "--others", "--exclude-standard"],
        check=True,
        capture_output=True,
        text=True,
    )
    assert paths_in(tmp_path) == sorted(listed.stdout.split())
    assert "cache/keep.log" not in paths_in(tmp_path)


def test_a_link_inside_goes_up_as_its_bytes(tmp_path: Path) -> None:
    lay(tmp_path, {"a.txt": "abc"})
    (tmp_path / "b.txt").symlink_to("a.txt")
    assert [(f.entry.path, f.entry.size_bytes) for f in files_of(tmp_path)] == [("a.txt", 3), ("b.txt", 3)]


@pytest.mark.parametrize(
    ("target", "part"),
    [
        ("../secret", "leaves"),
        ("/etc/passwd", "leaves"),
        ("nowhere", "nothing"),
        ("loop", "nothing"),
        ("sub", "else"),
    ],
)
def test_links_that_lead_elsewhere_are_refused(tmp_path: Path, target: str, part: str) -> None:
    (tmp_path / "secret").write_text("s")
    lay(tmp_path / "work", {"sub/a": "x"})
    (tmp_path / "work" / "loop").symlink_to(target)
    with pytest.raises(WorkdirRefused, match=part):
        files_of(tmp_path / "work")


def test_an_ignored_link_is_passed_over(tmp_path: Path) -> None:
    lay(tmp_path, {".gitignore": "venv\n"})
    (tmp_path / "venv").symlink_to("/usr")
    assert paths_in(tmp_path) == [".gitignore"]


def test_special_files_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(WorkdirRefused, match="neither a file nor a folder"):
        files_of(tmp_path)


@pytest.mark.parametrize(("limits", "part"), [({"files_max": 2}, "2 files"), ({"bytes_max": 5}, "5 bytes")])
def test_limits(tmp_path: Path, limits: dict[str, int], part: str) -> None:
    lay(tmp_path, {"a": "12", "b": "34", "c": "56"})
    with pytest.raises(WorkdirRefused, match=part):
        files_of(tmp_path, **limits)


def test_names_that_cannot_travel_are_refused(tmp_path: Path) -> None:
    lay(tmp_path, {"a\nb": "x"})
    with pytest.raises(UnsafePath, match="control"):
        files_of(tmp_path)


def test_a_name_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"\xff")).write_text("x")
    with pytest.raises(UnsafePath, match="control"):
        files_of(tmp_path)


def test_mounts_lie_under_their_target(tmp_path: Path) -> None:
    lay(tmp_path, {"work/main.py": "x", "data/a/b.csv": "1", "one.txt": "2"})
    mounts = (FileMount(target="in", source="data"), FileMount(target="cfg/one", source="one.txt"))
    files = files_of(tmp_path / "work", mounts=mounts, base=tmp_path)
    assert [f.entry.path for f in files] == ["cfg/one", "in/a/b.csv", "main.py"]
    with pytest.raises(WorkdirRefused, match="two places"):
        files_of(tmp_path / "work", mounts=(FileMount(target="main.py", source="one.txt"),), base=tmp_path)
    with pytest.raises(WorkdirRefused, match="does not exist"):
        files_of(None, mounts=(FileMount(target="a", source="nowhere"),), base=tmp_path)


def test_a_missing_workdir_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WorkdirRefused, match="no folder"):
        files_of(tmp_path / "nowhere")


@pytest.mark.parametrize("text", ["a", "a/b.txt", "a b", "数据/模型.bin", "...", "a..b", "-x", ".env"])
def test_safe_paths_pass(text: str) -> None:
    assert safe_relative_path(text) == text


@pytest.mark.parametrize(
    "text",
    ["", "/a", "..", "a/../b", "../a", ".", "./a", "a/.", "a//b", "a/", "a\\b", "a\0", "a\nb", "a\x1b[0m", "a\x85",
     "~/x", "\ud800", "x" * 256, "/".join(["x" * 200] * 6)],
)  # fmt: skip
def test_unsafe_paths_are_refused(text: str) -> None:
    with pytest.raises(UnsafePath):
        safe_relative_path(text, field="workdir")
