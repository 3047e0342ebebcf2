"""Whatever is recorded has a word in both languages: of its action, and of what it changed."""

import ast
import re
from enum import Enum
from pathlib import Path

import pytest
from django.utils.translation import override

from mosu.compute import states
from mosu.ledger.models import DepositState, PayoutState
from mosu.market.models import CreditNoteState, ImportState, OrderState
from mosu.market.services.imports import apply, undo
from mosu.platform.models import AdmissionState, FindingState
from mosu.subsidies.rules import moves
from mosu.web.deeds import deed_name

SOURCE = Path(__file__).parents[2] / "src" / "mosu"
RECORDING = {"record_audit", "Audit", "_audit", "_move"}
BY_STATE: dict[str, dict[str, type[Enum]]] = {
    "f'admission.{admission.state}'": {"admission": AdmissionState},
    "f'credit_note.{note.state}'": {"credit_note": CreditNoteState},
    "f'deposit.{deposit.state}'": {"deposit": DepositState},
    "f'finding.{finding.state}'": {"finding": FindingState},
    "f'import.{to.value}'": {"import": ImportState},
    "f'node.{node.fitness}'": {"node": states.Fitness},
    "f'order.{to.value}'": {"order": OrderState},
    "f'payout.{payout.state}'": {"payout": PayoutState},
    "f'{row.prefix}.{to.value}'": {
        "pool": states.PoolState,
        "node": states.NodeState,
        "blackout": states.BlackoutState,
        "block": states.BlockState,
        "run": states.RunState,
        "attempt": states.AttemptState,
    },
    "f'{row.prefix}.{row.state}'": {
        "application": moves.ApplicationState,
        "claim": moves.ClaimState,
        "programmeversion": moves.VersionState,
        "redemption": moves.RedemptionState,
        "voucher": moves.VoucherState,
    },
}
"""Actions that name the state to which something came."""
MADE = {f"{prefix}.made" for prefix in BY_STATE["f'{row.prefix}.{to.value}'"]}
BY_NAME = {
    "VERIFIED": {"ledger.verified"},
    "RECOMPUTED": {"charges.recomputed"},
    "SAMPLE_DRAWN": {"sample.drawn"},
    "_ACTIONS[change]": {*apply._ACTIONS.values(), *undo._ACTIONS.values()},
    "f'{row.prefix}.made'": MADE,
    "action": set(),  # handed on by the function that records; its callers are read too
}


def actions() -> set[str]:
    """All that the code records."""
    found = set[str]()
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or ast.unparse(node.func) not in RECORDING:
                continue
            said = [word.value for word in node.keywords if word.arg == "action"]
            said += [one for one in node.args if isinstance(one, ast.Constant)]
            for one in said:
                if isinstance(one, ast.Constant):
                    found.add(one.value)
                elif (words := ast.unparse(one)) in BY_STATE:
                    found |= {f"{what}.{to.value}" for what, of in BY_STATE[words].items() for to in of}
                else:
                    found |= BY_NAME[words]
    return found


ACTIONS = sorted(actions())


def test_actions_were_found() -> None:
    assert len(ACTIONS) > 100 and {"document.attach", "run.timed_out", "offer.delist", "token.make"} <= {
        *ACTIONS
    }


@pytest.mark.parametrize("action", ACTIONS)
def test_every_action_has_its_word_in_both_languages(action: str) -> None:
    with override("en"):
        assert deed_name(action) != action
    with override("zh-hans"):
        name = deed_name(action)
    assert re.search("[\u4e00-\u9fff].* · .*[\u4e00-\u9fff]", name) and not re.search("[A-Za-z]", name), name


def test_what_nobody_gave_a_word_stays_as_it_is() -> None:
    assert deed_name("nothing.known") == deed_name("nothing.known").lower() == "nothing.known"
    assert deed_name("run.unheard_of") == "run.unheard_of"
