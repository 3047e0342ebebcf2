"""Writes docs/reference/transcripts.md:  python tools/transcripts.py [demo] [test] [ssh-on-slurm] [--user NAME]

Runs `make demo`, `make test` or `make ssh-on-slurm` (all, if none is named) as a newcomer would: in a clean clone of
this checkout's HEAD, with an empty home and environment; as the user who calls it and, if that is root, as the ordinary
user NAME too. What was not run again stays in the page as it was. Exits with 1 if a command failed.
"""

import argparse
import os
import platform
import pwd
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "reference" / "transcripts.md"
COMMANDS = {
    "demo": ("make", "demo", "ARGS=--once"),
    "test": ("make", "test"),
    "ssh-on-slurm": ("make", "ssh-on-slurm"),
}
AS_ROOT_ALONE = frozenset({"ssh-on-slurm"})
"""A Slurm of one's own needs root."""
KINDS = ("root", "an ordinary user")
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
SHOWN_MAX = 160
"""Lines of one transcript; of a longer one the middle is left out, and said to be."""

HEAD = """\
# Transcripts

Both commands of the [README](../../README.md), and a session on a real Slurm entered by `ssh` and `scp`, each in a
clean clone with an empty home and environment, as they printed. Written by `python tools/transcripts.py`, as root;
names of folders are shortened, secrets left out, and of long outputs the middle.
"""


@dataclass(frozen=True)
class Newcomer:
    """Who runs the command: `account` is None for the calling user."""

    kind: str
    account: pwd.struct_passwd | None


def main() -> int:
    """Run what was asked for, write the page."""
    parser = argparse.ArgumentParser(description="Write docs/reference/transcripts.md.")
    parser.add_argument("commands", nargs="*", metavar="|".join(COMMANDS), help="which; all by default")
    parser.add_argument("--user", default="", help="an ordinary user to run as too (root only)")
    asked = parser.parse_args()
    if unknown := set(asked.commands) - set(COMMANDS):
        parser.error(f"{', '.join(unknown)}: none of {', '.join(COMMANDS)}")
    sections, failed = _sections(PAGE), False
    for name in asked.commands or list(COMMANDS):
        for newcomer in _newcomers("" if name in AS_ROOT_ALONE else asked.user):
            sys.stderr.write(f"make {name}, as {newcomer.kind} ...\n")
            section, code = _transcript(COMMANDS[name], newcomer)
            sections[f"make {name}, as {newcomer.kind}"] = section
            failed = failed or code != 0
            PAGE.write_text(_page(sections), encoding="utf-8")
    return int(failed)


def _newcomers(user: str) -> list[Newcomer]:
    if os.geteuid() != 0:
        return [Newcomer(KINDS[1], None)]
    ordinary = [Newcomer(KINDS[1], pwd.getpwnam(user))] if user else []
    return [Newcomer(KINDS[0], None), *ordinary]


def _transcript(command: Sequence[str], newcomer: Newcomer) -> tuple[str, int]:
    """The section's text, and the command's exit code."""
    with tempfile.TemporaryDirectory(prefix="newcomer-", dir="/var/tmp") as name:
        work = Path(name)
        work.chmod(0o755)
        clone, home = work / "mosu", work / "home"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
        commit = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], cwd=clone, capture_output=True, text=True, check=True
        ).stdout.strip()
        home.mkdir()
        if newcomer.account is not None:
            for path in (work, *work.rglob("*")):
                os.chown(path, newcomer.account.pw_uid, newcomer.account.pw_gid, follow_symlinks=False)
        began_at, began = datetime.now(UTC), time.monotonic()
        done = subprocess.run(
            command,
            cwd=clone,
            env={
                "HOME": str(home),
                "PATH": SYSTEM_PATH,
                "LANG": "C.UTF-8",
                "TERM": "dumb",
            },
            user=newcomer.account.pw_uid if newcomer.account else None,
            group=newcomer.account.pw_gid if newcomer.account else None,
            extra_groups=[] if newcomer.account else None,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )
        seconds = time.monotonic() - began
        printed = _masked(done.stdout, clone=clone, home=home)
        shutil.rmtree(clone, ignore_errors=True)
    shell = " ".join(
        f'{word.partition("=")[0]}="{word.partition("=")[2]}"' if "=" in word else word for word in command
    )
    sign = "#" if newcomer.kind == KINDS[0] else "$"
    told = (
        f"{began_at:%Y-%m-%d %H:%M} UTC, commit {commit}, {_machine()}: exit code {done.returncode}"
        f" after {seconds:.0f} s.\n"
    )
    return f"{told}\n```text\n{sign} {shell}\n{_shortened(printed)}\n```\n", done.returncode


def _machine() -> str:
    python = subprocess.run(
        ["python3", "--version"], env={"PATH": SYSTEM_PATH}, capture_output=True, text=True, check=True
    ).stdout.strip()
    return f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, {python}"


def _masked(text: str, *, clone: Path, home: Path) -> str:
    """Without what is of this machine alone, and without what only its user may know."""
    text = re.sub(r"\x1b\[[0-?]*[ -/]*[@-~]", "", text).replace("\r\n", "\n")
    for found, shown in ((str(clone), "~/mosu"), (str(home), "~"), (platform.node(), "machine")):
        text = text.replace(found, shown)
    text = re.sub(r"\b(mosu(?:_pool)?)_[A-Za-z0-9_-]{16,}", r"\1_...", text)
    text = re.sub(r"(?<=/mosu-demo-)\w+", "...", text)
    text = re.sub(r"(?m)^Looking in indexes:.*\n", "", text)
    return "\n".join(line.rsplit("\r", 1)[-1].rstrip() for line in text.splitlines())


def _shortened(text: str) -> str:
    lines = text.replace("```", "'''").splitlines()
    if len(lines) <= SHOWN_MAX:
        return "\n".join(lines)
    kept = SHOWN_MAX // 2
    left_out = f"... ({len(lines) - 2 * kept} lines left out)"
    return "\n".join([*lines[:kept], left_out, *lines[-kept:]])


def _sections(page: Path) -> dict[str, str]:
    """What the page has by now, by heading."""
    if not page.exists():
        return {}
    parts = re.split(r"(?m)^## (make [\w-]+, as .+)\n\n", page.read_text(encoding="utf-8"))
    return dict(zip(parts[1::2], (part.rstrip("\n") + "\n" for part in parts[2::2]), strict=True))


def _page(sections: dict[str, str]) -> str:
    order = [f"make {name}, as {kind}" for name in COMMANDS for kind in KINDS]
    return HEAD + "".join(f"\n## {title}\n\n{sections[title]}" for title in order if title in sections)


if __name__ == "__main__":
    sys.exit(main())
