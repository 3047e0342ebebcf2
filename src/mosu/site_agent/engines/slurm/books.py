"""What Slurm knows of all attempts, asked once for all of them, however many look."""

import threading
import time
from typing import Final

from mosu.site_agent.engines.slurm import commands
from mosu.site_agent.engines.slurm.commands import Account, QueuedJob, SlurmAway

_AFTER_AWAY_S: Final = 2.0


class Books:
    """The newest answers of slurmctld and slurmdbd. One that does not answer leaves what was known before."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._jobs: dict[str, list[QueuedJob]] = {}
        self._last: dict[str, QueuedJob] = {}
        self._accounts: dict[int, Account] = {}
        self._wanted: set[int] = set()
        self._queue_at = self._accounts_at = float("-inf")
        self._queue_answers = self._accounts_answer = False

    @property
    def answer(self) -> bool:
        """Whether both did when they were last asked."""
        return self._queue_answers and self._accounts_answer

    def job_of(self, name: str, *, claimed: int | None, within_s: float) -> QueuedJob | None:
        """The attempt's job in the queue, not older than `within_s` if slurmctld answers.

        Of several of one name the one that has the attempt, else, while none has, one that has not ended.
        """
        with self._guard:
            if time.monotonic() > self._queue_at + within_s:
                self._ask_queue()
            jobs = self._jobs.get(name, [])
            if claimed is not None:
                return next((job for job in jobs if job.job_id == claimed), None)
            return min(jobs, key=lambda job: (not (job.waits or job.runs), job.job_id), default=None)

    def last_known(self, name: str) -> QueuedJob | None:
        """The attempt's job as it was when it was last seen running."""
        return self._last.get(name)

    def forget(self, name: str) -> None:
        """Nobody asks for it any more."""
        with self._guard:
            self._last.pop(name, None)

    def account_of(self, job_id: int) -> Account | None:
        """What slurmdbd has of a job that left the queue; None: nothing, or it does not answer."""
        with self._guard:
            known = self._accounts.get(job_id)
            if known is not None and known.is_final:
                return self._accounts.pop(job_id)
            self._wanted.add(job_id)
            if time.monotonic() > self._accounts_at + 0.2:
                self._ask_accounts()
            found = self._accounts.get(job_id)
            return self._accounts.pop(job_id) if found is not None and found.is_final else found

    def _ask_queue(self) -> None:
        try:
            jobs = commands.queue()
        except SlurmAway:
            self._queue_answers = False
            self._queue_at = time.monotonic() + _AFTER_AWAY_S
            return
        self._queue_answers = True
        self._jobs = {}
        for job in jobs:
            self._jobs.setdefault(job.name, []).append(job)
        self._last |= {job.name: job for job in jobs if job.runs}
        self._queue_at = time.monotonic()

    def _ask_accounts(self) -> None:
        wanted = sorted(self._wanted)
        try:
            found = commands.accounts(wanted)
        except SlurmAway:
            self._accounts_answer = False
            self._accounts_at = time.monotonic() + _AFTER_AWAY_S
            return
        self._accounts_answer = True
        self._accounts |= found
        self._wanted -= {job_id for job_id, account in found.items() if account.is_final}
        self._accounts_at = time.monotonic()
