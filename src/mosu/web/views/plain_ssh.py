"""Into a session by plain OpenSSH, through the hub's port: a key is certified, and what `ssh` must know is shown."""

from django import forms
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy
from django.views.decorators.http import require_http_methods

from mosu.compute.models import Run
from mosu.compute.queries import run_of_order
from mosu.compute.services import Certified, certify_key
from mosu.compute.services.certificates import KEY_CHARS_MAX
from mosu.compute.session_apps.ssh import hub_host_key_line, hub_ssh_address
from mosu.kernel.refusals import DomainError, NotFound
from mosu.market.models import Order
from mosu.platform.requests import actor_of
from mosu.web.pages import page
from mosu.web.words import said_of
from mosu.wire.ssh import SSH_PORT, SSH_USER

_KEY = "~/.ssh/id_ed25519"


class PublicKey(forms.Form):
    """The public half of the person's key."""

    public_key = forms.CharField(
        label=_lazy("Your public key"),
        max_length=KEY_CHARS_MAX,
        widget=forms.Textarea(attrs={"rows": 4, "spellcheck": "false", "autocapitalize": "off"}),
        help_text=_lazy("The line of ~/.ssh/id_ed25519.pub; ssh-keygen -t ed25519 makes one."),
    )


@require_http_methods(["GET", "POST"])
@page("run.connect")
def plain_ssh(request: HttpRequest, order_id: str) -> HttpResponse:
    """The form for a key; with one, its certificate and what belongs into `~/.ssh`."""
    actor = actor_of(request)
    run = run_of_order(actor, Order.key_of(order_id))
    if run is None or hub_ssh_address() is None:
        raise NotFound(_("There is no such page."), hint=_("See the list of your orders."))
    form = PublicKey(request.POST or None)
    problem, status, files = None, 422 if request.method == "POST" else 200, []
    if request.method == "POST" and form.is_valid():
        try:
            made = certify_key(
                actor=actor, run_id=run.id, public_key=form.cleaned_data["public_key"], now=timezone.now()
            )
        except DomainError as refusal:
            problem, status = said_of(refusal), refusal.status
        else:
            files, status = _files(run, made), 200
            problem = None
    context = {
        "here": "orders",
        "order_id": order_id,
        "name": run.name or run.public_id,
        "form": form,
        "problem": problem,
        "files": files,
        "examples": f"ssh {run.public_id}\nscp model.bin {run.public_id}:",
    }
    return render(request, "pages/plain_ssh.html", context, status=status)


def _files(run: Run, made: Certified) -> list[tuple[str, str]]:
    """What belongs into which file."""
    address = hub_ssh_address()
    assert address is not None  # noqa: S101 - looked at by the caller
    host, port = address
    hub, name = f"mosu-{host}", run.public_id
    own = f"    IdentityFile {_KEY}\n    CertificateFile ~/.ssh/{name}-cert.pub\n    IdentitiesOnly yes\n"
    config = (
        f"Host {hub}\n    HostName {host}\n    Port {port}\n    User {made.enters_as}\n"
        f"    HostKeyAlias {hub}\n{own}"
        f"Host {name}\n    Port {SSH_PORT}\n    User {SSH_USER}\n    ProxyJump {hub}\n{own}"
    )
    known = f"{hub} {hub_host_key_line()}\n[{name}]:{SSH_PORT} {made.host_key}\n"
    return [
        (f"~/.ssh/{name}-cert.pub", f"{made.certificate}\n"),
        ("~/.ssh/known_hosts", known),
        ("~/.ssh/config", config),
    ]
