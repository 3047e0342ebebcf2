"""What to run, as a form or as a task file, and the changes that one tries on it: a later start, other vouchers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from django import forms
from django.http import QueryDict
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from mosu.compute.accelerators import catalogue
from mosu.compute.requests import WALL_LIMIT_S
from mosu.wire.task import TaskFile, TaskRefused, dump_task, parse_task
from mosu.wire.task_dump import mapping_of

TASK_BYTES_MAX: Final = 200_000
START_STEP: Final = "+2h"
KEPT: Final = "(secret)"
"""What stands for a secret's value in a task file that was kept."""

STARTS: Final = (
    ("", _("At once, or when there is room")),
    ("+1h", _("In 1 hour at the earliest")),
    ("+2h", _("In 2 hours at the earliest")),
    ("+8h", _("In 8 hours at the earliest")),
    ("+1d", _("In 1 day at the earliest")),
    ("at", _("At a time of your choice")),
)
APPS: Final = (
    ("jupyter", _("A notebook, in JupyterLab")),
    ("vscode", _("An editor, VS Code")),
    ("ssh", _("A shell, by ssh")),
)
SESSION_MINUTES: Final = 60
SESSION_GB: Final = 2
VOUCHERS: Final = (
    ("auto", _("The best for you")),
    ("none", _("None of them")),
    ("named", _("Only those ticked")),
)


_FIRST: Final[Mapping[str, Sequence[str]]] = MappingProxyType(
    {"form": ("run", "name"), "session": ("app", "name"), "file": ("task", "file")}
)
"""What to run, by each way to say it."""


