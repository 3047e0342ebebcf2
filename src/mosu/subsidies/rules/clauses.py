"""Eligibility clauses: each passes or fails by name, and a missing fact answers "needs X"."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cel


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


@lru_cache(maxsize=512)
def _compiled(when: str) -> Any:
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
