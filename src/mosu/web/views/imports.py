"""Files of offers: sent, compared with the shelf, then applied or thrown away."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy
from django.utils.translation import pgettext, pgettext_lazy
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from mosu.compute.models import Pool
from mosu.compute.queries import pools_visible_to
from mosu.kernel.refusals import DomainError, Invalid
from mosu.market.gates import DOUBTS
from mosu.market.models import Change, Gone, ImportState, OfferImport, OfferImportRow
from mosu.market.queries import differences, imports_visible_to
from mosu.market.services import apply_import, discard_import, preview_import, release_row, undo_import
from mosu.market.shapes import money_in
from mosu.platform.actors import Actor
from mosu.platform.models import Organisation
from mosu.platform.policy import allows, require
from mosu.platform.queries import suppliers_managed_by
from mosu.platform.requests import actor_of
from mosu.platform.rows import row_of
from mosu.store.services import put_file
from mosu.web.components import Tab
from mosu.web.forms import choose_supplier
from mosu.web.labels import accelerator_name, mode_name
from mosu.web.pages import page, why_of
from mosu.web.places import region_named
from mosu.web.tables import Column, Empty, Filter, Plan, list_page, table_of
from mosu.web.uploads import BODY_BYTES_MAX, IMPORTS_PATH, OFFERS_BYTES_MAX
from mosu.web.words import said_here, said_of, state_name_lazy, supplier_named, told

UPLOAD_MIB_MAX: Final = OFFERS_BYTES_MAX >> 20

SAMPLE: Final = """\
key,title_zh,accelerator,price
a100-8,八卡 A100,A100,21.50"""

DOING: Final[Mapping[str, Any]] = {
    ImportState.READING: _lazy("The file is being read and compared"),
    ImportState.APPLYING: _lazy("The file is being applied"),
    ImportState.UNDOING: _lazy("The import is being undone"),
}
REFUSED: Final[Mapping[str, Any]] = {
    ImportState.REFUSED: _lazy("The file cannot be read"),
    ImportState.FAILED: _lazy("It could not be applied; nothing on the shelf changed"),
    ImportState.APPLIED: _lazy("It could not be undone; nothing on the shelf changed"),
}

CHANGES: Final = (
    (Change.NEW.value, _lazy("new")),
    (Change.PRICE.value, _lazy("price")),
    (Change.CHANGED.value, _lazy("changed")),
    (Change.GONE.value, _lazy("gone from the file")),
)


def term_name(term: str) -> str:
    """What of an offer's terms changed, in the page's language."""
    return {
        "title_zh": pgettext("term", "title in Chinese"),
        "title_en": pgettext("term", "title in English"),
        "attributes": pgettext("term", "what it is searched by"),
        "min_units": pgettext("term", "least units"),
        "max_units": pgettext("term", "most units"),
        "wall_s_max": pgettext("term", "longest time"),
        "tax_rate_bp": pgettext("term", "tax rate"),
        "tax_included": pgettext("term", "tax in the price"),
        "sold_by": pgettext("term", "who bills"),
        "buyer": pgettext("term", "only for"),
        "subject_id": pgettext("term", "pool"),
    }.get(term, term)


def _goods(row: OfferImportRow) -> str:
    attributes = row.terms.get("attributes", {})
    code = attributes.get("accelerator")
    name = accelerator_name(code) if code else _("cores")
    region, mode = region_named(attributes.get("region") or ""), attributes.get("mode") or ""
    return " · ".join(part for part in (name, region, mode_name(mode)) if part)


def _price(micros: int | None, currency: str) -> str:
    return "" if micros is None else f"{money_in(micros, currency)} {currency}"


def _terms(row: OfferImportRow) -> str:
    if row.change != Change.CHANGED or not row.old_terms:
        return ""
    return ", ".join(term_name(name) for name in row.terms if row.terms[name] != row.old_terms.get(name))


def _doubt(row: OfferImportRow) -> str:
    if not row.doubt:
        return ""
    name = told(DOUBTS[row.doubt]) if row.doubt in DOUBTS else row.doubt
    return _("%s (let through)") % name if row.released else name


ROWS: Final = Plan(
    name="import",
    title=_lazy("What the file changes"),
    columns=(
        Column("key", _lazy("Key in the file"), lambda row: row.external_key, kind="mono"),
        Column("line", _lazy("Line"), lambda row: row.line, kind="number", sort="id"),
        Column("change", _lazy("Change"), lambda row: str(dict(CHANGES)[row.change])),
        Column("goods", _lazy("What"), _goods),
        Column(
            "title",
            pgettext_lazy("offer", "Title"),
            lambda row: row.terms.get("title_zh") or row.terms.get("title_en"),
            hidden=True,
        ),
        Column(
            "old",
            _lazy("Price until now"),
            lambda row: _price(row.old_price_micros, row.old_currency),
            kind="mono",
        ),
        Column(
            "new", _lazy("Price then"), lambda row: _price(row.unit_price_micros, row.currency), kind="mono"
        ),
        Column("terms", _lazy("Also changed"), _terms),
        Column("doubt", _lazy("Held back because"), _doubt),
        Column("reason", _lazy("Found"), lambda row: said_here(row.reason)),
    ),
    order="line",
    filters=(
        Filter("change", _lazy("Change"), lambda rows, change: rows.filter(change=change), CHANGES),
        Filter(
            "held",
            _lazy("Held back"),
            lambda rows, held: rows.exclude(doubt="") if held == "yes" else rows.filter(doubt=""),
            [("yes", _lazy("yes")), ("no", _lazy("no"))],
        ),
        Filter(
            "key", pgettext_lazy("import", "Key"), lambda rows, key: rows.filter(external_key__icontains=key)
        ),
    ),
    empty=Empty(_lazy("Nothing: the shelf is as the file says.")),
)

IMPORTS: Final = Plan(
    name="imports",
    title=_lazy("Files brought in"),
    columns=(
        Column(
            "file",
            _lazy("File"),
            lambda row: row.filename,
            href=lambda row: reverse("offer_import", args=[row.public_id]),
        ),
        Column("source", _lazy("Catalogue"), lambda row: row.source, sort="source"),
        Column("supplier", _lazy("Supplier"), lambda row: supplier_named(row.supplier.name), hidden=True),
        Column("state", _lazy("State"), lambda row: f"import_{row.state}", kind="state", sort="state"),
        Column("rows", _lazy("Rows"), lambda row: row.counts.get("rows", 0), kind="number"),
        Column("new", pgettext_lazy("import", "New"), lambda row: row.counts.get("new", 0), kind="number"),
        Column(
            "changed",
            _lazy("Changed"),
            lambda row: row.counts.get("price", 0) + row.counts.get("changed", 0),
            kind="number",
        ),
        Column("held", _lazy("Held back"), lambda row: row.counts.get("quarantined", 0), kind="number"),
        Column("at", _lazy("Sent"), lambda row: row.created_at, kind="time", sort="created_at"),
        Column("applied", _lazy("Applied"), lambda row: row.applied_at, kind="time", hidden=True),
    ),
    order="-at",
    filters=(
        Filter(
            "state",
            _lazy("State"),
            lambda rows, state: rows.filter(state=state),
            [(state.value, state_name_lazy(f"import_{state.value}")) for state in ImportState],
        ),
    ),
    empty=Empty(_lazy("No file was brought in yet.")),
)


class NewImport(forms.Form):
    """A file of offers, and what it is compared with."""

    supplier = forms.ChoiceField(label=_lazy("Supplier"))
    file = forms.FileField(
        label=_lazy("File"), widget=forms.ClearableFileInput(attrs={"accept": ".csv,.yaml,.yml,.tsv,.txt"})
    )
    source = forms.CharField(
        label=_lazy("Catalogue"),
        required=False,
        max_length=200,
        help_text=_lazy("Offers of the same catalogue are compared; empty: the file's name."),
    )
    pool = forms.ChoiceField(
        label=_lazy("Sold from"),
        required=False,
        help_text=_lazy("For rows that name no pool; without one they are shown and cannot be bought."),
    )
    currency = forms.RegexField(
        r"^[A-Z]{3}$",
        label=_lazy("Currency"),
        required=False,
        help_text=_lazy("For rows that name none; empty: the hub's."),
    )
    gone = forms.ChoiceField(
        label=_lazy("What the file no longer has"),
        choices=[(Gone.KEEP, _lazy("stays on the shelf")), (Gone.WITHDRAW, _lazy("leaves the shelf"))],
    )

    def __init__(
        self, *args: Any, suppliers: Sequence[Organisation], pools: Sequence[Pool], **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        choose_supplier(self, suppliers)
        field: Any = self.fields["pool"]
        field.choices = [("", _("no pool")), *((one.public_id, one.name) for one in pools)]


@require_http_methods(["GET", "POST"])
@page("offer.manage")
def offer_imports(request: HttpRequest) -> HttpResponse:
    """Send a file of offers; below it, those sent before."""
    actor = actor_of(request)
    suppliers = suppliers_managed_by(actor)
    ids = {one.id for one in suppliers}
    pools = [one for one in pools_visible_to(actor) if one.organisation_id in ids]
    given = (request.POST, request.FILES) if request.method == "POST" else ()
    form = NewImport(*given, suppliers=suppliers, pools=pools)
    if request.method == "POST" and _is_too_large(request):
        # What a browser sent past the limit was cut off: a part of a file is not a file.
        form.add_error("file", _("The file is too large for the browser: at most %d MiB.") % UPLOAD_MIB_MAX)
    elif request.method == "POST" and form.is_valid():
        try:
            made = _sent(actor, form.cleaned_data)
        except DomainError as refusal:
            said = said_of(refusal)
            form.add_error("file", f"{said.message} {said.hint}")
        else:
            return redirect("offer_import", made.public_id)
    if request.GET.get("format") == "csv":
        return list_page(request, "", IMPORTS, imports_visible_to(actor))
    context = {
        "form": form,
        "suppliers": suppliers,
        "upload_mib_max": UPLOAD_MIB_MAX,
        "sample": SAMPLE,
        "command": "mosu offers import FILE",
        "table": table_of(request, IMPORTS, imports_visible_to(actor)),
    }
    return render(request, "pages/offer_imports.html", context, status=422 if form.errors else 200)


def _is_too_large(request: HttpRequest) -> bool:
    return int(request.META.get("CONTENT_LENGTH") or 0) > BODY_BYTES_MAX[IMPORTS_PATH]


def _sent(actor: Actor, given: Mapping[str, Any]) -> OfferImport:
    """The import of the file, which the supplier keeps; for nobody who may not manage its offers."""
    supplier_id, now = Organisation.key_of(given["supplier"]), timezone.now()
    require(actor, "offer.manage", supplier_id)
    kept = put_file(
        file=given["file"].file, size_bytes_max=OFFERS_BYTES_MAX, now=now, organisation_id=supplier_id
    )
    return preview_import(
        actor=actor,
        supplier_id=supplier_id,
        file_sha256=kept.sha256,
        sent_to=supplier_id,
        filename=given["file"].name,
        source=given["source"],
        subject_id=Pool.key_of(given["pool"]) if given["pool"] else None,
        currency=given["currency"],
        gone=Gone(given["gone"]),
        now=now,
    )


@require_GET
@page("import.read")
def offer_import(request: HttpRequest, import_id: str) -> HttpResponse:
    """What a file would change, or did: every difference, with from and to. While the hub works on it, how far."""
    row = row_of(imports_visible_to(actor_of(request)), import_id)
    context = _shown(request, row)
    if row.state in (ImportState.READING, ImportState.REFUSED):  # there is nothing to list
        return render(request, "pages/offer_import.html", context)
    return list_page(request, "pages/offer_import.html", ROWS, differences(row), context=context)


@require_GET
@page("import.read")
def import_now(request: HttpRequest, import_id: str) -> HttpResponse:
    """The part of the import's page that changes while the hub works on it; its script asks for it."""
    row = row_of(imports_visible_to(actor_of(request)), import_id)
    return render(request, "parts/import_now.html", _shown(request, row))


