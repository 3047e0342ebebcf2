"""What really started, noted outside mosu: a wrapper around bubblewrap writes a line, then becomes bubblewrap."""

import shlex
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from mosu.sandbox.starter import find_bwrap


@dataclass(frozen=True, slots=True)
class Witness:
    """`starter` goes into MOSU_BWRAP; `notes` has a line for each start of a job's sandbox."""

    starter: Path
    notes: Path

    def starts(self) -> Counter[str]:
        """How often each attempt was started."""
        lines = self.notes.read_text().splitlines()
        return Counter(line.split()[0] for line in lines)

    def begin(self) -> None:
        """Count from here: forget what was noted before."""
        self.notes.write_text("")


def install_witness(folder: Path) -> Witness:
    """A witness in `folder`, which the sandbox's user can reach and write to."""
    real = find_bwrap(folder / "tools")
    notes = folder / "starts"
    notes.touch()
    notes.chmod(0o666)  # the sandbox's user writes it
    starter = folder / "witness-bwrap"
    # Without MOSU_JOB it is mosu's own probe. `>>` opens with O_APPEND: lines of two do not mix.
    starter.write_text(
        "#!/bin/sh\n"
        f'[ -z "$MOSU_JOB" ] || echo "$MOSU_JOB $(date +%s.%N)" >> {shlex.quote(str(notes))}\n'
        f'exec {shlex.quote(str(real))} "$@"\n'
    )
    starter.chmod(0o755)
    return Witness(starter, notes)
