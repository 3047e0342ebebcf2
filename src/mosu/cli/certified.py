"""A key with which a person comes into one session, and how `ssh` is told of it.

One folder for each session, `ssh/RUN` beside the configuration file, for its owner alone: the key, made by `ssh-keygen`
and never sent; its certificate; the one key that the session's server may show, so that nobody is asked whether they
trust it; the relay that the hub named, so that what `ssh` calls need not ask again.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mosu.cli.stop import USAGE, Stop
from mosu.client.config import config_path
from mosu.client.errors import BrokenAnswer
from mosu.wire.ssh import SSH_USER

if TYPE_CHECKING:
    from mosu.client import Client
    from mosu.client.models import Run

FRESH_S: Final = 300.0
"""A certificate is asked for anew after so long: an editor opens several connections at once."""
KEPT_S: Final = 86_400.0
"""No certificate lives longer."""
_CERTIFICATE: Final = "key-cert.pub"
"""`ssh` looks for a key's certificate under this name beside it."""
_KNOWN_HOSTS: Final = "known_hosts"
_RELAY: Final = "relay.json"
_RUN_ID: Final = re.compile(r"run_[0-9a-z]{1,60}")
_A_LINE: Final = re.compile(r"[\x20-\x7e]+")


@dataclass(frozen=True, slots=True)
class Programs:
    """OpenSSH's client, as this machine has it."""

    ssh: str
    keygen: str


def programs() -> Programs:
    """
    Raises:
        Stop: it is not installed.
    """
    ssh, keygen = shutil.which("ssh"), shutil.which("ssh-keygen")
    if ssh is None or keygen is None:
        raise Stop(
            "There is no ssh on this machine.",
            hint="Install OpenSSH's client: apt-get install openssh-client, or as your system calls it.",
            code=USAGE,
        )
    return Programs(ssh, keygen)


def folder_for(hub: "Client", run_id: str, programs: Programs) -> Path:
    """Where a key for the session lies with a certificate that was fetched lately.

    Safe to call twice at once: the key is laid whole, and only where there is none; a certificate is replaced.

    Raises:
        Stop: this is no run's id, or no key could be made.
        BrokenAnswer: the hub's answer is none.
    """
    if not _RUN_ID.fullmatch(run_id):
        raise Stop(f"{run_id[:60]!r} is not the id of a run.", code=USAGE)
    every = config_path().parent / "ssh"
    every.mkdir(mode=0o700, parents=True, exist_ok=True)
    _remove_old(every)
    folder = every / run_id
    if not (folder / "key").exists():
        _lay_key(folder, programs)
    certificate = folder / _CERTIFICATE
    if not (certificate.exists() and time.time() - certificate.stat().st_mtime < FRESH_S):
        made = hub.certify_key(run_id, (folder / "key.pub").read_text())
        if not (_A_LINE.fullmatch(made.certificate) and _A_LINE.fullmatch(made.host_key)):
            raise BrokenAnswer("The hub's answer is no certificate.", hint="Update mosu.")
        _replace(folder / _KNOWN_HOSTS, f"{run_id} {made.host_key}\n")
        _replace(certificate, f"{made.certificate}\n")
    return folder


def keep_relay(folder: Path, *, hub_url: str, url: str) -> None:
    """Note where the session is reached, and which hub said so."""
    _replace(folder / _RELAY, json.dumps({"hub": hub_url, "relay": url}))


def kept_relay(run_id: str, *, hub_url: str) -> str | None:
    """What was noted last on the word of this hub; None where nothing was, or another hub said it."""
    if not _RUN_ID.fullmatch(run_id):
        return None
    try:
        kept = json.loads((config_path().parent / "ssh" / run_id / _RELAY).read_text())
        return str(kept["relay"]) if kept["hub"] == hub_url else None
    except (OSError, ValueError, LookupError, TypeError):
        return None


def _lay_key(folder: Path, programs: Programs) -> None:
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".new-") as new:
        made = Path(new) / "made"
        made.mkdir(mode=0o700)
        key = made / "key"
        words = [programs.keygen, "-q", "-t", "ed25519", "-N", "", "-C", "mosu", "-f", str(key)]
        done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise Stop(f"ssh-keygen made no key: {done.stderr.strip()[:300]}", hint="Try it by hand.")
        try:
            made.rename(folder)
        except OSError:  # another one was quicker, and a folder with a key in it is not replaced
            if not (folder / "key").exists():
                raise


def _replace(path: Path, text: str) -> None:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".new-")  # made with mode 0600
    with os.fdopen(handle, "w", encoding="ascii") as stream:
        stream.write(text)
    Path(name).replace(path)


def _remove_old(every: Path) -> None:
    """Forget sessions whose certificates have all run out."""
    for folder in every.iterdir():
        try:
            is_old = time.time() - (folder / _CERTIFICATE).stat().st_mtime > KEPT_S
        except OSError:
            continue
        if is_old:
            shutil.rmtree(folder, ignore_errors=True)


def _settings(run_id: str, folder: Path) -> dict[str, str]:
    """What `ssh` must know to come into the session. Whatever else a person set for all hosts stays as it is."""
    return {
        "HostName": run_id,
        "HostKeyAlias": run_id,
        "User": SSH_USER,
        "IdentityFile": _quoted(folder / "key"),
        "IdentitiesOnly": "yes",
        "PreferredAuthentications": "publickey",
        "UserKnownHostsFile": _quoted(folder / _KNOWN_HOSTS),
        "GlobalKnownHostsFile": "/dev/null",
        "StrictHostKeyChecking": "yes",
        "UpdateHostKeys": "no",
        "CheckHostIP": "no",
        "ForwardAgent": "no",  # what answers there is the payload's to replace
        "ForwardX11": "no",
        "ProxyCommand": _ourselves("ssh", "--proxy", run_id),
    }


def _quoted(path: Path) -> str:
    return f'"{path}"'.replace("%", "%%")


def _ourselves(*words: str) -> str:
    """This very mosu, as a shell reads it: an editor may have another PATH."""
    return shlex.join([sys.executable, "-m", "mosu.cli.main", *words]).replace("%", "%%")


def become_ssh(run: "Run", folder: Path, programs: Programs, words: list[str]) -> None:
    """Turn this process into `ssh`: the terminal, signals and the exit code are its own. Never returns."""
    options = [
        word for name, value in _settings(run.id, folder).items() for word in ("-o", f"{name}={value}")
    ]
    sys.stdout.flush()
    os.execv(programs.ssh, [programs.ssh, *options, run.id, *words])  # noqa: S606


def config_block(run: "Run", folder: Path) -> str:
    """What to add to `~/.ssh/config`. The certificate is fetched before `ssh` reads it, hence `Match exec`."""
    name = host_name(run)
    lines = [f"    {key} {value}" for key, value in _settings(run.id, folder).items()]
    certify = _ourselves("ssh", "--certify", run.id)
    return "\n".join([f"Host {name}", *lines, f'Match originalhost {name} exec "{certify}"', ""])


def host_name(run: "Run") -> str:
    """How the session is called in `~/.ssh/config`: by its name as far as that is plain, else by its id."""
    plain = re.sub(r"[^a-z0-9]+", "-", run.name.lower()).strip("-")
    return f"mosu-{plain or run.id.removeprefix('run_')}"
