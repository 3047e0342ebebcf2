"""How a pool gets its agent: a new pool, its token, the commands that connect it."""

from collections.abc import Sequence
from typing import Any, Final

from django import forms
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.translation import gettext_lazy as _lazy
from django.views.decorators.http import require_http_methods, require_POST

from mosu.compute.models import Pool
from mosu.compute.services import create_pool, rotate_token
from mosu.compute.supply import pool_visible_to
from mosu.kernel.refusals import DomainError
from mosu.platform.models import Organisation
from mosu.platform.queries import suppliers_managed_by
from mosu.platform.requests import actor_of
from mosu.web.forms import choose_supplier
from mosu.web.pages import page
from mosu.web.words import said_of

_MOSU: Final = "/opt/mosu/.venv/bin/mosu"


class NewPool(forms.Form):
    """A cluster's name and place."""

    supplier = forms.ChoiceField(label=_lazy("Supplier"))
    name = forms.CharField(
        label=_lazy("Name"), max_length=100, help_text=_lazy("How you call the cluster, such as hall-2.")
    )
    region = forms.CharField(
        label=_lazy("Region"),
        max_length=60,
        help_text=_lazy("Where it stands, such as shanghai: buyers and some subsidies choose by it."),
    )

    def __init__(self, *args: Any, suppliers: Sequence[Organisation], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        choose_supplier(self, suppliers)


def agent_steps(token: str = "") -> dict[str, Any]:
    """The commands that connect an agent, as docs/howto/put-a-cluster-on-the-shelf.md has them; and its new token."""
    steps = {
        "init": f"sudo {_MOSU} agent init --hub {settings.MOSU_URL}",
        "unit": f"""\
sudo {_MOSU} agent check
sudo {_MOSU} agent unit | sudo tee /etc/systemd/system/mosu-agent.service
sudo systemctl enable --now mosu-agent""",
        "renew": f"sudo {_MOSU} agent init --hub {settings.MOSU_URL} --force\nsudo systemctl restart mosu-agent",
    }
    return {"steps": steps, "token": token}


@require_http_methods(["GET", "POST"])
@page("pool.manage")
def new_pool(request: HttpRequest) -> HttpResponse:
    """A new pool; then its token, once, and how its agent is started."""
    actor = actor_of(request)
    suppliers = suppliers_managed_by(actor)
    form = NewPool(request.POST or None, suppliers=suppliers)
    if request.method == "POST" and form.is_valid():
        given = form.cleaned_data
        try:
            pool, token = create_pool(
                actor=actor,
                organisation_id=Organisation.key_of(given["supplier"]),
                name=given["name"],
                region=given["region"],
                now=timezone.now(),
            )
        except DomainError as refusal:
            said = said_of(refusal)
            form.add_error("name" if refusal.code == "name_taken" else None, f"{said.message} {said.hint}")
        else:
            return _token_page(request, pool, token, is_new=True)
    status = 422 if form.errors else 200
    return render(request, "pages/pool_new.html", {"form": form, "suppliers": suppliers}, status=status)


@require_POST
@page("pool.manage")
def pool_token(request: HttpRequest, pool_id: str) -> HttpResponse:
    """A new token for the pool's agent, shown once; the old one is worthless from now on."""
    actor = actor_of(request)
    row = pool_visible_to(actor, Pool.key_of(pool_id))
    token = rotate_token(actor=actor, pool_id=row.id, now=timezone.now())
    return _token_page(request, row, token, is_new=False)


def _token_page(request: HttpRequest, row: Pool, token: str, *, is_new: bool) -> HttpResponse:
    response = render(request, "pages/pool_token.html", {"pool": row, "is_new": is_new, **agent_steps(token)})
    response["Cache-Control"] = "no-store"
    return response
