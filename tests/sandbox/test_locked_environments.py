"""Environments by a lock: from real wheels, by real pip, unpacked in a real sandbox; whole or not at all."""

import hashlib
import os
import stat
import tarfile
import threading
import zipfile
from io import BytesIO
from pathlib import Path

import pytest
from tests.site_agent.lab import Lab

from mosu.kernel.refusals import Invalid
from mosu.sandbox.environments import (
    Environment,
    build_locked_environment,
    laying,
    load_environment,
    lock_of,
    locked,
    unpacking,
)
from mosu.sandbox.starter import SandboxUnavailable

pytestmark = pytest.mark.usefixtures("linked_interpreter")
CODE = "import sys\ndef main():\n    print('hello from', sys.prefix, __file__, bool(__cached__))\n"


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only place from which pip takes packages."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    return folder


def make_wheel(index: Path, name: str = "tiny", **more: str) -> str:
    """A line of a lock for it; `more`: further files of the wheel, by path."""
    about = f"{name}-1.0.dist-info"
    files = {
        f"{name}.py": CODE,
        f"{name}-1.0.data/data/share/{name}/page.txt": "a page",
        f"{about}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{about}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{about}/entry_points.txt": f"[console_scripts]\n{name}-hello = {name}:main\n",
        **more,
    }
    path = index / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for file, text in files.items():
            wheel.writestr(file, text)
        wheel.writestr(f"{about}/RECORD", "".join(f"{file},,\n" for file in (*files, f"{about}/RECORD")))
    return line_of(path, name)


def line_of(path: Path, name: str) -> str:
    return f"{name}==1.0 --hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}\n"


def make_lock(folder: Path, *lines: str) -> Path:
    path = folder / "some.lock"
    path.write_text("".join(lines))
    return path


def test_what_a_lock_pins_runs_inside(index: Path, folder: Path) -> None:
    lock = make_lock(index, make_wheel(index), make_wheel(index, "other"))
    built = build_locked_environment(folder / "e", name="lab", lock=lock)
    assert (built.name, built.packages) == ("lab", ("other==1.0", "tiny==1.0"))
    assert load_environment(built.root) == built
    ended = Lab(folder / "state", built).run(
        "tiny-hello && cat $(dirname $(command -v tiny-hello))/../share/tiny/page.txt", environment="lab"
    )
    assert ended.ok, ended.log
    site = f"/opt/env/lib/{Path(built.python).name}/site-packages"
    assert f"{site}/tiny.py True" in ended.log and "a page" in ended.log


def test_everyone_may_read_and_nobody_else_write(index: Path, folder: Path) -> None:
    built = build_locked_environment(folder / "e", name="lab", lock=make_lock(index, make_wheel(index)))
    for inner, _, files in os.walk(built.root):
        for path in (Path(inner), *(Path(inner, name) for name in files)):
            if not path.is_symlink():
                facts = path.stat()
                assert facts.st_uid == os.geteuid(), path
                mode = stat.S_IMODE(facts.st_mode)
                assert mode & 0o044 == 0o044 and not mode & 0o022, (path, oct(mode))


