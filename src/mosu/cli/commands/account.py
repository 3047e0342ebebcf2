"""Signing in, and money: login, receipts, balance, vouchers."""

import os
import platform
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from mosu.cli.options import JsonOption, LangOption, LimitOption, PdfOption
from mosu.cli.output import client, say, show, show_json, time_of, zone_of
from mosu.cli.receipt import render
from mosu.cli.stop import USAGE, Stop, check_folder_of
from mosu.cli.text import Language, language, table, told

if TYPE_CHECKING:
    from mosu.client import Client
    from mosu.client.models import Programme


def login(
    *,
    url: Annotated[str, typer.Option(help="Address of the hub.")] = "",
    email: Annotated[str, typer.Option(help="Your e-mail address; asked for if left out.")] = "",
    otp: Annotated[str, typer.Option(help="One-time code, if you have set up a second factor.")] = "",
    organisation: Annotated[str, typer.Option(help="Id of the organisation to act for.")] = "",
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="Read the password from input.")
    ] = False,
    token_stdin: Annotated[
        bool, typer.Option("--token-stdin", help="Keep the API token read from input.")
    ] = False,
    manage: Annotated[
        bool, typer.Option("--manage", help="A token that may also manage: pools, offers, members, the desk.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Sign in to a hub and keep a token, in a file that only you can read."""
    from mosu.client import Client
    from mosu.client.config import Profile, save_profile, saved_url

    url = (url or saved_url() or "http://127.0.0.1:8000").rstrip("/")
    if url.startswith("http://") and not url.removeprefix("http://").startswith(
        ("127.0.0.1", "localhost", "[::1]")
    ):
        say(f"warning: {url} is not encrypted; anyone on the way can read your password.")
    if token_stdin:
        token = sys.stdin.readline().strip()
    else:
        email = email or _asked("E-mail")
        password = sys.stdin.readline().rstrip("\n") if password_stdin else _asked("Password", hidden=True)
        with Client(url, "", language=language()) as hub:
            token = _token(
                hub, email=email, password=password, otp=otp, organisation=organisation, manage=manage
            )
    with Client(url, token, language=language()) as hub:
        me = hub.me()
    path = save_profile(Profile(url=url, token=token))
    if json:
        show_json(me)
    who = me.user.email if me.user is not None else "a token"
    whom = f" for {me.organisation.name}" if me.organisation is not None else ""
    say(f"Signed in to {url} as {who}{whom}; the token is in {path}.")
    if os.environ.get("MOSU_TOKEN"):
        say("warning: MOSU_TOKEN is set and wins over the token that was just saved.")


def _token(hub: "Client", *, email: str, password: str, otp: str, organisation: str, manage: bool) -> str:
    """A new token; at a terminal the one-time code is asked for, if the account has one."""
    from mosu.client import ProblemError

    try:
        return hub.login(
            email=email,
            password=password,
            otp=otp or None,
            name=f"mosu command on {platform.node()}"[:60],
            organisation_id=organisation or None,
            scopes=["read", "buy", "manage"] if manage else None,
        ).token
    except ProblemError as error:
        if error.code != "code_needed" or otp or not sys.stdin.isatty():
            raise
    otp = _asked("One-time code")
    return _token(hub, email=email, password=password, otp=otp, organisation=organisation, manage=manage)


def _asked(what: str, *, hidden: bool = False) -> str:
    if not sys.stdin.isatty():
        option = "--password-stdin" if hidden else "--email"
        raise Stop(
            f"{what} is missing and there is no terminal to ask at.", hint=f"Give {option}.", code=USAGE
        )
    return str(typer.prompt(told(what), hide_input=hidden, err=True))


def receipts(
    *,
    receipt_id: Annotated[str, typer.Argument(help="A receipt's id; without it they are listed.")] = "",
    pdf: PdfOption = None,
    width: Annotated[int, typer.Option(min=24, max=120, help="Columns of the printed receipt.")] = 40,
    limit: LimitOption = 20,
    lang: LangOption = "",
    json: JsonOption = False,
) -> None:
    """Receipts, newest first, or one of them printed as on a till."""
    if pdf is not None:
        check_folder_of(pdf)
    with client() as hub:
        if pdf is not None:
            if not receipt_id:
                raise Stop("Which receipt?", hint="mosu receipts lists them.", code=USAGE)
            say(f"{pdf}: {hub.receipt_paper(receipt_id, pdf):,} bytes")
            return
        if receipt_id:
            receipt = hub.receipt(receipt_id)
            if json:
                show_json(receipt)
            else:
                show(render(receipt, width=width, lang=language(lang), zone=zone_of(hub)))
            return
        page = hub.receipts(limit=limit)
        if json:
            show_json(page)
            return
        zone = zone_of(hub)
    rows = [
        [
            r.id,
            r.number,
            time_of(r.issued_at, zone),
            f"{r.total:f}",
            f"{r.voucher_share:f}",
            f"{r.paid:f}",
            r.currency,
        ]
        for r in page.items
    ]
    headings = ["ID", "NUMBER", "ISSUED", "TOTAL", "VOUCHERS", "PAID", ""]
    show(table(headings, rows, right=frozenset({3, 4, 5})))


def balance(*, json: JsonOption = False) -> None:
    """Your organisation's money: what stands on the account, what of it is held, what is free."""
    with client() as hub:
        money = hub.balance()
    if json:
        show_json(money)
        return
    rows = [
        [told("balance"), f"{money.balance:f}"],
        [told("held"), f"{money.held:f}"],
        [told("available"), f"{money.available:f}"],
    ]
    show(table(["", money.currency], rows, right=frozenset({1})))


def vouchers(*, limit: LimitOption = 50, lang: LangOption = "", json: JsonOption = False) -> None:
    """Your organisation's vouchers: what is left on each, and until when."""
    with client() as hub:
        page = hub.vouchers(limit=limit)
        if json:
            show_json(page)
            return
        zone = zone_of(hub)
    chosen = language(lang)
    rows = [
        [
            v.id,
            _title(v.programme, chosen),
            told(v.state),
            f"{v.amount:f}",
            f"{v.remaining:f}",
            time_of(v.expires_at, zone),
        ]
        for v in page.items
    ]
    headings = ["ID", "PROGRAMME", "STATE", "AMOUNT", "REMAINING", "EXPIRES"]
    show(table(headings, rows, right=frozenset({3, 4})))


def _title(programme: "Programme | None", lang: Language) -> str:
    if programme is None:
        return ""
    return programme.title.in_language(lang)
