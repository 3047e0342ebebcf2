"""How fast files come from the hub and go back: told to it, for what it expects of the next run; never billed."""

from mosu.wire.agent import COPIED_BYTES_MIN, Copied


class CopyWatch:
    """What one attempt's large files took on one way. Of small ones the bytes count less than that there are some."""

    def __init__(self) -> None:
        self._size_bytes = self._took_ns = 0

    def saw(self, size_bytes: int, took_ns: int) -> None:
        """A file of so many bytes took so long."""
        if size_bytes >= COPIED_BYTES_MIN:
            self._size_bytes += size_bytes
            self._took_ns += took_ns

    @property
    def copied(self) -> Copied | None:
        """All of them; None: there were none."""
        if not self._size_bytes:
            return None
        return Copied(size_bytes=self._size_bytes, took_ms=max(1, self._took_ns // 1_000_000))
