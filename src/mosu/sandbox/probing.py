"""Can untrusted code be contained here? Asked by doing it: `python -m mosu.sandbox.probing`."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from mosu.sandbox.bubblewrap import filter_path
from mosu.sandbox.cgroups import delegated
from mosu.sandbox.starter import SandboxUnavailable, find_bwrap, install_command, run_as

_SYSCTL: Final = Path("/proc/sys")


@dataclass(frozen=True, slots=True)
class SandboxReport:
    """`features`: `bubblewrap+seccomp+cgroup`; where not `ok`, why not and the command that mends it."""

    ok: bool
    features: str
    memory_source: str
    """`cgroup` (limited and measured by the kernel) or `sampled` (watched from outside)."""
    why_not: str = ""
    mend: str = ""
    away: bool = False
    """Nobody can say: the engine does not answer."""


def probe(tools: Path | None = None) -> SandboxReport:
    """Builds a sandbox with an explicit user namespace, runs `true` in it, and says how that went.

    `tools`: where the wheel's bubblewrap may be copied if its own folder is closed to the sandbox's user;
    without it, a copy lives for the time of the probe.
    """
    if not sys.platform.startswith("linux"):
        return SandboxReport(False, "", "", "Sandboxes need Linux.", "Run the site agent on Linux.")
    folder = None if tools else Path(tempfile.mkdtemp(prefix="mosu-probe-"))
    try:
        if folder is not None:
            folder.chmod(0o755)
        said = _try_bwrap(find_bwrap(tools or folder or Path()))
    except SandboxUnavailable as refusal:
        return SandboxReport(False, "", "", refusal.message, refusal.hint)
    finally:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
    if said:
        why, mend = _diagnosis(said)
        return SandboxReport(False, "", "", why, mend)
    if delegated() is not None:
        return SandboxReport(True, "bubblewrap+seccomp+cgroup", "cgroup")
    return SandboxReport(True, "bubblewrap+seccomp", "sampled")


def _try_bwrap(starter: Path) -> str:
    """What bubblewrap complained of; empty if all went well."""
    who = run_as()
    options = ["--unshare-all", "--unshare-user", "--disable-userns", "--uid", "1000", "--gid", "1000"]
    options += ["--cap-drop", "ALL", "--new-session", "--die-with-parent"]
    options += ["--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev"]
    with filter_path().open("rb") as rules:
        try:
            done = subprocess.run(
                [starter, *options, "--seccomp", str(rules.fileno()), "--", "/bin/sh", "-c", ":"],
                pass_fds=[rules.fileno()],
                env={"PATH": "/usr/bin:/bin"},
                cwd="/",
                capture_output=True,
                text=True,
                timeout=20,
                check=False,
                user=who.uid if who.switches else None,
                group=who.gid if who.switches else None,
                extra_groups=[] if who.switches else None,
            )
        except (OSError, subprocess.SubprocessError) as error:
            return f"{starter}: {error}"
    return "" if done.returncode == 0 else done.stderr.strip() or f"exit code {done.returncode}"


def _diagnosis(said: str) -> tuple[str, str]:
    """Why user namespaces are denied, and the command that allows them."""
    why = f"User namespaces are denied to unprivileged users ({said})."
    for name, denying, command in (
        ("user/max_user_namespaces", "0", "sysctl -w user.max_user_namespaces=15000"),
        ("kernel/unprivileged_userns_clone", "0", "sysctl -w kernel.unprivileged_userns_clone=1"),
        (
            "kernel/apparmor_restrict_unprivileged_userns",
            "1",
            "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
        ),
    ):
        try:
            if (_SYSCTL / name).read_text().strip() == denying:
                return why, command if os.geteuid() == 0 else f"sudo {command}"
        except OSError:
            continue
    if _in_container():
        loosened = "--security-opt seccomp=unconfined --security-opt apparmor=unconfined"
        return (
            f"The container that mosu runs in denies user namespaces ({said}).",
            f"docker run {loosened} --security-opt systempaths=unconfined ...",
        )
    if "Permission denied" in said and "execvp" not in said:
        return why, install_command()
    return f"bubblewrap failed: {said}", install_command()


def _in_container() -> bool:
    status = Path("/proc/self/status").read_text()
    return "Seccomp:\t2" in status or Path("/.dockerenv").exists() or Path("/run/.containerenv").exists()


if __name__ == "__main__":
    report = probe()
    print(json.dumps(asdict(report), indent=1))  # noqa: T201
    sys.exit(0 if report.ok else 3)
