"""What people fill in."""

from typing import Any

from django import forms
from django.contrib.auth.base_user import AbstractBaseUser
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from mosu.platform.actors import Actor
from mosu.platform.models import Organisation, OrganisationKind, User
from mosu.platform.queries import actor_for_user
from mosu.platform.services import found_organisation


class SignUp(forms.Form):
    """The part of signing up that is mosu's: the organisation for which one buys."""

    organisation = forms.CharField(
        label=_("Company or team"),
        max_length=200,
        help_text=_("The name on your receipts. A team without a company is welcome."),
    )
    kind = forms.ChoiceField(
        label=_("What it is"),
        choices=[
            (OrganisationKind.COMPANY, _("Company")),
            (OrganisationKind.INSTITUTE, _("Institute")),
            (OrganisationKind.TEAM, _("Team without a company")),
        ],
    )

    def clean_organisation(self) -> str:
        name: str = self.cleaned_data["organisation"].strip()
        if Organisation.objects.filter(name__iexact=name).exists():
            raise forms.ValidationError(
                _("This name is taken. If it is your organisation, ask its owner for an invitation.")
            )
        return name

    def signup(self, request: HttpRequest, user: AbstractBaseUser) -> None:
        """Found the organisation; allauth calls it when the account is made."""
        assert isinstance(user, User)  # noqa: S101
        founder: Actor = actor_for_user(user)
        found_organisation(
            actor=founder,
            name=self.cleaned_data["organisation"],
            kind=OrganisationKind(self.cleaned_data["kind"]),
            now=timezone.now(),
        )


class QuoteAsk(forms.Form):
    """A run in the fewest fields: what to run, on how much, for how long at most."""

    run = forms.CharField(label=_("Command"), widget=forms.Textarea(attrs={"rows": 4, "spellcheck": "false"}))
    cpus = forms.IntegerField(label=_("Cores"), min_value=1, max_value=4096, initial=1)
    memory = forms.IntegerField(label=_("Memory, GB"), min_value=1, max_value=65536, initial=1)
    wall_limit = forms.IntegerField(label=_("At most, minutes"), min_value=1, max_value=43200, initial=10)
    accelerators = forms.CharField(
        label=_("Accelerators"),
        required=False,
        help_text=_("Such as Ascend910B:8; empty for none."),
        max_length=60,
    )

    def task(self) -> dict[str, Any]:
        """The task file that these fields stand for."""
        given = self.cleaned_data
        resources: dict[str, Any] = {"cpus": given["cpus"], "memory": given["memory"]}
        if given["accelerators"]:
            resources["accelerators"] = given["accelerators"]
        return {
            "resources": resources,
            "run": given["run"].replace("\r\n", "\n"),
            "mosu": {"wall_limit": f"{given['wall_limit']}m", "vouchers": "auto", "outputs": ["**"]},
        }
