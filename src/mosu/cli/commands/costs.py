"""What a month cost, for a finance department's own tools."""

from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Final, Literal

import typer

from mosu.cli.options import JsonOption
from mosu.cli.output import client, say, show_json
from mosu.cli.stop import USAGE, Stop, check_folder_of

if TYPE_CHECKING:
    from collections.abc import Mapping

costs = typer.Typer(no_args_is_help=True, help="What a month cost.")

_FORMATS: "Final[Mapping[str, Literal['csv', 'parquet']]]" = MappingProxyType(
    {"focus-csv": "csv", "focus-parquet": "parquet"}
)


@costs.callback()
def _named() -> None:
    """What a month cost."""


@costs.command()
def export(
    *,
    month: Annotated[str, typer.Option(help="Such as 2026-11, in the hub's months.")],
    format: Annotated[str, typer.Option(help="focus-csv or focus-parquet.")] = "focus-csv",
    focus: Annotated[str, typer.Option(help="The specification's version: 1.2 or 1.4.")] = "1.2",
    output: Annotated[Path, typer.Option("--output", "-o", help="The file to write.")],
    json: JsonOption = False,
) -> None:
    """Write a month's costs in FOCUS, the FinOps cost and usage specification; vouchers are credits."""
    kind = _FORMATS.get(format)
    if kind is None:
        raise Stop(f"{format!r} is not a format.", hint="focus-csv or focus-parquet.", code=USAGE)
    check_folder_of(output)
    with client() as hub:
        size = hub.costs(month, output, version=focus, format=kind)
    if json:
        show_json({"file": str(output), "bytes": size})
    else:
        say(f"{output}: {size:,} bytes")