class Asking(forms.Form):
    """A run or a session in the fewest fields, or a task file with what is to be other than it says.

    `by` is `form`, `session` or `file`. `like` names the quote whose working folder goes along.
    """

    by = forms.ChoiceField(choices=[(by, "") for by in _FIRST], required=False, widget=forms.HiddenInput)
    like = forms.CharField(required=False, max_length=60, widget=forms.HiddenInput)
    run = forms.CharField(
        label=_("Command"),
        max_length=20_000,
        widget=forms.Textarea(attrs={"rows": 5, "spellcheck": "false", "autocapitalize": "off"}),
        help_text=_(
            "A shell command on Linux, with Python, without network. Files that it writes come back. "
            "To try it out, leave what stands here."
        ),
    )
    app = forms.ChoiceField(
        label=_("What to sit at"),
        choices=APPS,
        widget=forms.RadioSelect,
        initial="jupyter",
        help_text=_(
            "It is yours until you end it, or until its time is over. Files in its working folder are kept."
        ),
    )
    name = forms.RegexField(
        r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$",
        label=_("Name"),
        required=False,
        max_length=60,
        help_text=_("What your lists call it: small letters, digits and hyphens; may stay empty."),
        error_messages={"invalid": _("Small letters, digits and hyphens; a letter or digit first and last.")},
    )
    task = forms.CharField(
        label=_("Task file"),
        required=False,
        max_length=TASK_BYTES_MAX,
        widget=forms.Textarea(attrs={"rows": 14, "spellcheck": "false", "autocapitalize": "off"}),
        help_text=_("The same YAML that mosu run takes; SkyPilot's files fit."),
    )
    file = forms.FileField(
        label=_("or from a file"),
        required=False,
        widget=forms.FileInput(attrs={"accept": ".yaml,.yml,text/yaml,text/plain"}),
    )
    cpus = forms.IntegerField(label=_("Cores"), min_value=1, max_value=4096, initial=1)
    memory = forms.IntegerField(label=_("Memory, GB"), min_value=1, max_value=65536, initial=1)
    wall_limit = forms.IntegerField(label=_("At most, minutes"), min_value=1, max_value=43200, initial=10)
    accelerators = forms.RegexField(
        r"^[A-Za-z0-9][A-Za-z0-9._-]{0,50}(:([1-9][0-9]{0,4}|0?\.[0-9]{1,6}))?$",
        label=_("Accelerators"),
        required=False,
        max_length=60,
        widget=forms.TextInput(attrs={"list": "accelerators", "autocapitalize": "off"}),
        help_text=_("Such as Ascend910B:8, or A100:0.25 for a quarter of one; empty for none."),
        error_messages={
            "invalid": _(
                "Write a name and how many, such as Ascend910B:8, or a share of one, such as A100:0.25."
            )
        },
    )
    start = forms.ChoiceField(label=_("Start"), choices=STARTS, required=False)
    start_at = forms.DateTimeField(
        label=_("Not before"),
        required=False,
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}, format="%Y-%m-%dT%H:%M"),
    )
    vouchers = forms.ChoiceField(label=_("Vouchers"), choices=VOUCHERS, required=False)
    voucher = forms.MultipleChoiceField(
        label=_("Which vouchers"), required=False, widget=forms.CheckboxSelectMultiple
    )

    def __init__(self, *args: Any, vouchers: Sequence[tuple[str, str]] = (), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        by = self.data.get("by") or self.initial.get("by") or "form"
        self.way = by if by in _FIRST else "form"
        others = {name for names in _FIRST.values() for name in names}.difference(_FIRST[self.way])
        for name in (*others, *(() if vouchers else ("voucher",))):
            del self.fields[name]
        if self.way == "session":
            self.fields["wall_limit"].initial, self.fields["memory"].initial = SESSION_MINUTES, SESSION_GB
        if vouchers:
            self.fields["voucher"].choices = vouchers  # type: ignore[attr-defined]
        if self.with_file:
            self.fields["vouchers"].choices = [("", _("as in the file")), *VOUCHERS]  # type: ignore[attr-defined]
            for name in ("cpus", "memory", "wall_limit"):
                self.fields[name].required = False
                self.fields[name].initial = None
                self.fields[name].widget.attrs["placeholder"] = _("as in the file")
        self.problems: Sequence[LineProblem] = ()

    @property
    def with_file(self) -> bool:
        return self.way == "file"

    @property
    def first_fields(self) -> list[forms.BoundField]:
        """What to run."""
        return [self[name] for name in _FIRST[self.way]]

    @property
    def open_choices(self) -> bool:
        """Whether what is seldom chosen is: then it is shown at once."""
        chosen = ("start", "start_at", "voucher")
        return any(self[name].value() for name in chosen if name in self.fields) or self[
            "vouchers"
        ].value() not in (None, "", "auto")

    @property
    def accelerator_names(self) -> list[str]:
        return sorted(catalogue().accelerators)

    def clean(self) -> dict[str, Any]:
        given = super().clean() or {}
        if given.get("start") == "at" and not given.get("start_at") and "start_at" not in self.errors:
            self.add_error("start_at", gettext("Say when."))
        if given.get("vouchers") == "named" and not given.get("voucher") and "voucher" not in self.errors:
            self.add_error(
                "voucher" if "voucher" in self.fields else "vouchers", gettext("Tick at least one voucher.")
            )
        if self.with_file and not given.get("task") and "task" not in self.errors:
            self.add_error("task", gettext("Paste a task file, or choose one."))
        return given

    def asked(self) -> TaskFile:
        """The task that is meant, checked.

        Raises:
            TaskRefused: the file, or what it comes to, cannot be used; `problems` says where.
        """
        given = self.cleaned_data
        if self.with_file:
            text = given["task"]
            try:
                mapping = mapping_of(parse_task(text))
            except TaskRefused as refused:
                self.problems = lines_of(text, refused)
                raise
        else:
            named = {"name": given["name"]} if given["name"] else {}
            mapping = {**named, **_work(given)}
        return parse_task(dump_task(_with_changes(mapping, given)))


def _work(given: Mapping[str, Any]) -> dict[str, Any]:
    """What a form asks for, as keys of a task file. All files that it writes come back."""
    if "app" in given:
        return {"mosu": {"kind": "session", "apps": [given["app"]], "outputs": ["**"]}}
    return {"run": given["run"].replace("\r\n", "\n"), "mosu": {"outputs": ["**"]}}


def _with_changes(mapping: dict[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The file's keys with what the form says instead."""
    resources = {key: given[key] for key in ("cpus", "memory", "accelerators") if given.get(key)}
    terms: dict[str, Any] = {}
    if given.get("wall_limit"):
        terms["wall_limit"] = f"{given['wall_limit']}m"
    if given.get("start") == "at":
        terms["not_before"] = given["start_at"].isoformat()
    elif given.get("start"):
        terms["not_before"] = given["start"]
    if given.get("vouchers"):
        terms["vouchers"] = given["voucher"] if given["vouchers"] == "named" else given["vouchers"]
    return {
        **mapping,
        "resources": {**mapping.get("resources", {}), **resources},
        "mosu": {**mapping.get("mosu", {}), **terms},
    }


@dataclass(frozen=True, slots=True)
class LineProblem:
    """What is wrong in one line of a task file, with the line."""

    line: int
    text: str
    message: str
    allowed: str
    nearest: str


def lines_of(text: str, refused: TaskRefused) -> list[LineProblem]:
    """Each problem beside its line."""
    lines = text.splitlines() or [""]
    return [
        LineProblem(
            line=one["line"],
            text=lines[min(one["line"], len(lines)) - 1][:200],
            message=one["message"],
            allowed=one["allowed"],
            nearest=one["nearest"],
        )
        for one in refused.problems
    ]


@dataclass(frozen=True, slots=True)
class WhatIf:
    """One change that a press of a button tries."""

    code: str
    title: str


def what_ifs(data: QueryDict) -> list[WhatIf]:
    """The changes worth trying on what was asked."""
    cores, minutes = _figures(data)
    has_cards = bool(data.get("accelerators"))
    tries = [
        WhatIf("at_once", gettext("Start at once"))
        if data.get("start")
        else WhatIf("later", gettext("Start 2 hours later")),
        WhatIf("shorter", gettext("Half the time limit")) if minutes > 1 else None,
        WhatIf("longer", gettext("Twice the time limit")),
        WhatIf("fewer", gettext("Half the cores")) if cores > 1 and not has_cards else None,
        WhatIf("more", gettext("Twice the cores")) if not has_cards else None,
        WhatIf("auto", gettext("With the best vouchers"))
        if data.get("vouchers") in ("none", "named")
        else WhatIf("none", gettext("Without vouchers")),
    ]
    return [one for one in tries if one is not None]


def changed(data: QueryDict, what: str) -> QueryDict:
    """What was asked, with one change of `what_ifs`; an unknown one changes nothing."""
    cores, minutes = _figures(data)
    changes: Mapping[str, Mapping[str, str]] = {
        "later": {"start": START_STEP},
        "at_once": {"start": "", "start_at": ""},
        "shorter": {"wall_limit": str(max(1, minutes // 2))},
        "longer": {"wall_limit": str(minutes * 2)},
        "fewer": {"cpus": str(max(1, cores // 2))},
        "more": {"cpus": str(cores * 2)},
        "none": {"vouchers": "none"},
        "auto": {"vouchers": "auto"},
    }
    data = data.copy()
    for name, value in changes.get(what, {}).items():
        data[name] = value
    if what in ("none", "auto"):
        data.pop("voucher", None)
    return data


def _figures(data: Mapping[str, Any]) -> tuple[int, int]:
    """Cores and minutes that are asked for: the form's, else the file's, else what the hub takes."""
    task = None
    if data.get("by") == "file":
        try:
            task = parse_task(data.get("task", ""))
        except TaskRefused:
            task = None
    cores = _number(data.get("cpus")) or (task.resources.cpus if task else None) or 1
    minutes = _number(data.get("wall_limit")) or -(
        -((task.wall_limit_s if task else None) or WALL_LIMIT_S) // 60
    )
    return cores, minutes


def _number(text: Any) -> int:
    return int(text) if isinstance(text, str) and text.isascii() and text.isdigit() and len(text) < 7 else 0


def keeps_secrets(task: TaskFile) -> bool:
    """Whether the task still holds the places of secrets instead of their values."""
    return any(value == KEPT for _name, value in task.secrets)
