"""OpenSSH's server, of the machine or of the session's image: `ssh`, `scp`, `sftp`, `rsync` and editors come to it.

It runs as the sandbox's one user, who is not root, so it can serve nobody else. Whoever comes shows a certificate of
the hub for this attempt; there are no passwords and no other keys. All keys follow from the hub's own: nobody keeps
them.
"""

from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from django.conf import settings

from mosu.compute.session_apps.starting import AppStart
from mosu.platform.secrets import derived
from mosu.wire.ssh import SSH_PORT, SSH_USER, SSHD

_HOST_KEY: Final = "MOSU_SSH_HOST_KEY"
_AUTHORITY: Final = "MOSU_SSH_AUTHORITY"
_PRINCIPALS: Final = "MOSU_SSH_PRINCIPALS"
_START: Final = "MOSU_SSH_START"

# sshd hands on none of its own variables: a shell has those that the settings name, in one line. A line break cannot be
# written there, and the settings reach the server of each connection in a message of at most 256 KiB.
# The server itself sees none of them: LD_LIBRARY_PATH, say, brings other libraries than it was built with.
_SCRIPT: Final = f"""if [ ! -x {SSHD} ]; then
  echo "mosu: this session has no ssh: there is no OpenSSH server here ({SSHD})" >&2
  exit 127
fi
settings=$(mktemp -d)/settings
known=SetEnv
while IFS= read -r -d "" one; do
  case $one in _=*|SHLVL=*|PWD=*|OLDPWD=*|TERM=*|*$'\\n'*) continue ;; esac
  one=${{one//\\\\/\\\\\\\\}}
  one=${{one//\\"/\\\\\\"}}
  [ $((${{#known}} + ${{#one}})) -gt 100000 ] || known+=" \\"$one\\""
done < <(env -0)
cat > "$settings" <<SETTINGS
ListenAddress 127.0.0.1:{SSH_PORT}
HostKey $MOSU_SECRETS/{_HOST_KEY}
TrustedUserCAKeys $MOSU_SECRETS/{_AUTHORITY}
AuthorizedPrincipalsFile $MOSU_SECRETS/{_PRINCIPALS}
AuthorizedKeysFile none
AuthenticationMethods publickey
PasswordAuthentication no
PermitRootLogin no
AllowUsers {SSH_USER}
UsePAM no
StrictModes no
AllowTcpForwarding local
AllowStreamLocalForwarding local
AllowAgentForwarding no
X11Forwarding no
PermitTunnel no
PermitUserRC no
PidFile none
PrintMotd no
PrintLastLog no
UseDNS no
LoginGraceTime 30
MaxStartups 100
ClientAliveInterval 60
Subsystem sftp internal-sftp
$known
SETTINGS
exec env -i {SSHD} -D -e -f "$settings"
"""


def authority() -> Ed25519PrivateKey:
    """Signs the certificates with which people come."""
    return Ed25519PrivateKey.from_private_bytes(derived("ssh certificates"))


def authority_line() -> str:
    """Its public half."""
    return _public_line(authority())


def hub_ssh_address() -> tuple[str, int] | None:
    """Where people reach the hub's own port for ssh; None: it has none."""
    address: str = settings.MOSU_SSH_ADDRESS
    host, _, port = address.rpartition(":")
    return (host, int(port)) if address else None


def hub_host_key() -> str:
    """By which the hub's own port for ssh is known."""
    return _private_text(_hub_key())


def hub_host_key_line() -> str:
    """Its public half."""
    return _public_line(_hub_key())


def host_key_of(attempt_id: str) -> str:
    """By which people know that they are where they meant to be: one line of `known_hosts`, without the name."""
    return _public_line(_host_key(attempt_id))


def _hub_key() -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(derived("ssh hub"))


def _host_key(attempt_id: str) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(derived(f"ssh host {attempt_id}"))


def _public_line(key: Ed25519PrivateKey) -> str:
    return key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


def _private_text(key: Ed25519PrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode()


def _secrets(attempt_id: str) -> dict[str, str]:
    return {
        _HOST_KEY: _private_text(_host_key(attempt_id)),
        _AUTHORITY: f"{authority_line()}\n",
        _PRINCIPALS: attempt_id + "\n",
        _START: _SCRIPT,
    }


START: Final = AppStart(port=SSH_PORT, command=f'bash "$MOSU_SECRETS/{_START}"', secrets=_secrets)
