"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

AllOption = Annotated[bool, typer.Option("--all", help="Name each offer that does not fit, and why.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Data as JSON on standard output.")]
LangOption = Annotated[str, typer.Option("--lang", help="zh or en; otherwise as MOSU_LANG or LANG says.")]
LimitOption = Annotated[int, typer.Option("--limit", min=1, max=200, help="At most so many.")]
PdfOption = Annotated[
    Path | None, typer.Option("--pdf", help="Write it as PDF to this file; its language is --lang.")
]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
