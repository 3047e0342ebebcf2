"""Volumes: room for files that outlive runs, bought by the GB and the day."""

import sys
import time
from datetime import UTC, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Final

import typer

from mosu.cli.buying import agree
from mosu.cli.options import JsonOption, LangOption, LimitOption, YesOption
from mosu.cli.output import client, say, show, show_json, time_of, zone_of
from mosu.cli.stop import REFUSED, USAGE, Stop
from mosu.cli.taskfile import vouchers_of
from mosu.cli.text import Language, language, table, told
from mosu.kernel.languages import counted
from mosu.kernel.units import one_unit

if TYPE_CHECKING:
    from mosu.client import Client
    from mosu.client.volume_answers import Quota, Volume

volumes = typer.Typer(no_args_is_help=True, help="Room for files that outlive runs.")

_HEADINGS: Final = MappingProxyType(
    {
        "zh": ("名称", "状态", "GB", "资源池", "付费至", "续期", "使用者", "编号"),
        "en": ("NAME", "STATE", "GB", "POOL", "PAID UNTIL", "RENEWS", "USED BY", "ID"),
    }
)
_QUOTA_HEADINGS: Final = MappingProxyType(
    {"zh": ("对象", "已用 GB", "上限 GB"), "en": ("OF", "KEPT GB", "AT MOST GB")}
)
_LOOK_S: Final = 1.0
_PAGE: Final = 200
_HINTS: Final = MappingProxyType(
    {
        "full": "The pool's disk is full. Nothing is charged; tell the supplier.",
        "too_large": "It holds more than its size. Delete files in it, and try again.",
        "changed": "Something changed while it was copied. Try again.",
        "closed": "Parts of it are too deep, or closed to their own user (chmod u+rx). Mend them, and try again.",
        "in_use": "An attempt that was thought to be over still uses it. Try again later.",
        "disk": "The pool's disk fails. Nothing is charged; tell the supplier.",
    }
)
"""Why a copy failed, and what to do."""
WaitOption = Annotated[
    bool, typer.Option("--wait/--no-wait", help="Wait until it is whole, and say how far it is.")
]
NameArgument = Annotated[str, typer.Argument(help="Name or id of the volume.")]
DaysOption = Annotated[int, typer.Option("--days", min=1, max=366, help="For how many days.")]
VouchersOption = Annotated[str, typer.Option(help="auto, none, or voucher ids with commas.")]


@volumes.command()
def create(
    name: Annotated[str, typer.Argument(help="Small letters, digits and -; tasks name it.")],
    *,
    gb: Annotated[int, typer.Option("--gb", min=1, help="How large, in GB.")],
    days: DaysOption = 30,
    pool: Annotated[str, typer.Option(help="Of this pool: its name or id.")] = "",
    supplier: Annotated[str, typer.Option(help="Of this supplier: its name or id.")] = "",
    offer: Annotated[str, typer.Option(help="Of this offer: offer_...")] = "",
    renew: Annotated[bool, typer.Option("--renew", help="Renew it by itself for as long again.")] = False,
    vouchers: VouchersOption = "",
    yes: YesOption = False,
    lang: LangOption = "",
    json: JsonOption = False,
) -> None:
    """Buy a volume of the cheapest offer, or of the one named. Tasks see it with volumes: {/data: NAME}.

    The whole time is held; if it is deleted before, what is left comes back. mosu offers --shelf storage lists who
    sells.
    """
    with client() as hub:
        quote = hub.make_volume_quote(
            name,
            gb=gb,
            days=days,
            offer_id=offer or None,
            supplier=supplier,
            pool=pool,
            vouchers=vouchers_of(vouchers),
        )
        agree(hub, quote, lang, asks="Buy this volume", yes=yes)
        volume = hub.volume_of_order(hub.accept(quote.id).id)
        if renew:
            volume = hub.change_volume(volume.id, renews_days=days)
    if json:
        show_json(volume)
    else:
        show(volume.id)
        say(f"See it in a task: volumes: {{/data: {volume.name}}}")


@volumes.command("list")
def list_them(*, limit: LimitOption = 50, lang: LangOption = "", json: JsonOption = False) -> None:
    """Your organisation's volumes and snapshots, newest first."""
    with client() as hub:
        page = hub.volumes(limit=limit)
        zone = zone_of(hub)
    if json:
        show_json(page)
        return
    rows = [
        [
            one.name,
            _state_of(one),
            str(one.gb),
            one.pool,
            time_of(one.kept_until, zone),
            str(one.renews_days or "-"),
            ", ".join(one.used_by) or "-",
            one.id,
        ]
        for one in page.items
    ]
    show(table(list(_HEADINGS[language(lang)]), rows, right=frozenset({2, 5})))


