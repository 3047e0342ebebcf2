"""Static files out of memory: named by what is in them, compressed once, kept by browsers for a year.

No step comes before: what the finders find when a process starts is what is served (docs/adr/0016-static-files.md).
"""

import gzip
import hashlib
import mimetypes
import posixpath
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Final

from django.contrib.staticfiles.finders import get_finders
from django.contrib.staticfiles.storage import StaticFilesStorage
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.utils.cache import patch_vary_headers

_PREFIX: Final = "/static/"
_ROOT: Final = Path(__file__).parent / "root"
"""What browsers and robots ask for at the top."""
_FOR_EVER: Final = "public, max-age=31536000, immutable"
_FOR_AN_HOUR: Final = "public, max-age=3600"
_URL: Final = re.compile(rb"""url\((["']?)([^"')#:?]+)\1\)""")
_SQUEEZABLE: Final = frozenset({".css", ".js", ".svg", ".json", ".txt", ".html", ".map", ".mjs"})
_SQUEEZE_BYTES_MIN: Final = 512
mimetypes.add_type("font/woff2", ".woff2")


@dataclass(slots=True)
class StaticFile:
    """One file; its content is read when it is first asked for, or when its name is made of it."""

    name: str
    path: Path
    _whole: bytes | None = field(default=None, repr=False)
    _squeezed: bytes | None = field(default=None, repr=False)

    @property
    def content(self) -> bytes:
        if self._whole is None:
            content = self.path.read_bytes()
            if self.path.suffix == ".css":
                content = _URL.sub(self._renamed, content)
            self._whole = content
        return self._whole

    @property
    def squeezed(self) -> bytes | None:
        """With gzip; None where that gains nothing."""
        if self.path.suffix not in _SQUEEZABLE or len(self.content) < _SQUEEZE_BYTES_MIN:
            return None
        if self._squeezed is None:
            self._squeezed = gzip.compress(self.content, 9, mtime=0)
        return self._squeezed

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.content).hexdigest()[:12]

    @property
    def hashed_name(self) -> str:
        stem, dot, suffix = self.name.rpartition(".")
        return f"{stem}.{self.digest}{dot}{suffix}"

    def _renamed(self, found: re.Match[bytes]) -> bytes:
        """A style sheet's own files by their hashed names, so that it changes when one of them does."""
        name = posixpath.normpath(posixpath.join(posixpath.dirname(self.name), found[2].decode()))
        if name not in files():
            return found[0]
        return b'url("' + _PREFIX.encode() + hashed_name(name).encode() + b'")'


@cache
def files() -> dict[str, StaticFile]:
    """Every static file by its name; where two applications have one, the first one's, as Django does."""
    found: dict[str, StaticFile] = {}
    for name, path in _listed():
        found.setdefault(name, StaticFile(name, path))
    return found


def _listed() -> Iterator[tuple[str, Path]]:
    for finder in get_finders():
        for name, storage in finder.list(None):
            yield name.replace("\\", "/"), Path(storage.path(name))


@cache
def hashed_name(name: str) -> str:
    """The name by which pages ask for a file.

    Raises:
        KeyError: there is no such file: a page that names it is wrong.
    """
    hashed = files()[name].hashed_name
    _BY_HASHED_NAME[hashed] = files()[name]
    return hashed


_BY_HASHED_NAME: dict[str, StaticFile] = {}


class HashedStorage(StaticFilesStorage):
    """`{% static %}` with hashed names."""

    def url(self, name: str | None) -> str:
        return _PREFIX + hashed_name(name or "")


class StaticFiles:
    """Middleware: answers what is static, before anything asks who is there."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response
        self._at_top = {
            f"/{path.name}": StaticFile(path.name, path) for path in _ROOT.iterdir() if path.is_file()
        }

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if request.method not in ("GET", "HEAD"):
            return self._get_response(request)
        path = request.path_info
        if path in self._at_top:
            return _answer(request, self._at_top[path], _FOR_AN_HOUR)
        if path.startswith(_PREFIX):
            name = path.removeprefix(_PREFIX)
            known = _named(name)
            if known is not None:
                return _answer(request, known, _FOR_EVER)
            if name in files():
                return _answer(request, files()[name], _FOR_AN_HOUR)
        return self._get_response(request)


def _named(hashed: str) -> StaticFile | None:
    """The file of a hashed name. Another process may have made the name: it is found again by its digest."""
    if hashed not in _BY_HASHED_NAME:
        stem, _, rest = hashed.rpartition(".")
        plain = f"{stem.rpartition('.')[0]}.{rest}"
        if plain in files():
            hashed_name(plain)
    return _BY_HASHED_NAME.get(hashed)


def _answer(request: HttpRequest, file: StaticFile, caching: str) -> HttpResponse:
    etag = f'"{file.digest}"'
    if request.headers.get("If-None-Match") == etag:
        response = HttpResponse(status=304)
    else:
        squeezed = file.squeezed if _takes_gzip(request) else None
        kind = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
        if kind.startswith("text/"):
            kind += "; charset=utf-8"
        response = HttpResponse(squeezed or file.content, content_type=kind)
        if squeezed:
            response["Content-Encoding"] = "gzip"
        response["Content-Length"] = str(len(response.content))
        if request.method == "HEAD":
            response.content = b""
    response["ETag"] = etag
    response["Cache-Control"] = caching
    if file.path.suffix in _SQUEEZABLE:
        patch_vary_headers(response, ("Accept-Encoding",))
    return response


def _takes_gzip(request: HttpRequest) -> bool:
    return "gzip" in request.headers.get("Accept-Encoding", "")
