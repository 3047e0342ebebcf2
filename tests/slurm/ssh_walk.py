"""A person at a shell: a session on a real Slurm, bought, entered by `ssh`, filled by `scp`, ended. Prints what they saw.

`make ssh-on-slurm` runs it, as root; `tools/transcripts.py ssh-on-slurm` keeps what it printed.
"""

import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from benchmarks.hubs import join, make_buyers
from benchmarks.slurm.site import SUPPLIER, site_in

from tests.hub import MOSU, running_hub
from tests.site_agent.lab import open_folder, until
from tests.slurm.cluster import running_slurm

TASK: Final = f"""\
name: Lab 1
resources: {{cpus: 1, memory: 1+, disk_size: 1}}
envs: {{GREETING: 大家好}}
mosu: {{kind: session, apps: [ssh], wall_limit: 10m, suppliers: [{SUPPLIER}]}}
"""
STEPS: Final = (
    "cat lab.yaml",
    "RUN=$(mosu run --yes --detach lab.yaml)",
    "mosu ssh $RUN 'echo \"$GREETING from $(id -un) in $(pwd)\"; python3 --version; cat /proc/net/dev | grep -c :'",
    "mosu ssh --config $RUN > config",
    "head -c 50000000 /dev/urandom > data && sha256sum data",
    "scp -F config data mosu-lab-1:",
    "ssh -F config mosu-lab-1 sha256sum data",
    "ssh -F config mosu-lab-1 'head -c 1000000 data > part; exit 7'; echo \"it ended with $?\"",
    "scp -F config mosu-lab-1:part . && cmp -n 1000000 data part && wc -c part",
    "squeue --steps --format='%i %j %N'",
    "mosu connections $RUN",
    "mosu cancel $RUN",
    'mosu logs -f $RUN; echo "it ended with $?"',
    'ssh -F config mosu-lab-1 true; echo "it ended with $?"',
)


def main() -> int:
    """Walk; 1 if a step ended badly that should not have."""
    with ExitStack() as stack:
        folder = stack.enter_context(open_folder())
        hub = stack.enter_context(running_hub())
        join(hub)
        (buyer,) = make_buyers(vouchers=[None])
        slurm = stack.enter_context(running_slurm())
        stack.enter_context(site_in(folder / "site", hub, slurm))
        desk = folder / "desk"
        for name in ("home", "bin"):
            (desk / name).mkdir(parents=True)
        (desk / "lab.yaml").write_text(TASK)
        (desk / "bin" / "mosu").write_text(f'#!/bin/sh\nexec {shlex.join(map(str, MOSU))} "$@"\n')
        (desk / "bin" / "mosu").chmod(0o755)
        env = {
            **hub.env,
            **slurm.env,
            **{"MOSU_URL": hub.url, "MOSU_TOKEN": buyer.token, "MOSU_LANG": "en", "HOME": str(desk / "home")},
            "PATH": f"{desk / 'bin'}:{slurm.env['PATH']}",
        }
        until(lambda: not _said("mosu quote lab.yaml", desk, env)[0], within_s=120, what="it is sold")
        # One shell has it all, so that what one line sets is there for the next.
        lines = "\n".join(
            f"printf '%s\\n' {shlex.quote(f'$ {step}')}\n{step}\ncode=$?; [ $code = 0 ] || exit $code"
            for step in STEPS
        )
        code, said = _said(lines, desk, env)
        sys.stdout.write(re.sub(rf"{re.escape(str(desk))}/?", "", said))
        return code


def _said(script: str, folder: Path, env: Mapping[str, str]) -> tuple[int, str]:
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=folder,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
    return done.returncode, done.stdout


if __name__ == "__main__":
    sys.exit(main())
