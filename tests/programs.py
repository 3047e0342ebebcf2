"""Programs of this tree that start hubs and clusters of their own, as processes."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
_ENDS_S_MAX: Final = 120.0


def ran(module: str, *words: str | Path, within_s: float = 1800) -> None:
    """`python -m module words` ended well; what does not end is asked to, and so ends what it had started.

    The limit is for what never ends, not for what is slow.
    """
    with subprocess.Popen(
        [sys.executable, "-m", module, *words],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT}/src:{ROOT}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            said, _ = process.communicate(timeout=within_s)
        except BaseException:
            said = _interrupted(process)
            sys.stdout.write(said)
            raise
    assert process.returncode == 0, said[-8000:]


def _interrupted(process: "subprocess.Popen[str]") -> str:
    process.send_signal(signal.SIGINT)
    try:
        return process.communicate(timeout=_ENDS_S_MAX)[0]
    except subprocess.TimeoutExpired:
        process.kill()
        return process.communicate()[0]
