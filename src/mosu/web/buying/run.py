"""A run on its order's page: what happened when, and its curves."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from django.utils.translation import gettext as _

from mosu.compute.accelerators import catalogue
from mosu.compute.models import Attempt, Run
from mosu.compute.queries import CurvePoint, curve_of, last_attempt_of, shares_of
from mosu.compute.states import is_ended
from mosu.market.models import Order
from mosu.web.components import Curve, Moment, Point

POINTS_MAX: Final = 240
"""Of a curve as it is drawn: a day has six times as many."""
MIB: Final = 1 << 20
GIB: Final = 1 << 30


def moments_of(order: Order, run: Run, *, now: datetime) -> list[Moment]:
    """What happened to the run, and what is to come."""
    attempt = last_attempt_of(run)
    ended, started = is_ended(run.state), run.started_at
    found = [Moment(_("Ordered"), order.placed_at, note=_("capacity and money are held"))]
    if attempt is not None and attempt.leased_at:
        found.append(Moment(_("Given to the supplier"), attempt.leased_at))
    if started is None and not ended:
        found.append(Moment(_("Starts"), max(order.quote.starts_at, now), "wait"))
    if started is not None:
        found.append(Moment(_("Started"), started, "ok" if ended else "live", note=_place_of(attempt)))
    if run.cancel_asked_at and not ended:
        found.append(Moment(_("Told to stop"), run.cancel_asked_at, "wait"))
    if run.ended_at is not None:
        well = run.state == "succeeded"
        found.append(Moment(_ending(run), run.ended_at, "ok" if well else "refused", note=_exit(run)))
    elif started is not None:
        by = started + timedelta(
            seconds=order.quote.wall_limit_s + (attempt.extended_s if attempt is not None else 0)
        )
        found.append(Moment(_("Stopped at the latest"), by, "later"))
    if order.settled_at:
        found.append(Moment(_("Charged, the rest released"), order.settled_at))
    elif not ended:
        found.append(Moment(_("Charged, the rest released"), None, "later"))
    return found


def _place_of(attempt: Attempt | None) -> str:
    names = [share.node.name for share in shares_of(attempt)] if attempt is not None else []
    return _("on %(node)s") % {"node": ", ".join(names)} if names else ""


def _ending(run: Run) -> str:
    return {
        "succeeded": _("Ended well"),
        "failed": _("Failed"),
        "cancelled": _("Cancelled"),
        "timed_out": _("Stopped at its limit"),
    }.get(run.state, run.state)


def _exit(run: Run) -> str:
    return _("exit code %(code)s") % {"code": run.exit_code} if run.exit_code is not None else ""


def curves_of(run: Run) -> list[Curve]:
    """Cards, CPU and memory of the run's last attempt; empty where its engine takes no samples."""
    points = curve_of(run)
    attempt = last_attempt_of(run)
    if not points or attempt is None or attempt.started_at is None:
        return []
    step = -(-len(points) // POINTS_MAX)
    kept = points[::step] if (len(points) - 1) % step == 0 else [*points[::step], points[-1]]
    began = attempt.started_at
    at = [began + timedelta(seconds=point.seconds) for point in kept]
    cores = [Point(moment, round(point.cores, 3)) for moment, point in zip(at, kept, strict=True)]
    unit, size = ("GiB", GIB) if max(point.memory_bytes for point in kept) >= GIB else ("MiB", MIB)
    memory = [
        Point(moment, round(point.memory_bytes / size, 3)) for moment, point in zip(at, kept, strict=True)
    ]
    return [
        *_curves_of_cards(kept, at, memory=_memory_of_cards(run)),
        Curve(_("CPU cores"), "", cores, limit=float(run.request["cores"])),
        Curve(_("Memory"), unit, memory, limit=run.request["memory_bytes"] / size),
    ]


def _memory_of_cards(run: Run) -> float | None:
    """What the cards of one node have together, in GiB; None where the card's figure is not known."""
    card = catalogue().accelerators.get(run.request["accelerator"] or "")
    known = card.memory_gb if card else None
    return None if known is None else known.value * run.request["cards"] * 1e9 / GIB


def _curves_of_cards(
    points: Sequence[CurvePoint], at: Sequence[datetime], *, memory: float | None
) -> list[Curve]:
    """How busy the cards are and how much of their memory is in use; none where the engine cannot say."""
    utils = [
        Point(moment, round(point.accelerator_util * 100, 1))
        for moment, point in zip(at, points, strict=True)
        if point.accelerator_util is not None
    ]
    memories = [
        Point(moment, round(point.accelerator_memory_bytes / GIB, 2))
        for moment, point in zip(at, points, strict=True)
        if point.accelerator_memory_bytes is not None
    ]
    found = [Curve(_("Accelerators busy"), "%", utils, limit=100.0)] if utils else []
    return [*found, *([Curve(_("Accelerators' memory"), "GiB", memories, limit=memory)] if memories else [])]
