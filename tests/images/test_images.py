"""Images of containers in the sandbox: from a real registry, by skopeo and umoci, and what a bad one may not do."""

import json
import os
import signal
import socket
import ssl
import subprocess
import tarfile
import threading
from base64 import b64encode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from mosu.compute.session_apps import script_with, secrets_of
from mosu.kernel.reaching import NotReached
from mosu.kernel.refusals import Invalid
from mosu.sandbox import image_root
from mosu.sandbox.environments import Environment
from mosu.sandbox.image_root import Image
from mosu.sandbox.starter import run_as
from mosu.site_agent import image_fetch, images
from mosu.site_agent.image_fetch import Fetching, ImageRefused, NotWanted
from mosu.site_agent.images import Images
from mosu.site_agent.jobs import job_of
from mosu.wire.agent import ServiceSpec
from tests.images.registry import (
    PROGRAMS,
    Registry,
    images_in,
    lay_programs,
    layer,
    odd_layer,
    plain_image,
)
from tests.site_agent.contract import runs_an_image, tells_of_an_image
from tests.site_agent.lab import Lab, make_spec, of_processes, processes_that_name, until
from tests.site_agent.test_contract import LocalBench

pytestmark = pytest.mark.images


@pytest.fixture
def kept(folder: Path, shop: Registry, environment: Environment) -> Images:
    return images_in(folder, environment)


def fetch(kept: Images, image: str, *, attempt_id: str = "attempt_1") -> None:
    kept.lay_for(attempt_id, image, wanted=lambda: True)


@pytest.fixture
def bench(folder: Path, environment: Environment, kept: Images) -> LocalBench:
    return LocalBench(Lab(folder / "state", environment, images=kept))


def test_a_run_sees_the_image_and_nothing_of_the_machine(bench: LocalBench, kept: Images) -> None:
    runs_an_image(bench, kept, plain_image())


def test_people_are_joined_to_a_session_of_an_image(bench: LocalBench, kept: Images) -> None:
    tells_of_an_image(bench, kept, plain_image())


def test_an_image_without_any_library(bench: LocalBench, kept: Images, shop: Registry) -> None:
    """No libc, no Python: what starts and ends it is this machine's, and nothing of that is in its way."""
    root = shop.folder / "static"
    (root / "bin").mkdir(parents=True)
    (root / "bin" / "bash").write_bytes(Path("/usr/bin/bash-static").read_bytes())
    (root / "bin" / "bash").chmod(0o755)
    image = shop.pushed("static", [layer(shop.folder / "static.tar", root)])
    tells_of_an_image(bench, kept, image)
    fetch(kept, image)
    lab = bench.lab
    ended = lab.run("echo /*; trap 'echo asked; exit 3' TERM; kill -TERM $$", environment=f"docker:{image}")
    assert ended.log == "/bin /dev /etc /proc /run /tmp /work\nasked\n"
    assert ended.seen.exit_code == 3


def test_a_service_of_an_image_is_kept_up(bench: LocalBench, kept: Images) -> None:
    fetch(kept, plain_image())
    lab = bench.lab
    ref = lab.start(
        "echo up; while [ ! -e go ]; do sleep 0.02; done; rm go; exit 5",
        environment=f"docker:{plain_image()}",
        session=True,
        service=ServiceSpec(port=8000),
    )
    for _ in range(2):
        until(lambda: lab.log(ref).endswith("up\n"), what="up")
        known = lab.log(ref)
        (lab.attempt(ref) / "work" / "go").touch()
        until(lambda known=known: lab.log(ref) != known and lab.log(ref).endswith("up\n"), what="up again")  # type: ignore[misc]
    assert lab.log(ref).count("the service ended with exit code 5") == 2
    lab.engine.cancel(ref)
    assert lab.wait(ref).seen.phase == "cancelled"


