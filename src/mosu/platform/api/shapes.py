"""What several of the platform's operations take and give."""

from typing import Annotated

from pydantic import StringConstraints

from mosu.platform.schemas import Out

Short = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Password = Annotated[str, StringConstraints(min_length=1, max_length=1000)]
Text = Annotated[str, StringConstraints(max_length=2000)]


class UserOut(Out):
    id: str
    email: str
    name: str