@volumes.command()
def renew(
    name: NameArgument,
    *,
    days: DaysOption = 30,
    always: Annotated[
        bool | None, typer.Option("--always/--never", help="From now on by itself, or not; buys nothing now.")
    ] = None,
    vouchers: VouchersOption = "",
    yes: YesOption = False,
    lang: LangOption = "",
    json: JsonOption = False,
) -> None:
    """Buy more time for a volume, from the end of what is paid for."""
    with client() as hub:
        volume = _named(hub, name)
        if always is not None:
            volume = hub.change_volume(volume.id, renews_days=days if always else 0)
        else:
            quote = hub.make_volume_time_quote(volume.id, days=days, vouchers=vouchers_of(vouchers))
            agree(hub, quote, lang, asks="Buy this time", yes=yes)
            volume = hub.volume_of_order(hub.accept(quote.id).id)
        price, zone = _price_of(hub, volume, language(lang)), zone_of(hub)
    if json:
        show_json(volume)
        return
    show(time_of(volume.kept_until, zone))
    say(f"{volume.name} ({volume.gb} GB) is paid until {time_of(volume.kept_until, zone)}, at {price}.")
    if volume.renews_days:
        renewed = counted(volume.renews_days, "day")
        say(f"Then it is renewed by itself for {renewed} each time, at the price of the day.")
    else:
        say(f"Then it can only be read, and is deleted at {time_of(volume.deleted_at, zone)} unless renewed.")


@volumes.command()
def delete(name: NameArgument, *, yes: YesOption = False, json: JsonOption = False) -> None:
    """Delete a volume with all that is in it; what is left of its time comes back."""
    with client() as hub:
        volume = _named(hub, name)
        _confirm_deletion(volume, yes=yes)
        volume = hub.delete_volume(volume.id)
    if json:
        show_json(volume)
    else:
        show(volume.state)


@volumes.command()
def snapshot(
    name: NameArgument,
    *,
    label: Annotated[
        str, typer.Option("--as", help="Its label: small letters, digits and -; the time of day if left out.")
    ] = "",
    days: DaysOption = 30,
    wait: WaitOption = True,
    vouchers: VouchersOption = "",
    yes: YesOption = False,
    lang: LangOption = "",
    json: JsonOption = False,
) -> None:
    """Keep what a volume holds now as NAME@LABEL, which no run changes. Tasks see it with volumes: {/data: NAME@LABEL}.

    Until it is whole no run may write the volume. What it takes is measured then, and so much is charged.
    """
    with client() as hub:
        volume = _named(hub, name)
        label = label or f"{datetime.now(UTC):%Y%m%d-%H%M%S}"
        quote = hub.make_snapshot_quote(volume.id, label, days=days, vouchers=vouchers_of(vouchers))
        agree(hub, quote, lang, asks="Buy this snapshot", yes=yes)
        made = hub.volume_of_order(hub.accept(quote.id).id)
        if wait:
            made = _copied(hub, made)
    if json:
        show_json(made)
        return
    show(made.name)
    if wait and made.last_copy is not None:
        say(f"The snapshot {made.name} is whole: {made.gb} GB, made in {made.last_copy.took_s:.1f} s.")


@volumes.command()
def restore(
    name: NameArgument,
    snapshot: Annotated[str, typer.Argument(help="The snapshot: its label, NAME@LABEL, or its id.")],
    *,
    wait: WaitOption = True,
    yes: YesOption = False,
    json: JsonOption = False,
) -> None:
    """Have a volume hold what a snapshot holds. What it holds now is lost once that is whole, and stays until then."""
    with client() as hub:
        volume = _named(hub, name)
        is_label = "@" not in snapshot and not snapshot.startswith("volume_")
        source = _named(hub, f"{volume.name}@{snapshot}" if is_label else snapshot)
        _confirm_restoring(volume, source, yes=yes)
        volume = hub.restore_volume(volume.id, source.id)
        if wait:
            volume = _copied(hub, volume)
    if json:
        show_json(volume)
        return
    show(volume.name)
    if wait and volume.last_copy is not None:
        say(
            f"The volume {volume.name} holds what {source.name} holds: restored in {volume.last_copy.took_s:.1f} s."
        )


