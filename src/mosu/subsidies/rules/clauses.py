"""Eligibility clauses: each passes or fails by name, and a missing fact answers "needs X"."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final


@dataclass(frozen=True, slots=True)
class Clause:
    """A condition in CEL on `organisation`: its facts by name, its `kind` and its `capabilities`."""

    id: str
    when: str
    reason_zh: str
    reason_en: str


@dataclass(frozen=True, slots=True)
class ClauseResult:
    """`needs` names the fact that is not known; `passed` is false then."""

    clause: Clause
    passed: bool
    needs: str = ""

    @property
    def message(self) -> str:
        return (
            f"{self.clause.id}: needs {self.needs}"
            if self.needs
            else f"{self.clause.id}: {self.clause.reason_en}"
        )


WHEN_CHARACTERS_MAX: Final = 1000
_NAMED: Final = re.compile(r"\borganisation\s*\.\s*([a-z][a-z0-9_]*)")
_LOOP: Final = re.compile(r"\.\s*(?:all|exists|exists_one|map|filter)\s*\(")


@lru_cache(maxsize=512)
def _compiled(when: str) -> Any:
    """The condition, made to end soon: seven loops in each other over ten items take seconds, and nothing stops them.

    Raises:
        ValueError: it cannot be read, is too long, or loops more than once.
    """
    if len(when) > WHEN_CHARACTERS_MAX:
        raise ValueError(f"{len(when)} characters are more than {WHEN_CHARACTERS_MAX}")
    if len(_LOOP.findall(when)) > 1:
        raise ValueError("more than one of all, exists, exists_one, map and filter; write two clauses")
    import cel  # noqa: PLC0415 - it brings a terminal's libraries: half a second of a hub's start

    return cel.compile(when)


def fault_of(when: str) -> str:
    """Why this condition can never be evaluated; empty if it can."""
    try:
        _compiled(when).execute({"organisation": {}})
    except KeyError:
        return ""
    except (ValueError, TypeError, RuntimeError, ArithmeticError) as refusal:
        return str(refusal).splitlines()[0][:200]
    return ""


def names_in(when: str) -> set[str]:
    """The facts that a condition asks for, without what mosu itself knows of every organisation."""
    return set(_NAMED.findall(when)) - {"kind", "capabilities"}


def results_of(clauses: Sequence[Clause], organisation: Mapping[str, Any]) -> list[ClauseResult]:
    """Each clause on what is known of the organisation."""
    return [_result_of(clause, organisation) for clause in clauses]


def _result_of(clause: Clause, organisation: Mapping[str, Any]) -> ClauseResult:
    try:
        value = _compiled(clause.when).execute({"organisation": dict(organisation)})
    except KeyError as missing:
        return ClauseResult(clause, passed=False, needs=str(missing.args[0]))
    except (ValueError, TypeError, RuntimeError, ArithmeticError):
        # A fact of another type than the clause compares with: it was recorded wrongly.
        return ClauseResult(clause, passed=False, needs=f"facts of the types that {clause.when!r} compares")
    return ClauseResult(clause, passed=value is True)
