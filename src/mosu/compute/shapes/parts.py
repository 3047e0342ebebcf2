"""What several of the shelf's bodies are made of."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from mosu.market.shapes import Word

VoucherChoice = Literal["auto", "none"] | Annotated[list[Word], Field(max_length=20)]
Why = Annotated[str, StringConstraints(max_length=400, pattern=r"^[^\x00]*$")]
