"""How an attempt ended, by what its payload and Slurm's accounts say. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from mosu.site_agent.engines.slurm.commands import Account
from mosu.site_agent.job_files import StateFile
from mosu.wire.agent import AttemptPhase, Meter

_OWN_WORDS: Final = frozenset({"succeeded", "failed", "cancelled", "timed_out"})
_OVER_TIME: Final = frozenset({"TIMEOUT", "DEADLINE"})
_SUPPLIERS: Final = {
    "NODE_FAIL": "Its node failed.",
    "BOOT_FAIL": "Its node did not boot.",
    "PREEMPTED": "The cluster took its nodes back.",
    "REVOKED": "Another cluster has it.",
    "CANCELLED": "It was cancelled at the cluster.",
}
"""Slurm's words for what no buyer caused."""


@dataclass(frozen=True, slots=True)
class End:
    phase: AttemptPhase
    exit_code: int | None
    reason: str


def end_of(state: StateFile | None, account: Account | None, *, cancelled: bool, said: str) -> End:
    """The end of an attempt that Slurm runs no more.

    What the payload saw to its end counts; where it was itself ended from outside, Slurm's word does. `account` is
    None where Slurm has lost the job; `said` is what the batch script printed last.
    """
    slurm = "" if account is None else account.state
    if state is not None and state["phase"] in _OWN_WORDS and not _was_killed(state):
        return End(AttemptPhase(state["phase"]), state["exit_code"], state["reason"])
    phase, reason = _by_slurm(slurm, cancelled=cancelled)
    if not reason and account is not None:
        what = "could not start" if state is None else "ended without its last word"
        reason = f"It {what} on its node (Slurm: {slurm}, {account.exit_code}). {said}".strip()
    return End(phase, None if state is None else state["exit_code"], reason or "The cluster lost it.")


def _by_slurm(slurm: str, *, cancelled: bool) -> tuple[AttemptPhase, str]:
    """The phase, and why if Slurm's word says it."""
    if slurm in _OVER_TIME:
        return AttemptPhase.TIMED_OUT, "Stopped at the cluster's time limit."
    if slurm == "OUT_OF_MEMORY":
        return AttemptPhase.FAILED, "memory: killed by the cluster at its limit."
    if cancelled:
        return AttemptPhase.CANCELLED, "Cancelled."
    return AttemptPhase.LOST, _SUPPLIERS.get(slurm, "")


def _was_killed(state: StateFile) -> bool:
    """Whether its sandbox was ended by neither the task nor its supervisor."""
    return state["phase"] == "failed" and state["started_at"] is not None and state["exit_code"] is None


def units_of(tres: Mapping[str, int], *, asked: Mapping[Meter, int], gres: str) -> dict[Meter, int]:
    """What Slurm allocated by its own account; where it does not count cards, those that were asked for."""
    units: dict[Meter, int] = {"core_second": tres.get("cpu", asked["core_second"])}
    if "card_second" in asked:
        counted = tres.get(f"gres/{gres}", tres.get(f"gres/{gres.partition(':')[0]}"))
        units["card_second"] = asked["card_second"] if counted is None else counted
    return units
