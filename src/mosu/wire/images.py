"""Images of containers (OCI), by digest: what was looked at is what runs, whatever a tag comes to mean.

An image is `REGISTRY/REPOSITORY@sha256:DIGEST`, in full. As an attempt's environment it is written `docker:IMAGE`, as
SkyPilot's `image_id` is; no prebuilt environment's name has a colon.
"""

import re
from collections.abc import Iterable
from typing import Final

SIGN: Final = "docker:"
IMAGE_CHARS_MAX: Final = 500
_PART: Final = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_HOST: Final = r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,253}[A-Za-z0-9])?(?::[0-9]{1,5})?"
_DIGEST: Final = r"sha256:[0-9a-f]{64}"
_REFERENCE: Final = re.compile(
    rf"(?P<name>(?:{_HOST}/)?{_PART}(?:/{_PART})*)(?P<tag>:[\w][\w.-]{{0,127}})?(?:@(?P<digest>{_DIGEST}))?"
)
IMAGE: Final = re.compile(rf"{_HOST}(?:/{_PART})+@{_DIGEST}")
PREFIX: Final = rf"^{_HOST}(/{_PART})*/?$"
"""Of an allow list: a registry, or a part of one."""
_HUB: Final = "docker.io"


class Unpinned(Exception):
    """The image is named by a tag alone; `name` is what it is called."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


def image_in(text: str) -> str | None:
    """The image that `docker:...` names, in full; None where the text names none.

    Raises:
        Unpinned: it has no digest.
    """
    found = _REFERENCE.fullmatch(text.removeprefix(SIGN))
    if not text.startswith(SIGN) or len(text) > IMAGE_CHARS_MAX or found is None:
        return None
    name = found["name"]
    if not found["digest"]:
        raise Unpinned(name + (found["tag"] or ""))
    first, slash, _ = name.partition("/")
    if not (slash and ("." in first or ":" in first or first == "localhost")):  # as Docker reads it
        name = f"{_HUB}/{name}" if slash else f"{_HUB}/library/{name}"
    return f"{name}@{found['digest']}"


def image_of(environment: str) -> str:
    """The image that an attempt's environment is; empty where it is a prebuilt one."""
    image = environment.removeprefix(SIGN)
    return image if environment.startswith(SIGN) and IMAGE.fullmatch(image) else ""


def is_allowed(image: str, prefixes: Iterable[str]) -> bool:
    """Whether the image lies in one of these registries, or parts of them: by whole parts of a name."""
    name = image.partition("@")[0]
    return any(f"{name}/".startswith(f"{prefix.rstrip('/')}/") for prefix in prefixes)
