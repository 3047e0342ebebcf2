"""How each vendor's runtime is told which cards are its own, and by which device files it reaches them.

From the vendors' manuals as remembered, tried on none of these cards: what is wrong on a cluster is mended in the
agent's settings (`[slurm] devices`), and then here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final


@dataclass(frozen=True, slots=True)
class Vendor:
    """`card`: the file of the card at an index, where `{index}` and `{render}` (index + 128) stand for numbers."""

    variables: tuple[str, ...]
    card: tuple[str, ...]
    shared: tuple[str, ...] = ()
    """Files that every user of any card needs."""
    drivers: tuple[str, ...] = ()
    """Libraries that belong to the kernel's driver, so an image of a container gets them from its node: patterns of
    glob, where `{libraries}` stands for the folder of the system's. Other vendors' images bring theirs."""


_RENDER: Final = "/dev/dri/renderD{render}"
VENDORS: Final[Mapping[str, Vendor]] = MappingProxyType(
    {
        "nvidia": Vendor(
            ("CUDA_VISIBLE_DEVICES",),
            ("/dev/nvidia{index}",),
            ("/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools", "/dev/nvidia-modeset"),
            ("{libraries}/libcuda.so*", "{libraries}/libnvidia-*.so*", "{libraries}/libnvcuvid.so*"),
        ),
        "amd": Vendor(("HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES"), (_RENDER,), ("/dev/kfd",)),
        "ascend": Vendor(
            ("ASCEND_RT_VISIBLE_DEVICES",),
            ("/dev/davinci{index}",),
            ("/dev/davinci_manager", "/dev/devmm_svm", "/dev/hisi_hdc"),
            ("/usr/local/Ascend/driver/lib64/**/lib*.so*",),
        ),
        "cambricon": Vendor(
            ("MLU_VISIBLE_DEVICES",), ("/dev/cambricon_dev{index}",), ("/dev/cambricon_ctl",)
        ),
        "hygon": Vendor(("HIP_VISIBLE_DEVICES",), (_RENDER,), ("/dev/kfd", "/dev/mkfd")),
        "metax": Vendor(("CUDA_VISIBLE_DEVICES", "MACA_VISIBLE_DEVICES"), (_RENDER,), ("/dev/mxcd",)),
        "mthreads": Vendor(("MUSA_VISIBLE_DEVICES",), ("/dev/mtgpu.{index}", _RENDER)),
        "iluvatar": Vendor(("CUDA_VISIBLE_DEVICES",), ("/dev/iluvatar{index}",)),
        "enflame": Vendor(("TOPS_VISIBLE_DEVICES",), ("/dev/gcu{index}",), ("/dev/gcuctl",)),
        "biren": Vendor(("SUPA_VISIBLE_DEVICES",), ("/dev/biren/card_{index}",)),
        "kunlunxin": Vendor(("XPU_VISIBLE_DEVICES",), ("/dev/xpu{index}",), ("/dev/xpuctrl",)),
        "thead": Vendor(
            ("CUDA_VISIBLE_DEVICES",), ("/dev/alixpu_ppu{index}",), ("/dev/alixpu", "/dev/alixpu_ctl")
        ),
    }
)
"""By the first word of an accelerator's id."""


def variables_of(accelerator: str) -> tuple[str, ...]:
    """Which variables tell a runtime its cards; none for a vendor that is not known."""
    vendor = VENDORS.get(accelerator.partition("-")[0])
    return () if vendor is None else vendor.variables


def device_patterns_of(accelerator: str) -> tuple[str, ...]:
    """Device files of one card, with those that all cards share."""
    vendor = VENDORS.get(accelerator.partition("-")[0])
    return () if vendor is None else (*vendor.card, *vendor.shared)


def drivers_of(accelerator: str) -> tuple[str, ...]:
    """Patterns of the libraries that an image gets from its node."""
    vendor = VENDORS.get(accelerator.partition("-")[0])
    return () if vendor is None else vendor.drivers


def card_files_of(accelerator: str) -> tuple[str, ...]:
    """Device files of one card alone."""
    vendor = VENDORS.get(accelerator.partition("-")[0])
    return () if vendor is None else vendor.card


def device_files(accelerator: str, indices: Sequence[int]) -> list[str]:
    """The files of the cards at these indices, each once."""
    return list(
        dict.fromkeys(
            pattern.replace("{index}", str(index)).replace("{render}", str(128 + index))
            for pattern in device_patterns_of(accelerator)
            for index in indices
        )
    )
