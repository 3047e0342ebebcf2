"""What is freed and taken again, over and over, costs no fault of a page."""

import gc
import subprocess
import sys

import pytest

from mosu.kernel.memory import nothing_collected

_CODE = """
import resource
from mosu.kernel.memory import keep_freed_memory
from mosu.wire.websocket import READ_BYTES
if {keeps}:
    keep_freed_memory()
piece = b"x" * 300_000
def turn():
    parts = [b"".join((piece, piece[:n])) for n in range(4)]
    read = bytearray(READ_BYTES)  # cleared, so that all of it is touched
    del parts, read
for _ in range(5):
    turn()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(100):
    turn()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def _faults(*, keeps: bool) -> int:
    done = subprocess.run(
        [sys.executable, "-c", _CODE.format(keeps=keeps)], capture_output=True, text=True, check=True
    )
    return int(done.stdout)


def test_what_is_freed_is_kept_for_what_is_taken_next() -> None:
    # A machine that is short of memory takes pages away and gives them back: that only ever adds faults.
    assert min(_faults(keeps=True) for _ in range(3)) < 100 < _faults(keeps=False)


def test_garbage_is_collected_again_once_all_is_loaded() -> None:
    with pytest.raises(ImportError), nothing_collected():
        assert not gc.isenabled()
        raise ImportError
    assert gc.isenabled()
