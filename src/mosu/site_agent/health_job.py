"""The health test of a node, as a job of its engine runs it: prints its measures as JSON in its last line.

It stands on the standard library alone and uses NumPy and torch where they are: what it cannot measure it leaves out.
"""

import json
import os
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

WRITE_BYTES = 64 << 20
COPY_BYTES = 64 << 20
SIDE = 512
"""Of the matrices: whole numbers below 16, so that their product is exact in single precision."""


def main() -> None:
    measures: dict[str, float] = {"cores": os.cpu_count() or 0, "memory_bytes": _memory_bytes()}
    measures["write_bytes_per_s"] = _write_bytes_per_s()
    with suppress(ImportError):
        measures |= _of_numpy()
    measures |= _of_cards()
    print("mosu-health " + json.dumps(measures))  # noqa: T201 (what a job says is its log)


def _memory_bytes() -> int:
    line = Path("/proc/meminfo").read_text().splitlines()[0]
    return int(line.split()[1]) * 1024


def _write_bytes_per_s() -> float:
    block, path = os.urandom(1 << 20), Path("health.bin")
    started = time.perf_counter()
    with path.open("wb") as file:
        for _ in range(WRITE_BYTES // len(block)):
            file.write(block)
        file.flush()
        os.fsync(file.fileno())
    took_s = time.perf_counter() - started
    path.unlink()
    return WRITE_BYTES / took_s


def _of_numpy() -> dict[str, float]:
    import numpy as np  # noqa: PLC0415 (only where it is)

    many = np.ones(COPY_BYTES, dtype=np.uint8)
    copy_s = _best(many.copy)
    rows = (np.arange(SIDE * SIDE) % 13).reshape(SIDE, SIDE)
    single = rows.astype(np.float32)
    wrong = bool((single @ single != (rows @ rows).astype(np.float32)).any())
    return {
        "copy_bytes_per_s": 2 * COPY_BYTES / copy_s,
        "matrix_flops": 2 * SIDE**3 / _best(lambda: single @ single),
        "matrix_wrong": float(wrong),
    }


def _of_cards() -> dict[str, float]:
    try:
        found = _of_torch()
    except (ImportError, RuntimeError):
        found = {}
    if found and os.environ.get("CARDS_CUT"):  # a runtime sees no more than one of a card's shares
        return {**found, "cards": _cards_listed()}
    return found or {"cards": _cards_listed()}


def _of_torch() -> dict[str, float]:
    """The worst of all cards: one bad card is a bad node."""
    import torch  # type: ignore[import-not-found, unused-ignore]  # noqa: PLC0415

    with suppress(ImportError):
        import torch_npu  # type: ignore[import-not-found, unused-ignore]  # noqa: F401, PLC0415
    kind = "cuda" if torch.cuda.is_available() else "npu" if hasattr(torch, "npu") else ""
    if not kind:
        return {}
    device: Any = getattr(torch, kind)
    each = [_of_card(torch, device, f"{kind}:{index}") for index in range(device.device_count())]
    if not each:
        return {}
    worst = {name: min(one[name] for one in each) for name in each[0]}
    return {**worst, "card_matrix_wrong": sum(one["card_matrix_wrong"] for one in each), "cards": len(each)}


def _of_card(torch: Any, device: Any, name: str) -> dict[str, float]:
    many = torch.ones(256 << 20, dtype=torch.uint8, device=name)
    rows = (torch.arange(4096 * 4096) % 3).reshape(4096, 4096)
    there = rows.to(name, torch.float32)

    def timed(work: Callable[[], Any]) -> float:
        def whole() -> None:
            work()
            device.synchronize(name)

        return _best(whole)

    product = (there @ there).cpu()[:64].to(torch.int64)
    return {
        "card_memory_bytes": float(device.get_device_properties(name).total_memory),
        "card_copy_bytes_per_s": 2 * many.numel() / timed(many.clone),
        "card_matrix_flops": 2 * 4096**3 / timed(lambda: there @ there),
        "card_matrix_wrong": float(bool((product != rows[:64] @ rows).any())),
    }


def _cards_listed() -> int:
    """How many cards a vendor's tool lists, else how many have their device file."""
    for command, sign in ((("nvidia-smi", "-L"), "GPU "), (("npu-smi", "info", "-l"), "NPU ID")):
        with suppress(OSError, subprocess.SubprocessError):
            said = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout
            return sum(line.strip().startswith(sign) for line in said.splitlines())
    patterns = [pattern.lstrip("/") for pattern in os.environ.get("CARD_FILES", "").split(":")]
    return len({file for pattern in patterns if pattern for file in Path("/").glob(pattern)})


def _best(work: Callable[[], Any]) -> float:
    """The shortest of three: what the node can do, not what its neighbours left."""
    took = []
    for _ in range(3):
        started = time.perf_counter()
        work()
        took.append(time.perf_counter() - started)
    return max(min(took), 1e-9)


if __name__ == "__main__":
    main()
