"""What an attempt's pods printed, copied to a file: pods go, and their logs with them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final, TypedDict

from mosu.site_agent.engines.kubernetes.api import Gone, KubernetesApi, KubernetesAway, Refused
from mosu.site_agent.files import read_json_if_whole, write_durably
from mosu.site_agent.jobs import size_of
from mosu.site_agent.logs import LogCleaner

_AT_ONCE_BYTES: Final = 1 << 20
_NO_LIMIT: Final = 1 << 62


class _Cursor(TypedDict):
    size: int
    """Of the log, when the marks were true: what is after it was written by one who died over it."""
    marks: dict[str, tuple[str, int]]
    """By rank: the instant of the last line that was taken, and how many lines of that instant were."""


def copy_log(api: KubernetesApi, folder: Path, pods: Sequence[tuple[int, str]], *, bytes_max: int) -> bool:
    """Append what is new of each pod (its rank and its path); whether there may be more at once.

    Kubernetes gives a log from a second on, not from a byte: of that second, what is known is passed over. Lines
    of other ranks than the first begin with theirs.
    """
    cursor: _Cursor = read_json_if_whole(folder / "cursor.json") or _Cursor(size=0, marks={})
    log = folder / "log"
    if size_of(log) >= bytes_max:
        return False
    more, came = False, b""
    for rank, path in pods:
        mark = cursor["marks"].get(str(rank)) or ("", 0)
        lines, mark, cut = _new_lines(api, path, mark)
        cursor["marks"][str(rank)] = mark
        prefix = b"(rank %d) " % rank if rank else b""
        came += b"".join(prefix + line + b"\n" for line in lines)
        more = more or cut
    if not came:
        return False
    cleaned = LogCleaner(bytes_max=_NO_LIMIT).feed(came, last=True)
    with log.open("ab") as file:
        file.truncate(cursor["size"])
        file.seek(cursor["size"])
        room = bytes_max - cursor["size"]
        if len(cleaned) > room:
            head = cleaned[:room].decode(errors="ignore").encode()
            cleaned = head + f"\n[mosu: the log reached {bytes_max} bytes; the rest is not kept]\n".encode()
            more = False
        file.write(cleaned)
    cursor["size"] += len(cleaned)
    write_durably(folder / "cursor.json", cursor, to_disk=False)
    return more


def _new_lines(
    api: KubernetesApi, path: str, mark: tuple[str, int]
) -> tuple[list[bytes], tuple[str, int], bool]:
    """Lines after the mark, the mark then, and whether we stopped before the end."""
    taken, size, (last, count) = list[bytes](), 0, mark
    of_instant = 0
    try:
        with api.log_lines(path, since=_second_of(last)) as lines:
            for line in lines:
                at, _, text = line.partition(b" ")
                instant = _comparable(at.decode(errors="replace"))
                if instant < last:
                    continue
                if instant == last:
                    of_instant += 1
                    if of_instant <= count:
                        continue
                else:
                    last, of_instant = instant, 1
                count = of_instant
                taken.append(text)
                size += len(text)
                if size >= _AT_ONCE_BYTES:
                    return taken, (last, count), True
    except (KubernetesAway, Refused, Gone):  # no container yet, or no pod any more; what came is good
        pass
    return taken, (last, count), False


def _comparable(at: str) -> str:
    """An instant with nine digits after its point, so that texts are in the order of time."""
    whole, _, rest = at.rstrip("Z").partition(".")
    return f"{whole}.{rest:0<9}Z"


def _second_of(instant: str) -> str:
    return f"{instant[:19]}Z" if instant else ""
