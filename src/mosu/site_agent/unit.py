"""A systemd unit for the agent: as closed as its engine lets it be."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

_CLOSED: Final = (
    "NoNewPrivileges=yes",
    "ProtectSystem=strict",
    "ProtectHome=read-only",
    "PrivateTmp=yes",
    "PrivateDevices=yes",
    "ProtectKernelTunables=yes",
    "ProtectKernelModules=yes",
    "ProtectKernelLogs=yes",
    "ProtectControlGroups=yes",
    "ProtectClock=yes",
    "RestrictNamespaces=yes",
    "RestrictSUIDSGID=yes",
    "RestrictRealtime=yes",
    "LockPersonality=yes",
    "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6",
)
"""For engines that are asked over the network and start nothing here."""
_OPEN_FOR: Final[Mapping[str, tuple[str, ...]]] = {
    # Sandboxes are made here: they need namespaces, a whole /proc, devices and cgroups, and gain nothing by setuid.
    "local": (
        "NoNewPrivileges=yes",
        "ProtectSystem=full",
        "ProtectKernelModules=yes",
        "RestrictSUIDSGID=yes",
        "RestrictRealtime=yes",
        "LockPersonality=yes",
    ),
    # sudo to an organisation's own account is a change of privileges.
    "slurm": (
        "ProtectSystem=full",
        "PrivateDevices=yes",
        "ProtectKernelTunables=yes",
        "ProtectKernelModules=yes",
        "RestrictRealtime=yes",
        "LockPersonality=yes",
    ),
}


def unit_of(*, engine: str, program: Sequence[str], config: Path, folders: Sequence[Path], user: str) -> str:
    """The unit's text. `folders` are those that the agent writes to.

    `KillMode=process`: attempts outlive the agent, and a restarted or upgraded one adopts them. `Delegate=yes` where
    sandboxes get cgroups. The agent ends with 2 or 3 for what no restart mends.
    """
    lines = [
        "[Unit]",
        "Description=mosu site agent",
        "After=network-online.target remote-fs.target",  # its folders may lie on mounted disks
        "Wants=network-online.target",
        "",
        "[Service]",
        f"ExecStart={shlex.join([*program, 'agent', 'run', str(config)])}",
        *([] if _is_root(user) else [f"User={user}"]),
        "Restart=always",
        "RestartSec=5",
        "RestartPreventExitStatus=2 3",
        "KillMode=process",
        *(["Delegate=yes"] if engine == "local" else []),
        "UMask=0077",
        *_OPEN_FOR.get(
            engine, (*_CLOSED, _capabilities(user), *(f"ReadWritePaths={one}" for one in folders))
        ),
        "",
        "[Install]",
        "WantedBy=multi-user.target",
    ]
    return "\n".join(lines) + "\n"


def _is_root(user: str) -> bool:
    return user in {"", "root"}


def _capabilities(user: str) -> str:
    """Root gives what it lays to whom a job runs as, and takes it back."""
    return "CapabilityBoundingSet=" + ("CAP_CHOWN CAP_DAC_OVERRIDE CAP_FOWNER" if _is_root(user) else "")
