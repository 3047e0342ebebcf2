"""Reading typed values out of YAML nodes; what does not fit is noted with its place, and reading goes on."""

import difflib
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Concatenate, Final, ParamSpec, TypeVar

from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from mosu.kernel.money import MICROS
from mosu.wire.document import Problem, found_in, kind_of, problem_at

T = TypeVar("T")
P = ParamSpec("P")
ENTRIES_MAX: Final = 256
"""Most entries of a list, and most keys of a free map (envs, labels)."""

_TEXT: Final = "tag:yaml.org,2002:str"
_NULL: Final = "tag:yaml.org,2002:null"
_INTEGER = re.compile(r"0|[1-9][0-9]{0,8}")
_SIGNED = re.compile(r"-?(0|[1-9][0-9]{0,8})")
_AMOUNT = re.compile(r"[0-9]{1,12}(\.[0-9]{1,6})?")
_DURATION = re.compile(r"(?:([0-9]{1,4})d)?(?:([0-9]{1,5})h)?(?:([0-9]{1,6})m)?(?:([0-9]{1,8})s)?")


class Reader:
    """Collects problems; each `read` method returns None where it noted one."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def refuse(self, node: Node, field: str, message: str, *, allowed: str, nearest: str = "") -> None:
        self.problems.append(
            problem_at(
                node.start_mark,
                f"{field}: {message}" if field else message,
                field=field,
                found=found_in(node),
                allowed=allowed,
                nearest=nearest,
            )
        )

    def refuse_kind(self, node: Node, field: str, *, allowed: str) -> None:
        found = found_in(node)[:60]
        shown = (
            f"{found!r} is {kind_of(node)}"
            if isinstance(node, ScalarNode) and node.value
            else f"found {found}"
        )
        self.refuse(node, field, f"{shown}; allowed is {allowed}.", allowed=allowed)

    def scalar(self, node: Node, field: str, *, allowed: str) -> str | None:
        """The written text of a scalar that is neither empty nor a collection."""
        if isinstance(node, ScalarNode) and node.tag != _NULL:
            return str(node.value)
        self.refuse_kind(node, field, allowed=allowed)
        return None

    def text(self, node: Node, field: str, *, chars_max: int, empty: bool = False) -> str | None:
        """Text; a number or a truth value must be quoted to be meant as text."""
        if not isinstance(node, ScalarNode) or node.tag != _TEXT:
            self.refuse_kind(node, field, allowed="text (in quotes, if it looks like something else)")
            return None
        return self.checked_text(node, field, chars_max=chars_max, empty=empty)

    def checked_text(self, node: ScalarNode, field: str, *, chars_max: int, empty: bool) -> str | None:
        value = str(node.value)
        if "\0" in value or any("\ud800" <= letter <= "\udfff" for letter in value):
            self.refuse(node, field, "has a NUL or half a character.", allowed="text without NUL")
        elif len(value) > chars_max:
            self.refuse(
                node, field, f"has {len(value)} characters.", allowed=f"at most {chars_max} characters"
            )
        elif not value.strip() and not empty:
            self.refuse(node, field, "is empty.", allowed="text")
        else:
            return value
        return None

    def matched(self, node: Node, field: str, pattern: re.Pattern[str], *, allowed: str) -> str | None:
        """Text that the whole of `pattern` matches."""
        value = self.scalar(node, field, allowed=allowed)
        if value is None:
            return None
        if not pattern.fullmatch(value):
            self.refuse(node, field, f"{value[:60]!r} does not fit; allowed is {allowed}.", allowed=allowed)
            return None
        return value

    def integer(self, node: Node, field: str, *, minimum: int, maximum: int) -> int | None:
        allowed = f"a whole number from {minimum} to {maximum}"
        value = self.scalar(node, field, allowed=allowed)
        if value is None:
            return None
        if not _SIGNED.fullmatch(value) or not minimum <= int(value) <= maximum:
            self.refuse(node, field, f"{value[:60]!r} does not fit; allowed is {allowed}.", allowed=allowed)
            return None
        return int(value)

    def at_least(self, node: Node, field: str, *, maximum: int, unit: str) -> tuple[int, bool] | None:
        """A number such as `8` (exactly) or `"8+"` (at least), as (number, at least)."""
        allowed = f'a whole number of {unit} from 1 to {maximum}, or "N+" for at least N'
        value = self.scalar(node, field, allowed=allowed)
        if value is None:
            return None
        number = value.removesuffix("+")
        if not _INTEGER.fullmatch(number) or not 1 <= int(number) <= maximum:
            self.refuse(node, field, f"{value[:60]!r} does not fit; allowed is {allowed}.", allowed=allowed)
            return None
        return int(number), value.endswith("+")

    def truth(self, node: Node, field: str) -> bool | None:
        if isinstance(node, ScalarNode) and node.value in {"true", "True", "false", "False"}:
            return bool(node.value.lower() == "true")
        self.refuse_kind(node, field, allowed="true or false")
        return None

    def micros(self, node: Node, field: str) -> int | None:
        """A positive amount of money, read from its written digits: no float in between."""
        allowed = "a positive amount with at most six decimals, such as 12.50"
        value = self.scalar(node, field, allowed=allowed)
        if value is None:
            return None
        micros = int(Decimal(value) * MICROS) if _AMOUNT.fullmatch(value) else 0
        if micros <= 0:
            self.refuse(node, field, f"{value[:60]!r} does not fit; allowed is {allowed}.", allowed=allowed)
            return None
        return micros

    def seconds(self, node: Node, field: str, *, maximum: int) -> int | None:
        """A duration: seconds as a number, or days, hours, minutes and seconds such as `1h30m`."""
        allowed = (
            f'seconds, or a duration such as "30m", "2h" or "1h30m", from 1 s to {maximum // 86_400} days'
        )
        value = self.scalar(node, field, allowed=allowed)
        if value is None:
            return None
        total = seconds_of(value)
        if total is None or not 1 <= total <= maximum:
            self.refuse(node, field, f"{value[:60]!r} does not fit; allowed is {allowed}.", allowed=allowed)
            return None
        return total

    def instant(self, node: Node, field: str) -> datetime | None:
        allowed = "a time with its zone, such as 2026-12-01T18:00:00+08:00"
        value = self.scalar(node, field, allowed=allowed)
        if value is None:
            return None
        try:
            at = datetime.fromisoformat(value)
            if at.tzinfo is not None:
                return at.astimezone(UTC)
        except (ValueError, OverflowError):
            pass
        self.refuse(node, field, f"{value[:60]!r} does not fit; allowed is {allowed}.", allowed=allowed)
        return None

    def moment(self, node: Node, field: str, *, later_s_max: int) -> datetime | timedelta | None:
        """An instant, or `+2h`: so long after now, whenever that is."""
        allowed = 'a time with its zone, such as 2026-12-01T18:00:00+08:00, or how much later, such as "+2h"'
        value = self.scalar(node, field, allowed=allowed)
        if value is None:
            return None
        if not value.startswith("+"):
            return self.instant(node, field)
        later_s = seconds_of(value[1:])
        if later_s is None or not 1 <= later_s <= later_s_max:
            self.refuse(node, field, f"{value[:60]!r} does not fit; allowed is {allowed}.", allowed=allowed)
            return None
        return timedelta(seconds=later_s)

    def items(
        self, node: Node, field: str, read: Callable[[Node, str], T | None], *, of: str
    ) -> tuple[T, ...] | None:
        """A list, each item read by `read`."""
        if not isinstance(node, SequenceNode):
            self.refuse_kind(node, field, allowed=f"a list of {of}")
            return None
        if len(node.value) > ENTRIES_MAX:
            self.refuse(node, field, f"has {len(node.value)} entries.", allowed=f"at most {ENTRIES_MAX}")
            return None
        values = [read(item, f"{field}[{index}]") for index, item in enumerate(node.value)]
        return tuple(value for value in values if value is not None)

    def pairs(self, node: Node, field: str, *, allowed: str) -> list[tuple[ScalarNode, Node]]:
        """The keys and values of a map, without those keys that are no text or come twice."""
        if not isinstance(node, MappingNode):
            self.refuse_kind(node, field, allowed=allowed)
            return []
        if len(node.value) > ENTRIES_MAX:
            self.refuse(node, field, f"has {len(node.value)} keys.", allowed=f"at most {ENTRIES_MAX}")
            return []
        seen: dict[str, Node] = {}
        kept = []
        for key, value in node.value:
            if not isinstance(key, ScalarNode):
                self.refuse(key, field, f"a key is {kind_of(key)}.", allowed="text as a key")
            elif key.value in seen:
                first = seen[key.value].start_mark
                self.refuse(
                    key,
                    _below(field, key.value),
                    f"the key comes twice; it is already on line {first.line + 1}.",
                    allowed="each key once",
                )
            else:
                seen[key.value] = key
                kept.append((key, value))
        return kept

    def fields(
        self,
        node: Node,
        field: str,
        *,
        known: tuple[str, ...],
        unsupported: Mapping[str, str],
        elsewhere: Mapping[str, str],
    ) -> "Fields":
        """The values of a map with fixed keys; a key without a value counts as left out.

        `unsupported` says of keys that SkyPilot knows what to do instead, `elsewhere` where a key belongs
        that stands one level off.
        """
        values: dict[str, Node] = {}
        for key, value in self.pairs(node, field, allowed="a map"):
            name = str(key.value)
            if name not in known:
                self._refuse_key(key, field, known=known, unsupported=unsupported, elsewhere=elsewhere)
            elif value.tag != _NULL:
                values[name] = value
        return Fields(field, values)

    def _refuse_key(
        self,
        key: ScalarNode,
        field: str,
        *,
        known: tuple[str, ...],
        unsupported: Mapping[str, str],
        elsewhere: Mapping[str, str],
    ) -> None:
        name = str(key.value)
        allowed = ", ".join(known)
        if name in unsupported:
            message = f"is known to SkyPilot, not supported by mosu yet: {unsupported[name]}"
            self.refuse(key, _below(field, name), message, allowed=allowed)
        elif name == "<<":
            self.refuse(
                key, _below(field, name), "merge keys are not taken; write the keys out.", allowed=allowed
            )
        elif name in elsewhere:
            nearest = elsewhere[name]
            message = f"does not belong here; write it as {nearest}."
            self.refuse(key, _below(field, name), message, allowed=allowed, nearest=nearest)
        else:
            close = difflib.get_close_matches(name[:60].lower(), known, n=1, cutoff=0.5)
            tail = f"did you mean {close[0]!r}?" if close else f"allowed are {allowed}."
            self.refuse(
                key,
                _below(field, name),
                f"unknown key; {tail}",
                allowed=allowed,
                nearest=close[0] if close else "",
            )


class Fields:
    """The values of one map, by key."""

    def __init__(self, field: str, nodes: Mapping[str, Node]) -> None:
        self._field = field
        self._nodes = nodes

    def read(
        self, key: str, how: Callable[Concatenate[Node, str, P], T | None], *args: P.args, **limits: P.kwargs
    ) -> T | None:
        """What `how` reads under `key`; None if the key is left out or was refused."""
        node = self._nodes.get(key)
        return None if node is None else how(node, _below(self._field, key), *args, **limits)

    def __contains__(self, key: str) -> bool:
        return key in self._nodes


def seconds_of(text: str) -> int | None:
    """Seconds of `"5400"`, `"90m"`, `"1h30m"`; None if it is no duration."""
    if _INTEGER.fullmatch(text):
        return int(text)
    match = _DURATION.fullmatch(text.replace(" ", ""))
    if match is None or not text.strip():
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


def _below(field: str, key: str) -> str:
    return f"{field}.{key[:60]}" if field else key[:60]