def _shown(request: HttpRequest, row: OfferImport) -> dict[str, Any]:
    actor, counts = actor_of(request), row.counts
    return {
        "import": row,
        "counts": counts,
        "changing": sum(counts.get(kind, 0) for kind in ("new", "price", "changed")),
        "tabs": _tabs(request, row),
        "state_code": f"import_{row.state}",
        "doing": DOING.get(row.state, ""),
        "refusal": _refusal(row),
        "was_applied": row.state in (ImportState.APPLIED, ImportState.UNDOING, ImportState.UNDONE),
        "waits": row.state == ImportState.PREVIEWED,
        "may_undo": row.state == ImportState.APPLIED,
        "withdraws": row.gone == Gone.WITHDRAW,
        "may_manage": allows(actor, "offer.manage", row.supplier_id),
        "may_release": allows(actor, "import.release"),
    }


def _refusal(row: OfferImport) -> dict[str, Any] | None:
    """Why the last step was refused, in the page's language."""
    if not row.refusal:
        return None
    places = [
        one | {"message": said_here(one["message"]), "allowed": said_here(one["allowed"])}
        for one in row.refusal["problems"]
    ]
    return {
        "title": REFUSED[row.state],
        "message": said_here(row.refusal["message"]),
        "hint": said_here(row.refusal["hint"]),
        "places": places,
        "more": row.refusal["count"] - len(places),
        "of_file": row.state == ImportState.REFUSED,
    }


