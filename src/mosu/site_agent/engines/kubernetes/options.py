"""The `[kubernetes]` table of the agent's settings, checked whole."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from mosu.site_agent.engines.tables import read_table
from mosu.wire.images import PREFIX, image_of, is_allowed
from mosu.wire.shares import kind_of

RESOURCES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "ascend-910b2": "huawei.com/Ascend910B2",
        "ascend-910b3": "huawei.com/Ascend910B3",
        "ascend-910b4": "huawei.com/Ascend910B4",
        "ascend-910b4-1": "huawei.com/Ascend910B4-1",
        "ascend-910c": "huawei.com/Ascend910C",
        "ascend-310p": "huawei.com/Ascend310P",
        "iluvatar-bi-v100": "iluvatar.ai/BI-V100-vgpu",
        "iluvatar-bi-v150": "iluvatar.ai/BI-V150-vgpu",
    }
)
"""Resources that name one card: nodes have such cards without a word in the settings."""
VENDOR_RESOURCES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "nvidia": "nvidia.com/gpu",
        "amd": "amd.com/gpu",
        "ascend": "huawei.com/Ascend910",
        "cambricon": "cambricon.com/vmlu",
        "hygon": "hygon.com/dcunum",
        "metax": "metax-tech.com/gpu",
        "mthreads": "mthreads.com/vgpu",
        "enflame": "enflame.com/gcu",
        "kunlunxin": "kunlunxin.com/xpu",
        "biren": "birentech.com/gpu",
    }
)
"""By the first word of an accelerator's id, as the device plugins call them: they name no card, so a node's label
(`NODE_LABEL`) or `accelerators` must say which it has. Read in HAMi's chart, tried on none of these cards."""
NODE_LABEL: Final = "mosu/accelerator"


class Image(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    image: Annotated[str, StringConstraints(pattern=r"^[^\s@]+@sha256:[0-9a-f]{64}$")]
    """By digest: what was tried is what runs. It has /bin/bash and coreutils, and runs as any user."""
    python: str = ""
    packages: tuple[str, ...] = ()
    """As `name==version`, for the shelf; `openssh-server` among them sells `apps: [ssh]`."""


class KubernetesOptions(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    folder: Path
    """Where the agent sees the volume that the attempts share with it."""
    volume: Annotated[Mapping[str, Any], Field(min_length=1, max_length=1)]
    """The same volume as the source of a PersistentVolume, such as `nfs = {server = ..., path = ...}`."""
    images: Annotated[Mapping[str, Image], Field(min_length=1)]
    """By environment."""
    allowed_images: tuple[Annotated[str, StringConstraints(pattern=PREFIX)], ...] = ()
    """Registries, or parts of them, whose images a task may name by digest."""
    volumes_storage_class: Annotated[
        str, StringConstraints(pattern=r"^([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?)?$")
    ] = ""
    """The StorageClass that provides volumes of buyers; without it none are kept. Its `reclaimPolicy` is `Delete`."""
    volumes_access_mode: Literal["ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"] = "ReadWriteMany"
    """What of it suits: with any but the first a volume is one run's at a time, also to read."""
    cluster_queue: str
    """The Kueue ClusterQueue that holds what this pool may take."""
    kubeconfig: Path | None = None
    """None: the service account of the pod in which the agent runs."""
    context: str = ""
    namespace_prefix: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,20}-$")] = "mosu-"
    accelerators: Mapping[str, str] = {}
    """Of each accelerator's id its resource, where the resource's name does not say it. Of a share's kind what a
    device plugin calls such a share: `nvidia.com/mig-1g.10gb`."""
    alongside: Mapping[str, Mapping[str, Annotated[int, Field(ge=1)]]] = {}
    """Of a share's kind what a container asks for besides, such as HAMi's `nvidia.com/gpumem-percentage`."""
    user_id: Annotated[int, Field(ge=1, le=(1 << 31) - 1)] = 10001
    """As whom containers run; never root."""
    runtime_class: str = ""

    def image_of(self, environment: str) -> str:
        """The image of a prebuilt environment, or the one that a task names; empty where it is not run here."""
        if named := image_of(environment):
            return named if is_allowed(named, self.allowed_images) else ""
        known = self.images.get(environment)
        return known.image if known is not None else ""

    def resource_of(self, accelerator: str) -> str:
        """What a container asks for; empty if there is nothing."""
        own = self.accelerators.get(accelerator) or RESOURCES.get(accelerator)
        if kind_of(accelerator).shares > 1:  # a vendor's resource is a whole card
            return own or ""
        return own or VENDOR_RESOURCES.get(accelerator.partition("-")[0], "")


def options_of(found: Mapping[str, Any]) -> KubernetesOptions:
    """The settings in the table.

    Raises:
        Invalid: a key or a value is wrong; the message names it.
    """
    return read_table(KubernetesOptions, "kubernetes", found)
