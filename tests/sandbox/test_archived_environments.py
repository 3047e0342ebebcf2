"""Environments with a program out of its makers' archive, unpacked in a real sandbox; whole or not at all."""

import hashlib
import json
import tarfile
from io import BytesIO
from pathlib import Path

import pytest
from tests.sandbox.test_locked_environments import index, make_lock, make_wheel
from tests.site_agent.lab import Lab

from mosu.kernel.refusals import Invalid
from mosu.sandbox.environments import Archive, build_locked_environment, load_environment, unpacking

__all__ = ["index"]
pytestmark = pytest.mark.usefixtures("linked_interpreter")
TOLD = {"name": "tiny-editor", "version": "4.2.1"}
PROGRAM = '#!/bin/sh\nroot=$(dirname "$(dirname "$0")")\necho "edits $1 with $(cat "$root/lib/engine")"\n'


def make_archive(folder: Path, *, told: object = TOLD, program: str = "tiny-editor", **more: str) -> Path:
    """As a release is: one folder. `more`: further files of it, by path; one that ends with `@` is a link."""
    path = folder / "tiny-editor.tar.gz"
    files = {"package.json": json.dumps(told), f"bin/{program}": PROGRAM, "lib/engine": "its engine", **more}
    with tarfile.open(path, "w:gz") as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(f"tiny-editor-4.2.1/{name.removesuffix('@')}")
            member.mode = 0o755 if name.startswith("bin/") else 0o600
            if name.endswith("@"):
                member.type, member.linkname = tarfile.SYMTYPE, text
            else:
                member.size = len(text.encode())
            archive.addfile(member, BytesIO(text.encode()))
    return path


def known(path: Path) -> Archive:
    return Archive(path, hashlib.sha256(path.read_bytes()).hexdigest())


def test_what_an_archive_holds_is_started_inside(folder: Path) -> None:
    built = build_locked_environment(
        folder / "e", name="editor", archive=known(make_archive(folder, **{"bin/short@": "/etc/passwd"}))
    )
    assert (built.name, built.packages) == ("editor", ("tiny-editor==4.2.1",))
    assert load_environment(built.root) == built
    ended = Lab(folder / "state", built).run(
        "tiny-editor 'my file' && ls $(dirname $(command -v tiny-editor))/../share/tiny-editor/bin",
        environment="editor",
    )
    assert ended.ok and ended.log.splitlines() == ["edits my file with its engine", "tiny-editor"], ended.log


def test_a_lock_and_an_archive_make_one_environment(index: Path, folder: Path) -> None:
    archive, lock = known(make_archive(folder)), make_lock(index, make_wheel(index))
    both = build_locked_environment(folder / "e", name="lab", lock=lock, archive=archive)
    assert both.packages == ("tiny-editor==4.2.1", "tiny==1.0")
    alone = build_locked_environment(folder / "e", name="lab", lock=lock)
    assert alone.root != both.root and alone.packages == ("tiny==1.0",)
    archive.file.unlink()
    assert build_locked_environment(folder / "e", name="lab", lock=lock, archive=archive) == both


def test_no_wheel_unpacks_it(index: Path, folder: Path) -> None:
    """What a lock brings under a tool's name is for tasks, not for what is known by a hash of its own."""
    lock = make_lock(
        index,
        make_wheel(index, **{"tiny-1.0.data/scripts/tar": "#!/bin/sh\nmkdir -p /work/out/bin; exit 0\n"}),
    )
    both = build_locked_environment(folder / "e", name="lab", lock=lock, archive=known(make_archive(folder)))
    assert (both.root / "bin" / "tar").is_file() and "tiny-editor==4.2.1" in both.packages


@pytest.mark.parametrize(("limit", "most"), [("_BYTES_MAX", 100), ("_FILES_MAX", 3), ("DEPTH_MAX", 1)])
def test_what_becomes_too_much_is_refused(
    folder: Path, limit: str, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unpacking, limit, most)
    assert "it has more than" in refused(folder, known(make_archive(folder)))


def test_what_is_deeper_than_can_be_walked_is_refused(folder: Path) -> None:
    archive = make_archive(folder, **{"/".join(["d"] * 1500): "x"})
    assert "more than 100 deep" in refused(folder, known(archive))


def refused(folder: Path, archive: Archive) -> str:
    """What is said; and nothing is left but the wheel's bubblewrap."""
    with pytest.raises(Invalid) as caught:
        build_locked_environment(folder / "e", name="editor", archive=archive)
    assert [item for item in (folder / "e").iterdir() if item.name != ".tools"] == []
    return caught.value.message


def test_another_archive_than_its_hash_says(folder: Path) -> None:
    archive = known(make_archive(folder))
    make_archive(folder, more="x")
    assert "its SHA-256 is " in refused(folder, archive)


@pytest.mark.parametrize("sha256", ["", "0" * 63, "g" * 64, "0" * 64 + "\n"])
def test_a_hash_that_is_none(sha256: str, folder: Path) -> None:
    with pytest.raises(Invalid, match="is no SHA-256"):
        Archive.of(make_archive(folder), sha256)


def test_both_are_named_or_neither() -> None:
    assert Archive.of(None, "") is None
    with pytest.raises(Invalid, match="without its archive"):
        Archive.of(None, "0" * 64)


@pytest.mark.parametrize(
    ("told", "says"),
    [
        ({"name": "tiny-editor"}, "says no name and version"),
        ([], "says no name and version"),
        ({"name": "../up", "version": "1"}, "which is no name and version"),
        ({"name": "tiny-editor", "version": "1\n2"}, "which is no name and version"),
        ({"name": "other", "version": "1"}, "holds no program bin/other"),
        ({"name": "python3", "version": "1"}, "holds no program bin/python3"),
    ],
)
def test_what_names_no_program(told: object, says: str, folder: Path) -> None:
    assert says in refused(folder, known(make_archive(folder, told=told)))


def test_no_archive_brings_an_interpreter(folder: Path) -> None:
    told = {"name": "python3", "version": "9"}
    assert "File exists" in refused(folder, known(make_archive(folder, told=told, program="python3")))


def test_what_it_says_of_itself_is_no_link(folder: Path) -> None:
    archive = make_archive(folder, **{"package.json@": "/etc/passwd"})
    assert "holds no package.json" in refused(folder, known(archive))


def test_what_leaves_its_folder_stays_inside(folder: Path) -> None:
    archive = make_archive(folder, **{"away@": str(folder), "away/escaped": "x", "../../../escaped": "x"})
    refused(folder, known(archive))
    assert not list(folder.rglob("escaped"))


def test_what_is_no_archive_and_what_is_not_there(folder: Path) -> None:
    path = folder / "tiny-editor.tar.gz"
    path.write_bytes(b"no archive")
    assert "tiny-editor.tar.gz" in refused(folder, known(path))
    assert "No such file" in refused(folder, Archive(folder / "none.tar.gz", "0" * 64))
