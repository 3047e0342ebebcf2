"""Volumes: room for files that outlive runs, bought by the GB and the day."""

import sys
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Final

import typer

from mosu.cli.buying import agree
from mosu.cli.options import JsonOption, LangOption, LimitOption, YesOption
from mosu.cli.output import client, say, show, show_json, time_of, zone_of
from mosu.cli.stop import REFUSED, Stop
from mosu.cli.taskfile import vouchers_of
from mosu.cli.text import language, table

if TYPE_CHECKING:
    from mosu.client import Client
    from mosu.client.models import Volume

volumes = typer.Typer(no_args_is_help=True, help="Room for files that outlive runs.")

_HEADINGS: Final = MappingProxyType(
    {
        "zh": ("名称", "状态", "GB", "资源池", "付费至", "续期", "使用者", "编号"),
        "en": ("NAME", "STATE", "GB", "POOL", "PAID UNTIL", "RENEWS", "USED BY", "ID"),
    }
)
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
    """Your organisation's volumes, newest first."""
    with client() as hub:
        page = hub.volumes(limit=limit)
        zone = zone_of(hub)
    if json:
        show_json(page)
        return
    rows = [
        [
            one.name,
            one.state,
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
        zone = zone_of(hub)
    if json:
        show_json(volume)
    else:
        show(time_of(volume.kept_until, zone))


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