@pytest.mark.usefixtures("hub_keys")
def test_ssh_into_the_server_that_an_image_brings(bench: LocalBench, kept: Images, shop: Registry) -> None:
    root = shop.folder / "with-sshd"
    lay_programs(root, *PROGRAMS, "sshd")
    (root / "var" / "empty").mkdir(parents=True)
    image = shop.pushed("with-sshd", [layer(root.with_suffix(".tar"), root)], envs={"SHELL": "/bin/bash"})
    fetch(kept, image)
    spec = make_spec()
    lab = bench.lab
    ref = lab.start(
        script_with(["ssh"], ""),
        attempt_id=spec.attempt_id,
        session=True,
        environment=f"docker:{image}",
        secrets=secrets_of(["ssh"], spec.attempt_id),
    )

    def greeting() -> bytes:
        try:
            with lab.engine.connect(ref, 2222) as taken:
                taken.settimeout(60)
                return taken.recv(8)
        except (OSError, NotReached):
            return b""

    until(lambda: greeting() == b"SSH-2.0-" or lab.seen(ref).phase != "running", what="its greeting")
    assert lab.seen(ref).phase == "running", lab.log(ref)
    lab.engine.cancel(ref)
    lab.wait(ref)


@pytest.mark.usefixtures("hub_keys")
def test_a_session_with_ssh_says_that_its_image_has_no_server(bench: LocalBench, kept: Images) -> None:
    fetch(kept, plain_image())
    spec = make_spec()
    ended = bench.lab.run(
        script_with(["ssh"], ""),
        attempt_id=spec.attempt_id,
        session=True,
        environment=f"docker:{plain_image()}",
        secrets=secrets_of(["ssh"], spec.attempt_id),
    )
    assert "there is no OpenSSH server here (/usr/sbin/sshd)" in ended.log


def test_who_has_cards_gets_the_drivers_libraries_of_its_node(
    kept: Images, environment: Environment, lab: Lab, folder: Path
) -> None:
    """Met with a library that every machine has: no machine of ours has a card."""
    fetch(kept, plain_image())
    job = lambda **more: job_of(  # noqa: E731
        make_spec(environment=f"docker:{plain_image()}", **more),
        {"python": environment},
        starter=Path("bwrap"),
        who=lab.engine._who,
        log_bytes_max=1,
        envs={},
        images=kept,
    )["image"]
    assert job(accelerator="", devices=())["drivers"] == []
    asked = job(accelerator="nvidia-a100-80g", devices=((0,),))["drivers"]
    assert "{libraries}/libcuda.so*" in asked


@pytest.mark.parametrize("variables", [{}, {"LD_LIBRARY_PATH": "/opt/own"}])
def test_drivers_are_found_by_name(folder: Path, environment: Environment, variables: dict[str, str]) -> None:
    image = Image(folder, variables, ["{libraries}/libz.so*", "{libraries}/libnone.so*"])
    words = image_root.drivers(image)
    assert words[0] == "--symlink" and "/run/mosu/drivers/libz.so.1" in words
    assert not any("libnone" in word for word in words)
    known = image_root.variables(image)["LD_LIBRARY_PATH"].split(":")
    assert known == [*variables.values(), "/run/mosu/drivers"]
    assert "LD_LIBRARY_PATH" not in image_root.variables(Image(folder, variables))


