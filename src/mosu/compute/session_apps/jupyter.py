"""JupyterLab, of an environment that has it."""

from typing import Final

from mosu.compute.session_apps.starting import AppStart
from mosu.platform.secrets import derived

PORT: Final = 8888
_TOKEN: Final = "MOSU_JUPYTER_TOKEN"  # noqa: S105 - the name of a file
_OWN: Final = "/tmp/jupyter"  # noqa: S108 - the sandbox's own
"""Settings, runtime files, history: not in the working folder, from which outputs come back."""
_PAGE: Final = '{"disabledExtensions":{"@jupyterlab/apputils-extension:announcements":true}}'
"""A session has no network to fetch news from, so nobody is asked whether to."""

# It reads its token from a file, so that neither its arguments, nor its variables, nor its kernels' name it; of one
# that it was given it prints nothing. Remote access is allowed, whatever name a browser called it by: it listens on
# the loopback of a sandbox, where only the relay comes in, and who has no token is refused under every name. A browser
# lets a foreign page open no WebSocket (jupyter_server compares Origin with Host), and `allow_origin` stays empty.
_COMMAND: Final = "; ".join(
    (
        f"( export JUPYTER_TOKEN_FILE=$MOSU_SECRETS/{_TOKEN}",
        f"export JUPYTER_CONFIG_DIR={_OWN}/config JUPYTER_DATA_DIR={_OWN}/data JUPYTER_RUNTIME_DIR={_OWN}/runtime",
        f"export IPYTHONDIR={_OWN}/ipython",
        f"mkdir -p {_OWN}/config/labconfig && echo '{_PAGE}' > {_OWN}/config/labconfig/page_config.json",
        # An interpreter of the machine looks for the environment's own files beside itself.
        "at=$(command -v jupyter-lab) && at=${at%/bin/*}",
        "export JUPYTER_PATH=$at/share/jupyter JUPYTER_CONFIG_PATH=$at/etc/jupyter",
        'export JUPYTERLAB_DIR="$at/share/jupyter/lab"',
        f"exec jupyter-lab --no-browser --ip=127.0.0.1 --port={PORT} --ServerApp.port_retries=0"
        " --KernelManager.transport=ipc --ServerApp.allow_remote_access=True --LabApp.extension_manager=readonly )",
    )
)


def token_of(attempt_id: str) -> str:
    """With which people come in, beside the relay: a forwarded port is open to all of a laptop."""
    return derived(f"jupyter {attempt_id}").hex()


START: Final = AppStart(
    port=PORT,
    command=_COMMAND,
    secrets=lambda attempt_id: {_TOKEN: token_of(attempt_id)},
    needs="jupyterlab",
    opens=lambda attempt_id: f"/lab?token={token_of(attempt_id)}",
)
