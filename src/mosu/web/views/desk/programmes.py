"""Programmes: policies as files, proposed by one person, released with their pool by another."""

import difflib
from collections.abc import Sequence
from functools import partial
from typing import Any, Final

from django import forms
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from mosu.kernel.refusals import DomainError
from mosu.ledger.queries import available_by_owner
from mosu.platform.policy import allows
from mosu.platform.requests import actor_of
from mosu.platform.rows import row_of
from mosu.subsidies.models import Programme, ProgrammeVersion
from mosu.subsidies.queries import programmes_visible_to, terms_of, versions_of
from mosu.subsidies.rules import Mode, ProgrammeKind, VersionState
from mosu.subsidies.services import ProgrammeRefused, propose_programme, release_programme
from mosu.web.pages import acted, page
from mosu.web.tables import Column, Empty, Filter, Plan, list_page
from mosu.web.views.desk.frame import desk, form_of, framed, turn_of
from mosu.web.words import programme_kind_name, programme_kind_name_lazy, said_of, title_of

FILE_BYTES_MAX: Final = 64 * 1024

PROGRAMMES: Final = Plan(
    name="programmes",
    title=_lazy("Programmes"),
    columns=(
        Column(
            "code",
            _lazy("Programme"),
            lambda row: row["title"],
            sort="code",
            href=lambda row: reverse("desk_programme", args=[row["id"]]),
        ),
        Column("id", _lazy("Id in the file"), lambda row: row["code"], kind="mono"),
        Column("kind", _lazy("Kind"), lambda row: programme_kind_name(row["kind"]), sort="kind"),
        Column("version", _lazy("In force"), lambda row: row["version"], kind="number"),
        Column("draft", _lazy("Waits for release"), lambda row: row["draft"], kind="number"),
        Column("pool", _lazy("Pool of money"), lambda row: row["pool"], kind="money"),
        Column("left", _lazy("Left to give"), lambda row: row["left"], kind="money"),
        Column("since", _lazy("Since"), lambda row: row["since"], kind="day", sort="created_at"),
    ),
    order="code",
    filters=(
        Filter("q", _lazy("Id in the file"), lambda rows, text: rows.filter(code__icontains=text)),
        Filter(
            "kind",
            _lazy("Kind"),
            lambda rows, kind: rows.filter(kind=kind),
            [(one.value, programme_kind_name_lazy(one.value)) for one in ProgrammeKind],
        ),
    ),
    empty=Empty(
        _lazy("No programmes yet."),
        _lazy(
            "A programme is a file: who pays, at what rate, for whom. Propose one; a second person releases it."
        ),
        "/desk/programmes/new/",
        _lazy("Propose a programme"),
    ),
)


class ProgrammeForm(forms.Form):
    """A programme's file, pasted or chosen."""

    text = forms.CharField(
        label=_lazy("The file"),
        required=False,
        max_length=100_000,
        strip=False,
        widget=forms.Textarea(attrs={"rows": 24, "spellcheck": "false", "autocapitalize": "off"}),
        help_text=_lazy("YAML, whole. What each field means stands in the reference of programmes."),
    )
    file = forms.FileField(
        label=_lazy("Or choose it"), required=False, widget=forms.FileInput(attrs={"accept": ".yaml,.yml"})
    )

    def clean(self) -> dict[str, Any]:
        given = super().clean() or {}
        file = given.get("file")
        if file and file.size > FILE_BYTES_MAX:
            self.add_error("file", _("The file is larger than 64 KB."))
        elif file:
            try:
                given["text"], given["source"] = file.read().decode(), file.name[:100]
            except UnicodeDecodeError:
                self.add_error("file", _("The file is not text in UTF-8."))
        elif not given.get("text", "").strip():
            self.add_error("text", _("Paste the file here, or choose it below."))
        return given


@require_GET
@page("desk.read")
def programmes(request: HttpRequest) -> HttpResponse:
    """All programmes, drafts too."""
    actor = actor_of(request)

    def prepared(rows: list[Programme]) -> list[dict[str, Any]]:
        ids = [row.id for row in rows]
        versions, left = versions_of(ids), pools_left(ids)
        return [_line(row, versions.get(row.id, []), left=left.get(row.id)) for row in rows]

    new = None
    if allows(actor, "programme.propose"):
        new = (reverse("desk_programme_new"), _("Propose a programme"))
    return list_page(
        request,
        "pages/desk/list.html",
        PROGRAMMES,
        programmes_visible_to(actor),
        prepare=prepared,
        context={**framed("desk_programmes"), "title": PROGRAMMES.title, "new": new},
    )


