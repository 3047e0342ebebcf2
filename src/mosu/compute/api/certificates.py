"""Coming into a session by ssh."""

from datetime import datetime
from typing import Annotated, Final

from django.http import HttpRequest
from django.utils import timezone
from ninja import Router, Status
from pydantic import StringConstraints

from mosu.compute import services
from mosu.compute.models import Run
from mosu.compute.services.certificates import KEY_CHARS_MAX
from mosu.compute.session_apps.ssh import hub_host_key_line, hub_ssh_address
from mosu.platform.auth import token_auth
from mosu.platform.doors import door
from mosu.platform.requests import actor_of
from mosu.platform.schemas import In, Out

router: Final = Router(tags=["compute"])


class KeyIn(In):
    """A line as in a `.pub` file."""

    public_key: Annotated[str, StringConstraints(max_length=KEY_CHARS_MAX)]


class CertificateOut(Out):
    certificate: str
    """The line of a `-cert.pub` file."""
    host_key: str
    """The one key that the session's server may show."""
    valid_until: datetime
    jump: "JumpOut | None"
    """Without the command line: the hub's own port for ssh, which `ssh -J` comes through; None: it has none."""


class JumpOut(Out):
    host: str
    port: int
    user: str
    host_key: str
    """The one key that the port may show."""


@router.post(
    "/runs/{run_id}/ssh-certificates",
    response={201: CertificateOut},
    auth=token_auth,
    operation_id="createSshCertificate",
)
@door("run.connect")
def create_ssh_certificate(request: HttpRequest, run_id: str, body: KeyIn) -> Status[CertificateOut]:
    """Let the holder of a key into the session by ssh, for as long as it may run and for a day at most."""
    certified = services.certify_key(
        actor=actor_of(request), run_id=Run.key_of(run_id), public_key=body.public_key, now=timezone.now()
    )
    return Status(
        201,
        CertificateOut(
            certificate=certified.certificate,
            host_key=certified.host_key,
            valid_until=certified.valid_until,
            jump=_jump(certified),
        ),
    )


def _jump(certified: services.Certified) -> JumpOut | None:
    address = hub_ssh_address()
    if address is None:
        return None
    host, port = address
    return JumpOut(host=host, port=port, user=certified.enters_as, host_key=hub_host_key_line())
