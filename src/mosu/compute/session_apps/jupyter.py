"""JupyterLab, of an environment that has it."""

from typing import Final

from mosu.compute.session_apps.starting import AppStart
from mosu.platform.secrets import derived

PORT: Final = 8888


def token_of(attempt_id: str) -> str:
    """With which people come in, beside the relay: a forwarded port is open to all of a laptop."""
    return derived(f"jupyter {attempt_id}").hex()


START: Final = AppStart(
    port=PORT,
    command='JUPYTER_TOKEN=$(cat "$MOSU_SECRETS/MOSU_JUPYTER_TOKEN") '
    f"jupyter lab --no-browser --ip=127.0.0.1 --port={PORT}",
    secrets=lambda attempt_id: {"MOSU_JUPYTER_TOKEN": token_of(attempt_id)},
)
