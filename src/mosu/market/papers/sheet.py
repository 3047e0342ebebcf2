"""What papers are drawn on: pages with a foot, lines with leaders, tables; in one font that speaks both languages."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any, Final

from reportlab import rl_config
from reportlab.lib.colors import HexColor
from reportlab.pdfbase.pdfmetrics import registerFont
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.pdfgen.canvas import Canvas

from mosu.kernel.languages import Language
from mosu.market.papers.words import say

A4: Final = (595.28, 841.89)
A5: Final = (419.53, 595.28)
"""Points, 72 to the inch."""
BODY: Final = 9.0
SMALL: Final = 7.0
INK: Final = HexColor("#1c1b18")
MUTED: Final = HexColor("#5f5a50")
RAIL: Final = HexColor("#b9b2a3")
PUBLIC: Final = HexColor("#1f4e8c")
"""Public money, as on the pages."""
_FACE: Final = "NotoSansSC-mosu"
_UNKNOWN: Final = "〓"
"""What stands for a character that the font does not have."""
_LEADING: Final = 1.5
_FOOT: Final = 34.0
_PAGES: Final = "pages"
"""The form that says how many pages there are, filled in when that is known."""


@cache
def _font() -> Any:
    """Read once in a process, when the first paper is asked for."""
    rl_config.useA85 = 0  # streams as they are: a quarter smaller
    font = TTFont(_FACE, str(Path(__file__).parent / f"{_FACE}.ttf"))
    registerFont(font)
    return font


def clean(text: str) -> str:
    """In one line, with a mark for each character that the font lacks."""
    known = _font().face.charToGlyph
    return "".join(letter if ord(letter) in known else _UNKNOWN for letter in " ".join(text.split()))


@dataclass(frozen=True, slots=True)
class Column:
    """One of a table: its width in points; `right` for figures."""

    title: str
    width: float
    right: bool = False


class Sheet:
    """A paper under the pen. Pages are turned by themselves; what is drawn is kept compressed, page by page."""

    def __init__(
        self,
        *,
        title: str,
        foot: str,
        author: str,
        language: Language,
        size: tuple[float, float] = A4,
        margin: float = 48,
    ) -> None:
        _font()
        self._bytes = BytesIO()
        self._canvas = Canvas(
            self._bytes,
            pagesize=size,
            pageCompression=1,
            invariant=1,
            initialFontName=_FACE,
            lang="zh-CN" if language == "zh" else "en",
        )
        self._canvas.setTitle(clean(title))
        self._canvas.setAuthor(clean(author))
        self._canvas.setCreator("mosu")
        self._language, self._foot, self._margin = language, clean(foot), margin
        self._width, self._height = size
        self._y, self._page = self._height - margin, 1
        self._head: Sequence[Column] = ()
        self._inked: tuple[float, Any] | None = None

    @property
    def width(self) -> float:
        """Between the margins."""
        return self._width - 2 * self._margin

    def text(self, text: str, *, size: float = BODY, colour: Any = INK) -> None:
        """A paragraph; broken where it has to be, Chinese between any two characters."""
        for line in self._broken(clean(text), size):
            self._advance(size)
            self._draw(self._margin, line, size, colour)

    def heading(self, text: str) -> None:
        self.space(8)
        self._keep(BODY * _LEADING * 3)
        self.text(text, size=11)
        self.space(2)

    def space(self, points: float) -> None:
        self._y -= points

    def rule(self) -> None:
        """A thin line across."""
        self.space(4)
        self._line(RAIL)
        self.space(1)

    def leader(self, name: str, amount: str, *, colour: Any = INK, size: float = BODY) -> None:
        """`name ........ amount`; a long name is broken, the amount stands at its last line."""
        figure = clean(amount)
        room = self.width - self._long(figure, size) - 16
        *before, last = self._broken(clean(name), size, room)
        for line in before:
            self._advance(size)
            self._draw(self._margin, line, size, colour)
        self._advance(size)
        self._draw(self._margin, last, size, colour)
        self._dots(
            self._margin + self._long(last, size) + 4,
            self._width - self._margin - self._long(figure, size) - 4,
        )
        self._draw_right(self._width - self._margin, figure, size, colour)

    def bar(self, parts: Iterable[tuple[int, Any]]) -> None:
        """The split bar: who pays what, in proportion."""
        shown = [(amount, colour) for amount, colour in parts if amount > 0]
        total = sum(amount for amount, _ in shown)
        self.space(6)
        self._keep(12)
        self._y -= 8
        x = self._margin
        for amount, colour in shown:
            wide = self.width * amount / total
            self._canvas.setFillColor(colour)
            self._canvas.rect(x, self._y, wide, 8, stroke=0, fill=1)
            x += wide
        self._inked = None
        self.space(4)

    def table(self, columns: Sequence[Column], rows: Iterable[Sequence[str]]) -> int:
        """The rows, one line each, cut where they are too long; the heads stand on every page. How many there were."""
        self._head = columns
        self._keep(BODY * _LEADING * 3)
        self._heads()
        count = 0
        for row in rows:
            count += 1
            self._advance(SMALL)
            self._cells(row, INK)
        self._head = ()
        return count

    def done(self) -> bytes:
        """The paper's bytes. Every page says how many there are."""
        self._turn()
        self._canvas.beginForm(_PAGES, 0, -4, 40, 20)
        self._canvas.setFont(_FACE, SMALL)
        self._canvas.setFillColor(MUTED)
        self._canvas.drawString(0, 0, say("pages", self._language).format(self._page - 1))
        self._canvas.endForm()
        self._canvas.save()
        return self._bytes.getvalue()

    # The pen

    def _advance(self, size: float) -> None:
        self._keep(size * _LEADING)
        self._y -= size * _LEADING

    def _keep(self, points: float) -> None:
        """On one page, what follows within so many points."""
        if self._y - points < _FOOT + 12:
            self._turn()
            self._y = self._height - self._margin
            if self._head:
                self._heads()

    def _turn(self) -> None:
        self._draw(self._margin, self._foot, SMALL - 1, MUTED, y=_FOOT - 10)
        number = say("page", self._language).format(self._page)
        right = self._width - self._margin - 22
        self._draw_right(right, number, SMALL, MUTED, y=_FOOT)
        self._canvas.saveState()
        self._canvas.translate(right + 1, _FOOT)
        self._canvas.doForm(_PAGES)
        self._canvas.restoreState()
        self._canvas.showPage()
        self._inked = None
        self._page += 1

    def _heads(self) -> None:
        self._y -= SMALL * _LEADING
        self._cells([column.title for column in self._head], MUTED)
        self.space(3)
        self._line(INK)
        self.space(1)

    def _cells(self, row: Sequence[str], colour: Any) -> None:
        x = self._margin
        for column, value in zip(self._head, row, strict=True):
            text = self._cut(clean(value), column.width - 6)
            if column.right:
                self._draw_right(x + column.width, text, SMALL, colour)
            else:
                self._draw(x, text, SMALL, colour)
            x += column.width

    def _line(self, colour: Any) -> None:
        self._canvas.setStrokeColor(colour)
        self._canvas.setLineWidth(0.5)
        self._canvas.line(self._margin, self._y, self._width - self._margin, self._y)

    def _dots(self, start: float, end: float) -> None:
        if end > start:
            self._canvas.saveState()
            self._canvas.setStrokeColor(RAIL)
            self._canvas.setDash(0.6, 2.4)
            self._canvas.setLineWidth(0.6)
            self._canvas.line(start, self._y + 1, end, self._y + 1)
            self._canvas.restoreState()

    def _draw(self, x: float, text: str, size: float, colour: Any, *, y: float | None = None) -> None:
        if self._inked != (size, colour):  # said once for all that follows alike
            self._canvas.setFont(_FACE, size)
            self._canvas.setFillColor(colour)
            self._inked = (size, colour)
        self._canvas.drawString(x, self._y if y is None else y, text)

    def _draw_right(self, x: float, text: str, size: float, colour: Any, *, y: float | None = None) -> None:
        self._draw(x - self._long(text, size), text, size, colour, y=y)

    def _long(self, text: str, size: float) -> float:
        face = _font().face
        widths, default = face.charWidths, face.defaultWidth
        return float(sum(widths.get(ord(letter), default) for letter in text) * size / 1000)

    def _cut(self, text: str, width: float) -> str:
        if self._long(text, SMALL) <= width:
            return text
        while text and self._long(text + "…", SMALL) > width:
            text = text[:-1]
        return text + "…"

    def _broken(self, text: str, size: float, width: float | None = None) -> list[str]:
        """Lines within the width: at a space where there is one, else anywhere."""
        room, lines = width or self.width, []
        while self._long(text, size) > room:
            end = len(text)
            while end > 1 and self._long(text[:end], size) > room:
                end -= 1
            space = text.rfind(" ", 1, end + 1)
            cut = space if space > end // 2 else end
            lines.append(text[:cut].rstrip())
            text = text[cut:].lstrip()
        return [*lines, text]
