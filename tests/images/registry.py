"""A real registry (Distribution) over TLS on this machine, and images that are made and pushed as people do."""

import atexit
import os
import shutil
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from io import BytesIO
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from mosu.sandbox.environments import Environment
from mosu.site_agent.images import Images
from tests.hub import free_port
from tests.site_agent.lab import shared_folder, until

TEAM = "team"
PROGRAMS = ("bash", "cat", "env", "id", "ls", "mkdir", "mkfifo", "mktemp", "rm", "sleep", "tar", "touch")


@dataclass(frozen=True, slots=True)
class Registry:
    folder: Path
    port: int
    certificate: Path

    @property
    def prefix(self) -> str:
        """What a supplier allows."""
        return f"localhost:{self.port}/{TEAM}"

    def pushed(self, name: str, layers: Sequence[Path], *, envs: Mapping[str, str] | None = None) -> str:
        """An image of these tar files; its name in full, by digest."""
        layout = self.folder / f"oci-{name}"
        shutil.rmtree(layout, ignore_errors=True)
        _run("umoci", "init", "--layout", str(layout))
        _run("umoci", "new", "--image", f"{layout}:new")
        for layer in layers:
            _run("umoci", "raw", "add-layer", "--image", f"{layout}:new", str(layer))
        variables = [f"--config.env={key}={value}" for key, value in (envs or {}).items()]
        _run("umoci", "config", "--image", f"{layout}:new", *variables)
        digest = self.folder / f"{name}.digest"
        where = f"docker://{self.prefix}/{name}:new"
        copy = ("skopeo", "--insecure-policy", "copy", "--quiet", "--digestfile", str(digest))
        _run(*copy, f"oci:{layout}:new", where, SSL_CERT_FILE=str(self.certificate))
        return f"{self.prefix}/{name}@{digest.read_text()}"


@cache
def registry() -> Registry:
    """One for the whole session; who asks it must trust `certificate` (`SSL_CERT_FILE`)."""
    folder = shared_folder() / "registry"
    folder.mkdir()
    certificate, key = _certified(folder)
    found = Registry(folder, free_port(), certificate)
    (folder / "settings.yml").write_text(
        f"version: 0.1\nstorage: {{filesystem: {{rootdirectory: {folder}/kept}}}}\n"
        f"http: {{addr: '127.0.0.1:{found.port}', tls: {{certificate: {certificate}, key: {key}}}}}\n"
    )
    said = folder / "said"
    with said.open("wb") as out:
        process = subprocess.Popen(
            ["docker-registry", "serve", str(folder / "settings.yml")], stdout=out, stderr=out
        )
    atexit.register(process.kill)
    until(lambda: b"listening on" in said.read_bytes() or process.poll() is not None, what="the registry")
    assert process.poll() is None, said.read_text()
    return found


def layer(path: Path, root: Path) -> Path:
    """A tar file of what lies below `root`."""
    with tarfile.open(path, "w") as tar:
        tar.add(root, "/")
    return path


def odd_layer(path: Path, members: Sequence[tarfile.TarInfo]) -> Path:
    """A tar file of these members, which no program would make; a file's content is as many dots as it is long."""
    with tarfile.open(path, "w") as tar:
        for member in members:
            tar.addfile(member, BytesIO(b"." * member.size))
    return path


def lay_programs(root: Path, *programs: str) -> None:
    """These programs of this machine below `root`, each with the libraries that it is linked with."""
    for program in programs:
        found = shutil.which(program, path="/usr/bin:/bin:/usr/sbin")
        assert found is not None, program
        words = subprocess.run(["ldd", found], capture_output=True, text=True, check=True).stdout.split()
        for file in [found, *(word for word in words if word.startswith("/"))]:
            target = root / file.removeprefix("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
            target.chmod(0o755)
    if not (root / "bin").exists():
        (root / "bin").symlink_to("usr/bin")


@cache
def plain_image() -> str:
    """Programs of this machine, a file that says what it is, and a variable."""
    root = registry().folder / "plain"
    lay_programs(root, *PROGRAMS)
    (root / "etc").mkdir()
    (root / "etc" / "motd").write_text("of the image\n")
    return registry().pushed("plain", [layer(root.with_suffix(".tar"), root)], envs={"MADE_BY": "its makers"})


def _certified(folder: Path) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    names: list[x509.GeneralName] = [x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))]
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=2))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate, secret = folder / "certificate.pem", folder / "key.pem"
    certificate.write_bytes(made.public_bytes(Encoding.PEM))
    secret.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return certificate, secret


def _run(*command: str, **env: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **env})
    assert done.returncode == 0, done.stderr


def images_in(folder: Path, environment: Environment, *, room_gb: int = 1) -> Images:
    """Where an engine keeps them, below `folder`: those of the registry."""
    place = folder / "images"
    place.mkdir(exist_ok=True)
    return Images(place, room_gb=room_gb, allowed=[registry().prefix], environment=environment)
