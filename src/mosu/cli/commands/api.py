"""`mosu api`: any call of the hub's API, with the token that is kept."""

import json as codec
import sys
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any

import typer

from mosu.cli.output import show
from mosu.cli.stop import USAGE, Stop
from mosu.cli.text import language

METHODS = ("GET", "POST", "PATCH", "PUT", "DELETE")


def api(
    *,
    method: Annotated[str, typer.Argument(help="get, post, patch, put or delete.")],
    path: Annotated[str, typer.Argument(help="The path after /api/v1, such as /me.")],
    members: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME=VALUE]...",
            help="Members of the body (of the address, with get): NAME=text, NAME:=JSON or NAME=@FILE.",
        ),
    ] = None,
    get: Annotated[
        str, typer.Option("--get", help="Print only this member, such as organisation.id or items.0.id.")
    ] = "",
    key: Annotated[str, typer.Option(help="The Idempotency-Key, where the call asks for one.")] = "",
) -> None:
    """Call the hub's API and print its answer: for what has no command of its own yet (see /api/docs)."""
    from mosu.client.config import load_profile
    from mosu.client.transport import Transport

    verb = method.upper()
    if verb not in METHODS:
        raise Stop(f"{method[:20]!r} is no method.", hint="get, post, patch, put or delete", code=USAGE)
    if not path.startswith("/"):
        raise Stop(f"{path[:60]!r} is no path.", hint="It begins with /, such as /me.", code=USAGE)
    values = dict(_member(text) for text in members or [])
    profile = load_profile()
    reads = verb == "GET"
    with closing(Transport(profile.url, profile.token, language=language())) as hub:
        answer = hub.exchange(
            verb,
            path,
            repeat=reads,
            params=values if reads else None,
            json=None if reads else values,
            headers={"Idempotency-Key": key} if key else None,
        )
    if answer.content:
        show(_shown(answer.text, get))


def _member(text: str) -> tuple[str, Any]:
    """The name and the value that one argument means."""
    name, sign, value = text.partition("=")
    if not sign or not name:
        raise Stop(f"{text[:60]!r} has no value.", hint="Write NAME=VALUE.", code=USAGE)
    if name.endswith(":"):
        try:
            return name[:-1], codec.loads(value)
        except ValueError as error:
            raise Stop(f"{text[:60]!r}: {error}.", hint="After := stands JSON.", code=USAGE) from error
    return name, _file(value[1:]) if value.startswith("@") else value


def _file(path: str) -> str:
    try:
        if path == "-":
            return sys.stdin.read()
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Stop(f"{path} cannot be read: {error}.", code=USAGE) from error


def _shown(text: str, wanted: str) -> str:
    """The answer, or the member of it that `wanted` names by its dotted path."""
    value = codec.loads(text)
    for name in wanted.split(".") if wanted else ():
        try:
            value = value[int(name)] if isinstance(value, list) else value[name]
        except (ValueError, LookupError, TypeError) as error:
            raise Stop(f"The answer has no {wanted!r}.", hint="Leave --get out to see it whole.") from error
    return value if isinstance(value, str) else codec.dumps(value, ensure_ascii=False, indent=2)
