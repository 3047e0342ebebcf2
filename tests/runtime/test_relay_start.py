"""How the relay's process begins."""

import subprocess
import sys

_CODE = """
import gc, sys, uvicorn
from mosu.runtime import relay
uvicorn.Server.run = lambda server, sockets: ([one.close() for one in sockets], print(gc.get_freeze_count()))
sys.argv = ["relay", "--host", "127.0.0.1", "--port", "0"]
relay.main()
"""


def test_what_it_begins_with_is_never_looked_over_for_garbage() -> None:
    """It is over a hundred thousand objects, and all who are joined would wait."""
    done = subprocess.run([sys.executable, "-c", _CODE], capture_output=True, text=True, check=True)
    assert int(done.stdout) > 50_000