def test_it_is_built_once_for_each_lock(index: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    line, more = make_wheel(index), make_wheel(index, "other")
    built = build_locked_environment(folder / "e", name="lab", lock=make_lock(index, line))
    other = build_locked_environment(folder / "e", name="lab", lock=make_lock(index, line, more))
    assert other.root != built.root
    for wheel in index.glob("*.whl"):
        wheel.unlink()
    monkeypatch.setattr(locked, "_download", None)
    same = make_lock(index, "# made by another tool\n", line)
    assert build_locked_environment(folder / "e", name="lab", lock=same) == built


def test_two_builders_at_once_end_with_one(index: Path, folder: Path) -> None:
    lock = make_lock(index, make_wheel(index))
    found = list[Environment]()
    threads = [
        threading.Thread(
            target=lambda: found.append(build_locked_environment(folder / "e", name="lab", lock=lock))
        )
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 2 and len({item.root for item in found}) == 1
    assert [item for item in (folder / "e").iterdir() if item.name != ".tools"] == [found[0].root]


def refused(folder: Path, lock: Path, name: str = "lab") -> str:
    """What is said; and nothing is left but the wheel's bubblewrap."""
    with pytest.raises(Invalid) as caught:
        build_locked_environment(folder / "e", name=name, lock=lock)
    left = list((folder / "e").iterdir()) if (folder / "e").exists() else []
    assert [item for item in left if item.name != ".tools"] == []
    return caught.value.message


def test_a_wheel_that_is_not_what_was_locked(index: Path, folder: Path) -> None:
    lock = make_lock(index, make_wheel(index))
    make_wheel(index, **{"more.py": "import os"})
    assert "DO NOT MATCH THE HASHES" in refused(folder, lock)


def test_a_lock_without_a_hash(index: Path, folder: Path) -> None:
    make_wheel(index)
    assert "some.lock" in refused(folder, make_lock(index, "tiny==1.0\n"))


def test_a_package_that_nobody_has(index: Path, folder: Path) -> None:
    missing = "nobody-has-this==1.0 --hash=sha256:" + "0" * 64
    assert "nobody-has-this" in refused(folder, make_lock(index, missing))


def test_a_lock_that_is_for_others(index: Path, folder: Path) -> None:
    line = make_wheel(index).replace(" --hash", " ; sys_platform == 'win32' --hash")
    assert "it names no package for this machine" in refused(folder, make_lock(index, line))


def make_source(path: Path, seen: Path) -> Path:
    """A source package at `path`. Its build would run code of its own, here: it makes `seen`."""
    with tarfile.open(path, "w:gz") as archive:
        code = f"open({str(seen)!r}, 'w')".encode()
        member = tarfile.TarInfo("tiny-1.0/setup.py")
        member.size = len(code)
        archive.addfile(member, BytesIO(code))
    return path


def test_a_source_package_is_not_built(index: Path, folder: Path) -> None:
    seen = folder / "seen"
    path = make_source(index / "tiny-1.0.tar.gz", seen)
    assert "tiny" in refused(folder, make_lock(index, line_of(path, "tiny")))
    assert not seen.exists()


def test_no_comment_says_how_a_lock_is_read(index: Path, folder: Path) -> None:
    """In UTF-7 `+AAo-` ends a line, and its comment."""
    seen = folder / "seen"
    path = make_source(folder / "tiny-1.0.tar.gz", seen)
    pin = line_of(path, "tiny").replace("tiny==1.0", f"+AAo-tiny @ {path.as_uri()}").replace("\n", "+AAo-")
    lock = make_lock(index, "# coding: utf-7\n", make_wheel(index, "other"), f"# via {pin}\n")
    built = build_locked_environment(folder / "e", name="lab", lock=lock)
    assert built.packages == ("other==1.0",) and not seen.exists()


def test_a_version_names_no_file(index: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """pip takes what ends as an archive does for one of the current folder."""
    seen = folder / "seen"
    path = make_source(folder / "tiny==1.0+x.tar.gz", seen)
    monkeypatch.chdir(folder)
    lock = make_lock(index, line_of(path, "tiny").replace("==1.0", "==1.0+x.tar.gz"))
    assert refused(folder, lock).startswith("some.lock:1: ")
    assert not seen.exists()


def test_a_lock_is_ascii(index: Path, folder: Path) -> None:
    assert "it is not ASCII" in refused(folder, make_lock(index, "# caf\u00e9\n", make_wheel(index)))


def test_what_pip_is_given_is_the_pins_alone(tmp_path: Path) -> None:
    one, two = (f"--hash=sha256:{digit * 64}" for digit in "12")
    marked = "Tiny.x[a,b]==1!1.0.post2+cu118 ; python_version >= '3.12' and os_name != 'nt'"
    lock = make_lock(
        tmp_path, f"# -r x\n{marked} \\\n  {one} \\\n\t{two}\n  # via --pre\nother==2.0rc1 {one} # x\n"
    )
    assert locked._pins_of(lock) == f"{marked} {one} {two}\nother==2.0rc1 {one}\n"


@pytest.mark.parametrize(
    "line",
    [
        "--no-binary :all:",
        "--index-url https://packages.example/simple",
        "-r other.txt",
        "tiny @ file:///tiny.tar.gz --hash=sha256:" + "0" * 64,
        "https://packages.example/tiny-1.0.tar.gz --hash=sha256:" + "0" * 64,
        "tiny>=1.0 --hash=sha256:" + "0" * 64,
        "tiny==1.0 --global-option=x --hash=sha256:" + "0" * 64,
        "tiny==1.0 ; os_name == 'posix' --config-settings=x --hash=sha256:" + "0" * 64,
        "tiny==1.0 ; os_name == '${HOME}' --hash=sha256:" + "0" * 64,
        "tiny==1.0 --hash=md5:" + "0" * 32,
    ],
)
def test_a_lock_pins_packages_and_says_nothing_else(line: str, index: Path, folder: Path) -> None:
    lock = make_lock(index, "# made by a tool\n", make_wheel(index), f"{line}\n")
    assert refused(folder, lock).startswith("some.lock:3: ")


def test_a_wheel_that_is_none(index: Path, folder: Path) -> None:
    path = index / "tiny-1.0-py3-none-any.whl"
    path.write_bytes(b"PK no wheel")
    assert "some.lock" in refused(folder, make_lock(index, line_of(path, "tiny")))


def test_a_wheel_that_leaves_its_folder(index: Path, folder: Path) -> None:
    lock = make_lock(index, make_wheel(index, **{"../../escaped.py": "x = 1"}))
    refused(folder, lock)
    assert not list(folder.rglob("escaped.py"))


def test_what_is_unpacked_is_not_believed(index: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A link could lead what is copied to a file of this machine."""
    monkeypatch.setattr(locked, "_UNPACK", "mkdir /work/out && ln -s /etc/passwd /work/out/tiny.py")
    lock = make_lock(index, make_wheel(index))
    assert "'tiny.py' is neither a file nor a folder" in refused(folder, lock)


def test_what_is_unpacked_is_no_link_itself(
    index: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "other").mkdir()
    monkeypatch.setattr(locked, "_UNPACK", f"ln -s {folder}/other /work/out")
    assert "what was unpacked is no folder" in refused(folder, make_lock(index, make_wheel(index)))


@pytest.mark.parametrize("name", ["python", "python3"])
def test_no_package_brings_an_interpreter(
    name: str, index: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An environment's may be a link to this machine's, which would be written over."""
    ours = folder / "ours"
    ours.write_text("ours")
    monkeypatch.setattr(laying, "python_inside", lambda: str(ours))
    monkeypatch.setattr(locked, "_UNPACK", f"mkdir -p /work/out/bin && echo theirs > /work/out/bin/{name}")
    assert f"'bin/{name}' is in every environment" in refused(folder, make_lock(index, make_wheel(index)))
    assert ours.read_text() == "ours"


@pytest.mark.parametrize(
    ("laid", "brought"), [("bin/tool", "bin/tool/x"), ("share/x", "share"), ("etc", "etc/x")]
)
def test_what_is_laid_stays(laid: str, brought: str, tmp_path: Path) -> None:
    out, draft = tmp_path / "out", tmp_path / "draft"
    for path in (draft / laid, out / brought):
        path.parent.mkdir(parents=True)
        path.write_text("x")
    with pytest.raises(unpacking.Unusable, match="is in every environment"):
        unpacking.take_over(out, lambda item: locked._place_of(item, draft))


@pytest.mark.parametrize("name", ["", "a b", "../x", ".hidden", "x" * 64])
def test_what_names_no_environment(name: str, index: Path, folder: Path) -> None:
    assert "names no environment" in refused(folder, make_lock(index, make_wheel(index)), name)


def test_a_lock_that_is_not_there(folder: Path) -> None:
    assert "cannot be read" in refused(folder, folder / "none.lock")


def test_the_locks_that_mosu_brings() -> None:
    assert "jupyterlab==" in locked._pins_of(lock_of("jupyter"))
    assert len(locked._pins_of(lock_of("smollm2")).splitlines()) == 2  # nothing that they would bring along
    with pytest.raises(Invalid, match="brings no lock for 'rust'"):
        lock_of("rust")


@pytest.mark.skipif(os.geteuid() != 0, reason="the sandbox's user is we ourselves")
def test_a_folder_that_the_sandbox_cannot_reach(index: Path, folder: Path) -> None:
    closed = folder / "closed"
    closed.mkdir(mode=0o700)
    lock = make_lock(index, make_wheel(index))
    with pytest.raises(SandboxUnavailable, match="cannot pass through"):
        build_locked_environment(closed / "e", name="lab", lock=lock)