def _line(row: Programme, versions: Sequence[ProgrammeVersion], *, left: int | None) -> dict[str, Any]:
    in_force = _in_force(versions)
    drafts = [one.number for one in versions if one.state == VersionState.DRAFT]
    named = in_force or (versions[0] if versions else None)
    return {
        "id": row.public_id,
        "code": row.code,
        "title": title_of(named) if named else row.code,
        "kind": row.kind,
        "version": in_force.number if in_force else None,
        "draft": drafts[0] if drafts else None,
        "pool": in_force.pool_micros if in_force else None,
        "left": left,
        "since": row.created_at,
    }


def _in_force(versions: Sequence[ProgrammeVersion]) -> ProgrammeVersion | None:
    return next((one for one in versions if one.state == VersionState.RELEASED), None)


@require_http_methods(["GET", "POST"])
@page("programme.propose")
def new(request: HttpRequest) -> HttpResponse:
    """Propose a programme, or a new version of one: the file is checked whole, every error with its line."""
    initial = {}
    if request.GET.get("of"):
        programme = row_of(programmes_visible_to(actor_of(request)), request.GET["of"])
        initial["text"] = versions_of([programme.id])[programme.id][0].document
    form = form_of(ProgrammeForm, request, initial=initial)
    context: dict[str, Any] = {"form": form}
    status = 422 if request.method == "POST" else 200
    if request.method == "POST" and form.is_valid():
        given = form.cleaned_data
        try:
            version = propose_programme(
                actor=actor_of(request),
                text=given["text"].replace("\r\n", "\n"),
                source=given.get("source", "programme.yaml"),
                now=timezone.now(),
            )
        except ProgrammeRefused as refusal:
            context["problems"] = refusal.problems
        except DomainError as refusal:
            status, context["problem"] = refusal.status, said_of(refusal)
        else:
            return redirect("desk_programme", version.programme.public_id)
        form.data = form.data.copy()
        form.data["text"] = given["text"]  # of a chosen file too: what is wrong is mended here
    return desk(request, "pages/desk/programme_new.html", "desk_programmes", status=status, **context)


@require_GET
@page("desk.read")
def programme(request: HttpRequest, programme_id: str) -> HttpResponse:
    """One programme: what is in force, what waits, and how they differ."""
    return _shown(request, programme_id)


def _shown(request: HttpRequest, programme_id: str, *, status: int = 200, **more: Any) -> HttpResponse:
    actor = actor_of(request)
    row = row_of(programmes_visible_to(actor), programme_id)
    versions = versions_of([row.id]).get(row.id, [])
    in_force = _in_force(versions)
    drafts = [one for one in versions if one.state == VersionState.DRAFT]
    shown = in_force or (versions[0] if versions else None)
    terms = terms_of(shown) if shown else None
    context = {
        "row": row,
        "kind": programme_kind_name(row.kind),
        "reimburses": row.mode == Mode.REIMBURSEMENT,
        "in_force": in_force,
        "shown": shown,
        "terms": terms,
        "title": title_of(shown) if shown else row.code,
        "clauses": [
            {"when": one.when, "reason": {"zh": one.reason_zh, "en": one.reason_en}}
            for one in terms.eligibility
        ]
        if terms
        else [],
        "left": pools_left([row.id]).get(row.id),
        "drafts": [
            {
                "version": one,
                "turn": turn_of(actor, "programme.release", one.maker_id),
                "lines": difference(in_force.document if in_force else "", one.document),
                "grows": one.pool_micros - (in_force.pool_micros if in_force else 0),
            }
            for one in drafts
        ],
        "versions": versions,
        "may_propose": allows(actor, "programme.propose"),
        "currency": settings.HUB_CURRENCY,
        **more,
    }
    return desk(request, "pages/desk/programme.html", "desk_programmes", status=status, **context)


@require_POST
@page("programme.release")
def release(request: HttpRequest, programme_id: str, version_id: str) -> HttpResponse:
    """Put a draft in force, and fill its pool."""
    return acted(
        request,
        lambda: release_programme(
            actor=actor_of(request), version_id=ProgrammeVersion.key_of(version_id), now=timezone.now()
        ),
        done=_("The version is in force; its pool is filled."),
        to=reverse("desk_programme", args=[programme_id]),
        again=partial(_shown, request, programme_id),
    )


def pools_left(programme_ids: Sequence[Any]) -> dict[Any, int]:
    """What each programme may still give, of those that were ever released."""
    return available_by_owner("pool", programme_ids)


def difference(before: str, after: str) -> list[tuple[str, str]]:
    """The lines of both files: (`same`, `gone` or `new`, the line), with three lines around each change."""
    marks = {"+": "new", "-": "gone", " ": "same"}
    found = list(difflib.unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=3))[2:]
    return [("jump", "") if line.startswith("@@") else (marks[line[:1]], line[1:]) for line in found]