def _tabs(request: HttpRequest, row: OfferImport) -> list[Tab]:
    counts, base = row.counts, reverse("offer_import", args=[row.public_id])
    change, held = request.GET.get("change", ""), request.GET.get("held", "")
    return [
        Tab(_("All"), base, not change and not held),
        *(
            Tab(title, f"{base}?change={code}", change == code, counts.get(code, 0))
            for code, title in CHANGES
        ),
        Tab(_("Held back"), f"{base}?held=yes", held == "yes", counts.get("quarantined", 0)),
    ]


@require_POST
@page("offer.manage")
def import_decide(request: HttpRequest, import_id: str) -> HttpResponse:
    """Apply the file as its preview showed, or throw it away; undo what was applied."""
    actor, now = actor_of(request), timezone.now()
    row = row_of(imports_visible_to(actor), import_id)
    if request.POST.get("do") == "apply":
        apply_import(actor=actor, import_id=row.id, now=now)
    elif request.POST.get("do") == "discard":
        discard_import(actor=actor, import_id=row.id, why=why_of(request), now=now)
        messages.success(request, _("The file is thrown away; nothing on the shelf changed."))
    elif request.POST.get("do") == "undo":
        undo_import(actor=actor, import_id=row.id, why=why_of(request), now=now)
    else:
        raise Invalid(_("Apply it, or throw it away?"), hint=_("Press one of the two buttons."), field="do")
    return redirect("offer_import", row.public_id)


@require_POST
@page("import.release")
def import_release(request: HttpRequest, import_id: str) -> HttpResponse:
    """Let a row through that was held back, for a reason that is kept."""
    actor = actor_of(request)
    row = row_of(imports_visible_to(actor), import_id)
    line = request.POST.get("line", "")
    if not (line.isascii() and line.isdigit() and len(line) < 10):
        raise Invalid(
            _("Which line?"), hint=_("Write the number of the line as the table has it."), field="line"
        )
    release_row(actor=actor, import_id=row.id, line=int(line), why=why_of(request), now=timezone.now())
    messages.success(request, _("Line %s will be applied with the rest.") % line)
    return redirect(reverse("offer_import", args=[row.public_id]) + "?held=yes")