@volumes.command()
def quota(
    project: Annotated[str, typer.Argument(help="Set it of this project: its name or id.")] = "",
    *,
    gb: Annotated[int | None, typer.Option("--gb", min=0, help="So many GB at most.")] = None,
    lift: Annotated[bool, typer.Option("--lift", help="Nothing limits it any more.")] = False,
    lang: LangOption = "",
    json: JsonOption = False,
) -> None:
    """How many GB of volumes are kept and may be kept; owners and administrators set it of a project."""
    if not project and (gb is not None or lift):
        raise Stop("Say which project.", hint="mosu volumes quota PROJECT --gb N", code=USAGE)
    with client() as hub:
        projects = hub.projects(limit=200).items
        if project:
            if (gb is None) is not lift:
                raise Stop("Say what it is.", hint="--gb N, or --lift.", code=USAGE)
            found = [one for one in projects if project in (one.id, one.name)]
            organisation = hub.me().organisation
            if len(found) != 1 or organisation is None:
                raise Stop(f"There is no project {project[:60]!r}.", hint="See mosu api get /projects.")
            hub.set_quota(organisation_id=organisation.id, project_id=found[0].id, units_max=gb, volumes=True)
        quotas = _with_unlimited(hub, [one for one in hub.quotas(limit=200).items if one.volumes])
    names = {one.id: one.name for one in projects}
    if json:
        show_json(quotas)
        return
    rows = [
        [
            names.get(one.project_id, one.project_id) or one.organisation_id,
            str(one.kept_gb),
            "-" if one.units_max is None else str(one.units_max),
        ]
        for one in quotas
    ]
    show(table(list(_QUOTA_HEADINGS[language(lang)]), rows, right=frozenset({1, 2})))


def _with_unlimited(hub: "Client", quotas: "list[Quota]") -> "list[Quota]":
    """The quotas, then what projects keep that have none."""
    from mosu.client.volume_answers import Quota

    kept: dict[tuple[str, str], int] = {}
    cursor: str | None = None
    while True:
        page = hub.volumes(limit=_PAGE, cursor=cursor)
        for one in page.items:
            if one.state not in {"deleting", "deleted"}:
                whose = (one.organisation_id, one.project_id)
                kept[whose] = kept.get(whose, 0) + one.gb
        cursor = page.next
        if cursor is None:
            break
    limited = {one.project_id for one in quotas}
    return quotas + [
        Quota(organisation_id=organisation_id, project_id=project_id, volumes=True, kept_gb=gb)
        for (organisation_id, project_id), gb in sorted(kept.items())
        if project_id not in limited
    ]


def _price_of(hub: "Client", volume: "Volume", lang: Language) -> str:
    """What a unit of its last time costs."""
    last = hub.order(volume.order_ids[-1])
    return ", ".join(
        f"{line.unit_price:f} {last.currency}/{one_unit(line.unit)[lang]}" for line in last.lines
    )


def _state_of(volume: "Volume") -> str:
    copy = volume.last_copy
    if copy is None or copy.state != "copying":
        return volume.state
    part = f" {min(99, 100 * copy.bytes_done // copy.bytes_total)}%" if copy.bytes_total else ""
    return f"{told('restoring') if copy.restores else volume.state}{part}"


def _copied(hub: "Client", volume: "Volume") -> "Volume":
    """The volume once the copy to it has ended well; how far it is, is said meanwhile.

    Raises:
        Stop: it failed.
    """
    told_of = ""
    while (copy := volume.last_copy) is not None and copy.state == "copying":
        progress = f"{volume.name}: {_size_of(copy.bytes_done)} / {_size_of(copy.bytes_total)}"
        if copy.bytes_total and progress != told_of:
            say(progress)
            told_of = progress
        time.sleep(_LOOK_S)
        volume = hub.volume(volume.id)
    if copy is not None and copy.state == "failed":
        raise Stop(f"{volume.name}: the copy failed ({copy.reason}).", hint=_HINTS.get(copy.reason, ""))
    return volume


def _size_of(size_bytes: int) -> str:
    return f"{size_bytes / (1 << 30):.2f} GB"


def _confirm_restoring(volume: "Volume", source: "Volume", *, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise Stop(
            "Nothing was restored: there is no terminal to ask at.", hint="--yes restores it.", code=REFUSED
        )
    say(f"All files in {volume.name} are replaced by what {source.name} holds.")
    say(f"Type its name to restore it: {volume.name}")
    if sys.stdin.readline().strip() != volume.name:
        raise Stop("Nothing was restored.", hint="The volume holds what it held.", code=REFUSED)


def _named(hub: "Client", name: str) -> "Volume":
    """The volume of this name or id."""
    if name.startswith("volume_"):
        return hub.volume(name)
    found = [one for one in hub.volumes(limit=200).items if one.name == name and one.state != "deleting"]
    if len(found) == 1:
        return found[0]
    if found:
        raise Stop(
            f"{len(found)} projects have a volume {name[:60]!r}.", hint="Name it by its id.", code=REFUSED
        )
    raise Stop(f"There is no volume {name[:60]!r}.", hint="See mosu volumes list.", code=REFUSED)


def _confirm_deletion(volume: "Volume", *, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise Stop(
            "Nothing was deleted: there is no terminal to ask at.", hint="--yes deletes it.", code=REFUSED
        )
    say(f"All files in {volume.name} ({volume.gb} GB) will be gone for good.")
    say(f"Type its name to delete it: {volume.name}")
    if sys.stdin.readline().strip() != volume.name:
        raise Stop("Nothing was deleted.", hint="The volume stays yours.", code=REFUSED)
