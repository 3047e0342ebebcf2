"""Where `ssh` comes to in a session: the hub starts a server there, the command line leads to it."""

from typing import Final

SSH_PORT: Final = 2222
"""Of the session's own loopback."""
SSHD: Final = "/usr/sbin/sshd"
"""The server's program, of the machine. It starts itself anew for each connection, hence the whole path."""
SSH_USER: Final = "runner"
"""The one user of a sandbox."""
