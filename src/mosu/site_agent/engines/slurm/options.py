"""The `[slurm]` table of the agent's settings, checked whole."""

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any, Final

from mosu.kernel.refusals import Invalid
from mosu.wire.shares import kind_of

_GRES: Final = re.compile(r"[A-Za-z0-9_]+(:[A-Za-z0-9_.-]+)?")
_TYPES: Final[Mapping[str, type]] = MappingProxyType(
    {"accelerators": dict, "devices": dict, "shared_network": bool, "sessions": bool}
)
_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class SlurmOptions:
    """All have defaults: a cluster without cards needs no table at all."""

    partition: str = ""
    """Empty: the cluster's default."""
    account: str = ""
    qos: str = ""
    reservation: str = ""
    python: str = sys.executable
    """The interpreter that compute nodes start; it and mosu lie where they find them."""
    accelerators: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    """Of each accelerator's id its GRES, such as `gpu:ascend910b`; what is not here is not sold. Of a share's kind the
    GRES that counts shares: `shard`, or the type of a MIG profile."""
    devices: Mapping[str, list[str]] = field(default_factory=lambda: _NOTHING)
    """Of an accelerator's id the device files of a card, `{index}` for its number, instead of its vendor's."""
    shared_network: bool = False
    """Whether attempts of several nodes may use the nodes' network, without which they cannot speak."""
    sessions: bool | None = None
    """Whether people are joined to sessions, by steps beside their jobs; None: if a try finds that they come about."""

    @property
    def of_every_job(self) -> dict[str, str]:
        """What `sbatch` is told for each; empty: nothing."""
        return {
            "partition": self.partition,
            "account": self.account,
            "qos": self.qos,
            "reservation": self.reservation,
        }


def options_of(found: Mapping[str, Any]) -> SlurmOptions:
    """The settings in the table.

    Raises:
        Invalid: a key or a value is wrong.
    """
    known = {item.name: item for item in fields(SlurmOptions)}
    for key, value in found.items():
        if key not in known:
            raise Invalid(f"slurm: unknown key {key!r}.", hint=f"Known: {', '.join(known)}.", field=key)
        wanted = _TYPES.get(key, str)
        if not isinstance(value, wanted):
            raise Invalid(
                f"slurm.{key} must be a {wanted.__name__}, found {value!r}.", hint="Correct it.", field=key
            )
    for accelerator, gres in found.get("accelerators", {}).items():
        if not isinstance(gres, str) or not _GRES.fullmatch(gres):
            raise Invalid(
                f"slurm.accelerators: {accelerator} = {gres!r} is no GRES.",
                hint='Write it as sinfo -o "%G" shows it, without its count, such as "gpu:ascend910b".',
                field="accelerators",
            )
        if gres.partition(":")[0] == "shard" and not kind_of(accelerator).shared:
            raise Invalid(
                f"slurm.accelerators: {accelerator} = {gres!r} says more than Slurm keeps: shards share their card.",
                hint=f'Name the share "{kind_of(accelerator).accelerator}/4-shared" if a card has 4 shards.',
                field="accelerators",
            )
    for accelerator, files in found.get("devices", {}).items():
        if not isinstance(files, list) or not all(
            isinstance(file, str) and file.startswith("/") for file in files
        ):
            raise Invalid(
                f"slurm.devices: {accelerator} must list device files.",
                hint='For example ["/dev/nvidia{index}"].',
                field="devices",
            )
    return SlurmOptions(**found)
