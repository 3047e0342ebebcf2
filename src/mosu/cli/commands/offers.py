"""What is on the shelf; and offers brought in by a file."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mosu.cli.options import JsonOption, LangOption, LimitOption, YesOption
from mosu.cli.output import client, say, show, show_json
from mosu.cli.stop import REFUSED, USAGE, Stop
from mosu.cli.text import Language, language, table, told
from mosu.kernel.languages import counted
from mosu.kernel.units import one_count, one_unit
from mosu.wire.offers import OffersRefused, read_offers

if TYPE_CHECKING:
    from mosu.client import Client
    from mosu.client.models import Difference, Imported, Offer, Price

offers = typer.Typer(invoke_without_command=True, no_args_is_help=False, help="What is on the shelf.")

LEFT: int = 1
"""Exit code: done, but rows wait in quarantine."""
_SHOWN = 5
_KINDS = {
    "new": "new",
    "price": "another price",
    "changed": "changed",
    "gone": "gone from the file",
    "quarantined": "in quarantine",
}


@offers.callback()
def listed(
    context: typer.Context,
    *,
    text: Annotated[str, typer.Option(help="Words that must be found, such as 昇腾910B.")] = "",
    accelerator: Annotated[str, typer.Option(help="Only this accelerator.")] = "",
    vendor: Annotated[str, typer.Option(help="Only accelerators of this vendor.")] = "",
    region: Annotated[str, typer.Option(help="Only this region.")] = "",
    supplier: Annotated[str, typer.Option(help="Only this supplier (its id).")] = "",
    shelf: Annotated[str, typer.Option(help="Which shelf.")] = "compute",
    all: Annotated[bool, typer.Option("--all", help="Also those that cannot be bought right now.")] = False,
    free: Annotated[bool, typer.Option("--free", help="Only what is free now.")] = False,
    sort: Annotated[
        str,
        typer.Option(help="price, -price, ready, effective, free, -created_at or relevance."),
    ] = "price",
    limit: LimitOption = 50,
    lang: LangOption = "",
    json: JsonOption = False,
) -> None:
    """What is on the shelf, cheapest first."""
    if context.invoked_subcommand is not None:
        return
    with client() as hub:
        page = hub.offers(
            shelf=shelf,
            text=text or None,
            accelerator=accelerator or None,
            vendor=vendor or None,
            region=region or None,
            supplier=supplier or None,
            live=None if all else True,
            free_now=True if free else None,
            sort=sort,
            limit=limit,
        )
    if json:
        show_json(page)
        return
    chosen = language(lang)
    rows = [
        [
            offer.id,
            offer.title.in_language(chosen),
            offer.supplier.name if offer.supplier is not None else "",
            offer.region or "",
            ", ".join(f"{price.unit_price:f}/{_unit(price, chosen)}" for price in offer.prices),
            _availability(offer),
        ]
        for offer in page.items
    ]
    show(table(["ID", "OFFER", "SUPPLIER", "REGION", "PRICE", "FREE"], rows))
    if not rows:
        say("Nothing on this shelf fits." + ("" if all else " --all shows what is not connected now, too."))
    if page.next is not None:
        say("There are more; raise --limit.")


@offers.command("import")
def bring_in(
    file: Annotated[Path, typer.Argument(help="CSV or YAML: mosu's own, or a public catalogue's.")],
    *,
    supplier: Annotated[str, typer.Option(help="Whose offers (an id), if not your organisation's.")] = "",
    source: Annotated[str, typer.Option(help="The catalogue's name, if not the file's.")] = "",
    pool: Annotated[str, typer.Option(help="The pool that all of it is sold from.")] = "",
    currency: Annotated[str, typer.Option(help="Of prices that name none, such as USD.")] = "",
    withdraw: Annotated[
        bool, typer.Option("--withdraw", help="Take off the shelf what the file no longer has.")
    ] = False,
    apply: Annotated[bool, typer.Option("--apply", help="Apply it if nothing waits in quarantine.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the differences, keep nothing.")] = False,
    lang: LangOption = "",
    json: JsonOption = False,
) -> None:
    """Bring offers in from a file: shows what would change; with --apply, changes it.

    Exits 0 when done, 1 if rows wait in quarantine (then nothing is applied), 3 if the file is refused.
    """
    if apply and dry_run:
        raise Stop("--apply and --dry-run contradict each other.", code=USAGE)
    _check(file)
    with client() as hub:
        made = hub.preview_offers(
            file,
            supplier_id=supplier or None,
            source=source,
            subject_id=pool or None,
            currency=currency.upper(),
            gone="withdraw" if withdraw else "keep",
            progress=progress_line(),
        )
        _stop_if_refused(made, json=json)
        rows = {kind: _first_rows(hub, made, kind) for kind in _KINDS if made.counts.get(kind)}
        waiting = made.counts.get("quarantined", 0)
        if dry_run:
            made = hub.discard_offers(made.id)
        elif apply and not waiting:
            made = hub.apply_offers(made.id, progress=progress_line())
            _stop_if_refused(made, json=json)
    if json:
        show_json({"import": made, "rows": {kind: list(found) for kind, found in rows.items()}})
    else:
        show(_as_text(made, rows, language(lang)))
        say(_what_next(made))
    if waiting:
        raise typer.Exit(LEFT)


@offers.command("apply")
def apply_preview(
    import_id: Annotated[str, typer.Argument(help="What mosu offers import showed.")],
    *,
    yes: YesOption = False,
    json: JsonOption = False,
) -> None:
    """Make the shelf as a preview showed; rows in quarantine stay out of it."""
    with client() as hub:
        if not yes and not json:
            made = hub.offer_import(import_id)
            typer.confirm(f"{_summary(made)}. Apply?", abort=True, err=True)
        made = hub.apply_offers(import_id, progress=progress_line())
        _stop_if_refused(made, json=json)
    if json:
        show_json(made)
    else:
        show(f"{made.id}: {made.state}. {_summary(made)}.")


@offers.command("discard")
def discard_preview(
    import_id: Annotated[str, typer.Argument(help="What mosu offers import showed.")],
    *,
    json: JsonOption = False,
) -> None:
    """Throw a preview away."""
    with client() as hub:
        made = hub.discard_offers(import_id)
    if json:
        show_json(made)
    else:
        show(f"{made.id}: {made.state}.")


@offers.command("undo")
def undo_applied(
    import_id: Annotated[str, typer.Argument(help="What mosu offers import showed.")],
    *,
    why: Annotated[str, typer.Option(help="The reason; it is kept.")],
    yes: YesOption = False,
    json: JsonOption = False,
) -> None:
    """Make the shelf as it was before an applied import; refused if what it touched changed since."""
    with client() as hub:
        if not yes and not json:
            made = hub.offer_import(import_id)
            typer.confirm(f"{_summary(made)}. {told('Undo it?')}", abort=True, err=True)
        made = hub.undo_offers(import_id, why=why, progress=progress_line())
        _stop_if_refused(made, json=json)
    if json:
        show_json(made)
    else:
        show(f"{made.id}: {made.state}. {_summary(made)}.")


def progress_line() -> Callable[["Imported"], None]:
    """What shows on a terminal how far the hub is; elsewhere nothing is shown."""
    terminal = sys.stderr.isatty()
    shown = False

    def tell(made: "Imported") -> None:
        nonlocal shown
        if not terminal or not (made.under_way or shown):
            return
        rows = told(counted(made.rows_read, "row")) if made.rows_read else ""
        line = f"{told(made.state)} {made.percent}% {rows}" if made.under_way else ""
        sys.stderr.write(f"\r\x1b[K{line}")
        sys.stderr.flush()
        shown = made.under_way

    return tell


def _stop_if_refused(made: "Imported", *, json: bool) -> None:
    """End here if the hub refused what it was asked for, with the places where that is known."""
    refusal = made.refusal
    if refusal is None:
        return
    if json:
        show_json(made)
    places = [
        f"{made.file}:{one.line}: {one.field and one.field + ': '}{told(one.message)}"
        for one in refusal.problems
    ]
    raise Stop("\n".join([told(refusal.message), *places]), hint=refusal.hint, code=REFUSED)


def _check(file: Path) -> None:
    """Read the file here first, so that all that is wrong with it is told before anything is sent."""
    try:
        with file.open("rb") as stream:
            for _ in read_offers(stream, source=file.name):
                pass
    except OffersRefused as refused:
        places = [
            f"{file.name}:{problem['line']}: {problem['field'] and problem['field'] + ': '}{problem['message']}"
            for problem in refused.problems
        ]
        raise Stop(
            "\n".join([f"{file.name} cannot be used.", *places]), hint=refused.hint, code=REFUSED
        ) from None
    except FileNotFoundError:
        raise Stop(f"There is no file {file}.", code=USAGE) from None


def _first_rows(hub: "Client", made: "Imported", kind: str) -> "tuple[Difference, ...]":
    if kind == "quarantined":
        return hub.offer_differences(made.id, quarantined=True, limit=_SHOWN).items
    return hub.offer_differences(made.id, change=kind, quarantined=False, limit=_SHOWN).items


def _as_text(made: "Imported", rows: "dict[str, tuple[Difference, ...]]", lang: str) -> str:
    parts = [_summary(made)]
    for kind, found in rows.items():
        count = made.counts[kind]
        parts.append(f"\n{told(_KINDS[kind])}: {count}")
        cells = [
            [
                str(row.line or ""),
                row.title.in_language(lang),
                row.region,
                " -> ".join(
                    f"{price.unit_price:f} {price.currency}"
                    for price in (row.old, row.new)
                    if price is not None
                ),
                f"{row.doubt.title.in_language(lang)}: {row.doubt.reason}"
                if row.doubt
                else ", ".join(row.terms),
            ]
            for row in found
        ]
        parts.append(table(["LINE", "OFFER", "REGION", "PRICE", ""], cells).rstrip("\n"))
        if count > len(found):
            parts.append(
                told(f"... and {count - len(found)} more: mosu api get /offer-imports/{made.id}/rows")
            )
    return "\n".join(parts)


def _summary(made: "Imported") -> str:
    every = ("new", "price", "changed", "gone", "unchanged", "repeated", "quarantined")
    kinds = ", ".join(told(f"{made.counts[kind]} {kind}") for kind in every if made.counts.get(kind))
    rows = made.counts.get("rows", 0)
    return told(
        f"{made.file}: 1 row: {kinds or 'nothing'}"
        if rows == 1
        else f"{made.file}: {rows} rows: {kinds or 'nothing'}"
    )


def _what_next(made: "Imported") -> str:
    if made.state == "applied":
        return told(f"Applied: {made.id}.")
    if made.state == "discarded":
        return told("Nothing was changed.")
    waiting = (
        "Rows in quarantine stay out unless the hub's operator releases them. "
        if made.counts.get("quarantined")
        else ""
    )
    return told(waiting) + told(f"Nothing is changed yet. To apply it: mosu offers apply {made.id}")


def _unit(price: "Price", lang: Language) -> str:
    return (one_unit(price.unit) if price.unit else one_count(price.meter))[lang]


def _availability(offer: "Offer") -> str:
    if not offer.live:
        return told(f"not now: {offer.why_not_live or 'no agent'}")
    return told(f"{offer.stock.free} of {offer.stock.total}" if offer.stock is not None else "yes")