def link(name: str, to: str, *, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    found = tarfile.TarInfo(name)
    found.type, found.linkname = kind, to
    return found


def plain(name: str, size: int = 3, mode: int = 0o644) -> tarfile.TarInfo:
    found = tarfile.TarInfo(name)
    found.size, found.mode = size, mode
    return found


def test_links_at_its_root_lead_nowhere(
    bench: LocalBench, kept: Images, shop: Registry, folder: Path
) -> None:
    """bubblewrap follows links with our rights while it builds: none of them is on its way."""
    outside = folder / "outside"
    outside.mkdir(mode=0o777)
    outside.chmod(0o777)
    root = shop.folder / "links"
    lay_programs(root, "bash", "ls", "cat")
    names = ("run", "work", "proc", "dev", "tmp", "sys", "opt", "data")
    members = [link(name, f"/oldroot{outside}") for name in names]
    members += [
        link(f"etc/{name}", f"/oldroot{outside}/{name}") for name in ("passwd", "hosts", "nsswitch.conf")
    ]
    tars = [layer(shop.folder / "links.tar", root), odd_layer(shop.folder / "odd.tar", members)]
    image = shop.pushed("links", tars)
    fetch(kept, image)
    ended = bench.lab.run(
        "cat /etc/passwd; ls /opt/ /data/; echo mine > /work/f", environment=f"docker:{image}", session=True
    )
    assert "runner:x:1000" in ended.log and ended.log.count("No such file or directory") == 2, ended
    assert list(outside.iterdir()) == []


@pytest.mark.parametrize("as_file", [True, False])
def test_etc_that_is_no_folder_is_refused(kept: Images, shop: Registry, folder: Path, as_file: bool) -> None:
    member = plain("etc") if as_file else link("etc", "/")
    image = shop.pushed("etc", [odd_layer(shop.folder / "etc.tar", [member])])
    with pytest.raises(ImageRefused, match="its /etc is no folder"):
        fetch(kept, image)
    assert left_in(folder) == set()


def left_in(folder: Path) -> set[str]:
    return {path.name for path in (folder / "images").iterdir()} - {"uses", "lock", "tools"}


def test_what_a_layer_lays_outside_lands_inside(kept: Images, shop: Registry, folder: Path) -> None:
    target = folder / "open"
    target.mkdir()
    target.chmod(0o777)
    first = odd_layer(shop.folder / "first.tar", [link("way", str(target)), link("up", "../../../..")])
    second = odd_layer(
        shop.folder / "second.tar",
        [
            plain("way/written"),
            plain(f"../../../../..{target}/escaped"),
            plain("up/higher"),
            link("hard", "/etc/passwd", kind=tarfile.LNKTYPE),
        ],
    )
    image = shop.pushed("climbs", [first, second])
    try:
        fetch(kept, image)
    except ImageRefused as refused:
        assert "could not be unpacked" in refused.message
    assert list(target.iterdir()) == []
    assert not (folder / "images" / "higher").exists()


def test_programs_with_rights_and_devices_have_none(bench: LocalBench, kept: Images, shop: Registry) -> None:
    root = shop.folder / "rights"
    lay_programs(root, "bash", "id", "ls")
    (root / "usr" / "bin" / "id").chmod(0o4755)
    device = tarfile.TarInfo("card")
    device.type, device.devmajor, device.devminor, device.mode = tarfile.CHRTYPE, 1, 1, 0o666
    image = shop.pushed(
        "rights", [layer(shop.folder / "rights.tar", root), odd_layer(shop.folder / "card.tar", [device])]
    )
    fetch(kept, image)
    ended = bench.lab.run("id -u; [ -c /card ] && echo device; true", environment=f"docker:{image}")
    assert ended.log == "1000\n"


def test_one_that_grows_past_the_room_is_broken_off(
    shop: Registry, folder: Path, environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "_GB", 1 << 20)
    kept = images_in(folder, environment, room_gb=32)
    bomb = odd_layer(shop.folder / "bomb.tar", [plain("zeros", size=512 << 20)])
    image = shop.pushed("bomb", [bomb])
    bomb.unlink()
    with pytest.raises(ImageRefused, match="takes more than the room that is left for images here: 32 GB"):
        fetch(kept, image)
    assert left_in(folder) == set()


def test_a_killed_umoci_may_be_tried_again(kept: Images, shop: Registry, folder: Path) -> None:
    large = odd_layer(shop.folder / "large.tar", [plain("dots", size=512 << 20)])
    image = shop.pushed("large", [large])
    large.unlink()
    with ThreadPoolExecutor(1) as one:
        task = one.submit(fetch, kept, image)
        until(lambda: killed_umoci(folder), what="umoci unpacks")
        with pytest.raises(OSError, match=r"could not be unpacked: .*Killed"):
            task.result(timeout=60)
    assert left_in(folder) == set()
    fetch(kept, image)
    assert left_in(folder) == {image.rpartition(":")[2]}


def killed_umoci(folder: Path) -> bool:
    """Whether one unpacked below the folder: others on this machine go on, and so does the shell that waits for it."""
    mounts = of_processes("mountinfo")
    for pid, name in of_processes("comm").items():
        if name == b"umoci\n" and folder.name.encode() in mounts.get(pid, b""):
            os.kill(pid, signal.SIGKILL)
            return True
    return False


@pytest.fixture
def small_disk(folder: Path) -> Iterator[Path]:
    """A disk of 16 MiB, half of which something else has taken: `taken`."""
    disk = folder / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m,mode=711", "none", str(disk)], check=True)
    try:
        (disk / "taken").write_bytes(bytes(8 << 20))
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="root only: mounts a disk")
@pytest.mark.parametrize("who", ["skopeo", "umoci"])
def test_a_full_disk_may_have_room_again(
    who: str, shop: Registry, environment: Environment, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "_GB", 1 << 20)
    kept = images_in(small_disk, environment, room_gb=16)
    content = shop.folder / who / "content"
    content.parent.mkdir()
    content.write_bytes(os.urandom(6 << 20) if who == "skopeo" else bytes(10 << 20))
    image = shop.pushed(who, [layer(shop.folder / f"{who}.tar", content.parent)])
    filler = small_disk / "more"
    filler.write_bytes(bytes((4 if who == "skopeo" else 0) << 20))
    with pytest.raises(OSError, match="no space left on device"):
        fetch(kept, image)
    assert left_in(small_disk) == set()
    filler.unlink()
    (small_disk / "taken").unlink()
    fetch(kept, image)
    assert left_in(small_disk) == {image.rpartition(":")[2]}


