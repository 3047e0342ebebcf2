"""JupyterLab, of an environment that has it."""

from typing import Final

from mosu.compute.apps.starting import AppStart
from mosu.platform.secrets import derived

PORT: Final = 8888


def token_of(attempt_id: str) -> str:
    """With which the session's people come in: beside the relay, so that a port on a shared laptop is not open to all."""
    return derived(f"jupyter {attempt_id}").hex()


START: Final = AppStart(
    port=PORT,
    command=f'JUPYTER_TOKEN=$(cat "$MOSU_SECRETS/MOSU_JUPYTER_TOKEN") jupyter lab --no-browser --ip=127.0.0.1 --port={PORT}',
    secrets=lambda attempt_id: {"MOSU_JUPYTER_TOKEN": token_of(attempt_id)},
)
