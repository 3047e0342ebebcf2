"""The calls of volumes."""

from collections.abc import Sequence
from typing import Literal

from mosu.client.calls import Calls, given, read, segment
from mosu.client.models import Page, Quote
from mosu.client.volume_answers import Quota, Volume


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

    def make_snapshot_quote(
        self,
        volume_id: str,
        label: str,
        *,
        days: int = 30,
        vouchers: Literal["auto", "none"] | Sequence[str] | None = None,
    ) -> Quote:
        """What a snapshot `NAME@label` costs at most; accepting it has it made."""
        body = given(
            label=label,
            days=days,
            vouchers=vouchers if vouchers is None or isinstance(vouchers, str) else list(vouchers),
        )
        path = f"/volumes/{segment(volume_id)}/snapshots/quotes"
        return read(Quote, self._hub.json("POST", path, repeat=False, json=body))

    def restore_volume(self, volume_id: str, snapshot_id: str) -> Volume:
        """Have it hold what the snapshot holds; `last_copy` says how that stands."""
        path, body = f"/volumes/{segment(volume_id)}/restore", {"snapshot_id": snapshot_id}
        return read(Volume, self._hub.json("POST", path, repeat=False, json=body))

    def quotas(self, *, limit: int | None = None, cursor: str | None = None) -> Page[Quota]:
        """How much one's organisations and their projects may hold at one time."""
        return self._page(Quota, "/quotas", limit=limit, cursor=cursor)

    def set_quota(
        self,
        *,
        organisation_id: str,
        project_id: str,
        units_max: int | None,
        accelerator: str = "",
        volumes: bool = False,
    ) -> None:
        """Let a project hold so many cards or cores, or keep so many GB of volumes; None: as many as it likes."""
        body = {
            "organisation_id": organisation_id,
            "project_id": project_id,
            "accelerator": accelerator,
            "volumes": volumes,
            "units_max": units_max,
        }
        self._hub.exchange("PUT", "/quotas", repeat=True, json=body)

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