def test_the_least_lately_used_makes_room_and_what_is_used_stays(
    shop: Registry, folder: Path, environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "_GB", 1 << 20)
    kept = images_in(folder, environment, room_gb=30)
    made = []
    for name in ("a", "b", "c", "d"):
        content = shop.folder / name / f"content-{name}"
        content.parent.mkdir()
        content.write_bytes(os.urandom(7 << 20))
        made.append(shop.pushed(name, [layer(shop.folder / f"{name}.tar", content.parent)]))
    digests = [image.rpartition(":")[2] for image in made]
    for image, attempt in zip(made[:3], ("first", "second", "third"), strict=True):
        fetch(kept, image, attempt_id=attempt)
    assert left_in(folder) == set(digests[:3])
    for place, digest in enumerate(digests[:3]):
        os.utime(folder / "images" / digest / "image.json", (place, place))
    kept.let_go("second")
    kept.let_go("third")
    fetch(kept, made[3], attempt_id="fourth")
    assert digests[0] in left_in(folder) and digests[3] in left_in(folder)
    assert digests[1] not in left_in(folder)
    # All that is left is used: there is no room for another, and nobody's is taken.
    fetch(kept, made[2], attempt_id="third")
    with pytest.raises(ImageRefused, match="those that other runs use"):
        fetch(kept, made[1], attempt_id="fifth")
    assert left_in(folder) == {digests[0], digests[2], digests[3]}


def test_after_a_restart_it_knows_what_it_has_and_what_is_used(
    kept: Images, shop: Registry, folder: Path, environment: Environment
) -> None:
    fetch(kept, plain_image(), attempt_id="lives")
    fetch(kept, plain_image(), attempt_id="gone")
    with pytest.raises(Invalid, match="Another agent keeps its images"):
        images_in(folder, environment)
    kept.close()
    (folder / "images" / ".new-half").mkdir()
    (folder / "images" / ".gone-half").mkdir()
    again = images_in(folder, environment)
    again.keep_for(["lives"])
    assert {path.name for path in (folder / "images" / "uses").iterdir()} == {"lives"}
    assert left_in(folder) == {plain_image().rpartition(":")[2]}
    assert again.of(plain_image())["envs"]["MADE_BY"] == "its makers"


