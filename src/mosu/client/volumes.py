"""The calls of volumes."""

from collections.abc import Sequence
from typing import Literal

from mosu.client.calls import Calls, given, read, segment
from mosu.client.models import Page, Quote, Volume


class VolumeCalls(Calls):
    """Rooms for files that outlive runs."""

    def make_volume_quote(
        self,
        name: str,
        *,
        gb: int,
        days: int = 30,
        offer_id: str | None = None,
        supplier: str = "",
        pool: str = "",
        vouchers: Literal["auto", "none"] | Sequence[str] | None = None,
        project_id: str | None = None,
    ) -> Quote:
        """What room for a volume costs: of the cheapest offer, or of the one that is named; accepting it takes it."""
        body = given(
            name=name,
            gb=gb,
            days=days,
            offer_id=offer_id,
            supplier=supplier or None,
            pool=pool or None,
            vouchers=vouchers if vouchers is None or isinstance(vouchers, str) else list(vouchers),
            project_id=project_id,
        )
        return read(Quote, self._hub.json("POST", "/volumes/quotes", repeat=False, json=body))

    def make_volume_time_quote(
        self,
        volume_id: str,
        *,
        days: int = 30,
        vouchers: Literal["auto", "none"] | Sequence[str] | None = None,
    ) -> Quote:
        """What more time for a volume costs, from the end of what is paid for; accepting it buys it."""
        body = given(
            days=days,
            vouchers=vouchers if vouchers is None or isinstance(vouchers, str) else list(vouchers),
        )
        path = f"/volumes/{segment(volume_id)}/quotes"
        return read(Quote, self._hub.json("POST", path, repeat=False, json=body))

    def volumes(self, *, limit: int | None = None, cursor: str | None = None) -> Page[Volume]:
        return self._page(Volume, "/volumes", limit=limit, cursor=cursor)

    def volume(self, volume_id: str) -> Volume:
        return self._get(Volume, f"/volumes/{segment(volume_id)}")

    def volume_of_order(self, order_id: str) -> Volume:
        """The volume that an order keeps."""
        return self._page(Volume, "/volumes", limit=1, cursor=None, order_id=order_id).items[0]

    def change_volume(self, volume_id: str, *, renews_days: int) -> Volume:
        path, body = f"/volumes/{segment(volume_id)}", {"renews_days": renews_days}
        return read(Volume, self._hub.json("PATCH", path, repeat=True, json=body))

    def delete_volume(self, volume_id: str) -> Volume:
        """Delete it with all that is in it; what is left of its time is given back."""
        return read(Volume, self._hub.json("DELETE", f"/volumes/{segment(volume_id)}", repeat=True))
