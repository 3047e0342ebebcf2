"""What several of the shelf's bodies are made of."""

from typing import Annotated

from pydantic import StringConstraints

Why = Annotated[str, StringConstraints(max_length=400, pattern=r"^[^\x00]*$")]