def test_many_who_want_it_fetch_it_once(kept: Images, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched = []
    real = image_fetch.Fetching.unpacked
    monkeypatch.setattr(
        image_fetch.Fetching, "unpacked", lambda self: (fetched.append(self.image), real(self))[1]
    )
    with ThreadPoolExecutor(6) as many:
        list(many.map(lambda n: fetch(kept, plain_image(), attempt_id=f"a{n}"), range(6)))
    assert fetched == [plain_image()]
    assert len(list((folder / "images" / "uses").iterdir())) == 6


def test_what_the_registry_does_not_have_is_said_in_its_words(
    kept: Images, shop: Registry, folder: Path
) -> None:
    with pytest.raises(ImageRefused, match="manifest unknown"):
        fetch(kept, f"{shop.prefix}/plain@sha256:{'0' * 64}")
    with pytest.raises(Invalid, match="not run here"):
        fetch(kept, f"docker.io/library/debian@sha256:{'0' * 64}")
    with pytest.raises(Invalid, match="not here"):
        kept.of(f"{shop.prefix}/plain@sha256:{'0' * 64}")
    assert left_in(folder) == set()


def test_bytes_that_are_not_those_of_the_digest_are_refused(
    kept: Images, shop: Registry, folder: Path
) -> None:
    content = shop.folder / "other" / "content"
    content.parent.mkdir()
    content.write_bytes(os.urandom(1000))
    image = shop.pushed("tampered", [layer(shop.folder / "tampered.tar", content.parent)])
    blobs = [*(shop.folder / "kept" / "docker" / "registry" / "v2" / "blobs").rglob("data")]
    newest = max(blobs, key=lambda path: (path.stat().st_size > 900, path.stat().st_mtime))
    known = newest.read_bytes()
    newest.write_bytes(bytes([known[0], *known[1:-1], known[-1] ^ 1]))
    try:
        with pytest.raises((ImageRefused, OSError)):
            fetch(kept, image)
    finally:
        newest.write_bytes(known)
    assert left_in(folder) == set()


def test_a_registry_that_is_away_may_come_back(
    folder: Path, environment: Environment, shop: Registry
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    place = folder / "images"
    place.mkdir()
    kept = Images(place, room_gb=1, allowed=[f"localhost:{port}"], environment=environment)
    with pytest.raises(OSError, match="connection refused"):
        fetch(kept, f"localhost:{port}/team/plain@sha256:{'0' * 64}")
    assert left_in(folder) == set()


@pytest.mark.parametrize("how", ["nobody waits", "nothing comes"])
def test_a_silent_registry_keeps_nobody(
    folder: Path, environment: Environment, shop: Registry, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    place = folder / "images"
    place.mkdir()
    wanted = threading.Event()
    wanted.set()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        where = f"localhost:{silent.getsockname()[1]}"
        kept = Images(place, room_gb=1, allowed=[where], environment=environment)
        image = f"{where}/team/plain@sha256:{'0' * 64}"
        if how == "nothing comes":
            monkeypatch.setattr(image_fetch, "STALLED_S", 1.0)
            with pytest.raises(OSError, match="did not come on"):
                fetch(kept, image)
        else:
            with ThreadPoolExecutor(1) as one:
                task = one.submit(kept.lay_for, "a", image, wanted=wanted.is_set)
                with silent.accept()[0]:  # it has asked
                    wanted.clear()
                    with pytest.raises(NotWanted):
                        task.result(timeout=60)
    assert left_in(folder) == set()
    until(lambda: not processes_that_name(where), what="skopeo has ended")


def test_variables_that_no_shell_holds_are_left_out(kept: Images, shop: Registry) -> None:
    tar = odd_layer(shop.folder / "envs.tar", [plain("file")])
    image = shop.pushed("envs", [tar], envs={"GOOD": "a=b c", "no-name": "x", "LD_PRELOAD": "/evil.so"})
    fetch(kept, image)
    assert kept.of(image)["envs"] == {"GOOD": "a=b c", "LD_PRELOAD": "/evil.so"}


def test_settings_that_do_not_do(
    folder: Path, shop: Registry, environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Invalid, match="There is no folder"):
        Images(folder / "none", room_gb=1, allowed=[shop.prefix], environment=environment)
    with pytest.raises(Invalid, match="does not have 1000000 GB"):
        images_in(folder, environment, room_gb=1_000_000)
    monkeypatch.setattr(image_fetch, "_TOOLS", ("skopeo-that-is-not", "umoci"))
    with pytest.raises(Invalid, match="need skopeo-that-is-not, which this machine does not have"):
        images_in(folder, environment)


def test_what_comes_from_outside_belongs_to_the_sandboxs_user(
    kept: Images, shop: Registry, folder: Path
) -> None:
    """So neither skopeo nor umoci had our rights."""
    fetch(kept, plain_image())
    digest = plain_image().rpartition(":")[2]
    assert (folder / "images" / digest / "root" / "etc" / "motd").stat().st_uid == run_as().uid


def test_our_own_processes_read_nothing_of_the_image(bench: LocalBench, kept: Images, shop: Registry) -> None:
    """What they loaded of it could keep the meter from starting; a pipe that nobody writes to would keep them."""
    root = shop.folder / "loads"
    lay_programs(root, "bash", "ls")
    (root / "etc").mkdir()
    (root / "etc" / "ld.so.preload").write_text("/evil.so\n")
    pipes = ["etc/localtime", "usr/lib/locale/locale-archive", "usr/share/zoneinfo/UTC0"]
    for name in pipes:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        os.mkfifo(root / name)
    image = shop.pushed("loads", [layer(root.with_suffix(".tar"), root)])
    fetch(kept, image)
    ended = bench.lab.run("echo ran", environment=f"docker:{image}", envs={"LANG": "C"}, wall_limit_s=60)
    assert (ended.seen.phase, ended.log) == ("succeeded", "ran\n")


def test_no_program_of_it_has_its_owners_rights_on_the_machine(
    kept: Images, shop: Registry, folder: Path
) -> None:
    closed = plain("closed", size=0, mode=0)
    closed.type = tarfile.DIRTYPE
    members = [plain("other", mode=0o6755), *([closed] if os.geteuid() == 0 else [])]
    image = shop.pushed("owners", [odd_layer(shop.folder / "owners.tar", members)])
    fetch(kept, image)
    root = folder / "images" / image.rpartition(":")[2] / "root"
    assert (root / "other").stat().st_mode & 0o7777 == 0o755


def test_names_that_are_no_utf_8(bench: LocalBench, kept: Images, shop: Registry) -> None:
    """Else no supervisor would live to say how it ended, and the attempt would be lost again and again."""
    root = shop.folder / "bytes"
    lay_programs(root, "bash")
    (root / os.fsdecode(b"\xff")).mkdir()
    image = shop.pushed("bytes", [layer(root.with_suffix(".tar"), root)])
    fetch(kept, image)
    ended = bench.lab.run("echo /*", environment=f"docker:{image}")
    assert ended.seen.phase == "succeeded" and "/bin" in ended.log


def test_what_the_disk_garbled_is_fetched_again(kept: Images, shop: Registry, folder: Path) -> None:
    fetch(kept, plain_image())
    facts = folder / "images" / plain_image().rpartition(":")[2] / "image.json"
    facts.write_text("{")
    with pytest.raises(Invalid, match="not here"):
        kept.of(plain_image())
    fetch(kept, plain_image(), attempt_id="second")
    assert kept.of(plain_image())["envs"]["MADE_BY"] == "its makers"
    assert left_in(folder) == {plain_image().rpartition(":")[2]}


def test_who_drips_is_broken_off(
    kept: Images, shop: Registry, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_fetch, "FETCH_S_MAX", 0.0)
    with pytest.raises(OSError, match="took more than"):
        fetch(kept, plain_image())
    assert left_in(folder) == set()


def test_a_sign_in_of_the_agents_is_not_used(
    folder: Path, environment: Environment, monkeypatch: pytest.MonkeyPatch, shop: Registry
) -> None:
    said: list[str] = []

    class Asks(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            said.append(self.headers.get("Authorization", ""))
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="here"')
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    trusted = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trusted.load_cert_chain(shop.certificate, shop.certificate.with_name("key.pem"))
    with HTTPServer(("127.0.0.1", 0), Asks) as server:
        server.socket = trusted.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        where = f"localhost:{server.server_address[1]}"
        known = folder / "auth.json"
        known.write_text(json.dumps({"auths": {where: {"auth": b64encode(b"we:secret").decode()}}}))
        known.chmod(0o644)
        monkeypatch.setenv("REGISTRY_AUTH_FILE", str(known))
        monkeypatch.setattr(image_fetch, "_INHERITED", (*image_fetch._INHERITED, "REGISTRY_AUTH_FILE"))
        place = folder / "images"
        place.mkdir()
        kept = Images(place, room_gb=1, allowed=[where], environment=environment)
        try:
            with pytest.raises(ImageRefused, match="unauthorized"):
                fetch(kept, f"{where}/team/plain@sha256:{'0' * 64}")
        finally:
            server.shutdown()
    assert said and b64encode(b"we:secret").decode() not in " ".join(said)


def test_what_a_tool_says_is_told_without_our_folders(folder: Path, environment: Environment) -> None:
    fetching = Fetching("x/y@sha256:0", folder, run_as(), folder, environment, lambda _: None, lambda: True)
    assert (
        fetching._complaint(f"ERROR: open {folder}/oci/a\x1b[2J\0b\u202e: bad") == "open /oci/a?[2J?b?: bad"
    )
