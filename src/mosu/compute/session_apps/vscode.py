"""code-server, which is VS Code in the browser, of an environment that has it."""

import json
from typing import Final

from mosu.compute.session_apps.starting import AppStart

PORT: Final = 8889
_OWN: Final = "/tmp/vscode"  # noqa: S108 - the sandbox's own
"""Settings, extensions, history: not in the working folder, from which outputs come back."""
_SETTINGS: Final = json.dumps(
    {
        "chat.disableAIFeatures": True,
        "workbench.startupEditor": "none",
        "workbench.secondarySideBar.defaultVisibility": "hidden",
    }
)
"""A session has no network, so it offers nobody to chat with a model that it cannot reach."""

# It asks for no password: it listens on the loopback of a sandbox, where only the relay comes in, for whoever the hub
# let in. Its own check of Origin against Host keeps foreign pages from its WebSockets. Of what it might fetch a session
# has no network for any.
_COMMAND: Final = "; ".join(
    (
        f"( export XDG_CONFIG_HOME={_OWN} XDG_DATA_HOME={_OWN} XDG_CACHE_HOME={_OWN}/cache",
        f"mkdir -p {_OWN}/User && echo '{_SETTINGS}' > {_OWN}/User/settings.json",
        f"exec code-server --auth none --bind-addr 127.0.0.1:{PORT} --config {_OWN}/config.yaml"
        f" --user-data-dir {_OWN} --extensions-dir {_OWN}/extensions --session-socket {_OWN}/socket"
        " --disable-telemetry --disable-update-check --disable-workspace-trust"
        " --disable-getting-started-override . )",
    )
)

START: Final = AppStart(
    port=PORT,
    command=_COMMAND,
    secrets=lambda attempt_id: {},
    needs="code-server",
    opens=lambda attempt_id: "/",
)
