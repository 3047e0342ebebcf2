"""OpenSSH's server, of the machine."""

from typing import Final

from mosu.compute.session_apps.starting import AppStart

PORT: Final = 2222

START: Final = AppStart(port=PORT, command=f"/usr/sbin/sshd -D -e -p {PORT}", secrets=lambda attempt_id: {})
