"""Programme files and clauses, without a database."""

from datetime import date
from pathlib import Path

import pytest
from tests.subsidies.factories import programme_text

import mosu.subsidies
from mosu.subsidies.rules import Clause, Mode, ProgrammeRefused, Terms, parse_programme, results_of
from mosu.subsidies.rules.clauses import fault_of

SHIPPED = sorted((Path(mosu.subsidies.__file__).parent / "programmes").glob("*.yaml"))


def parse(text: str) -> Terms:
    return parse_programme(text, source="p.yaml", currency="CNY")


def line_of(text: str, start: str) -> int:
    return next(number for number, line in enumerate(text.splitlines(), 1) if line.startswith(start))


def test_a_programme_is_read_whole_and_comes_back_from_json() -> None:
    terms = parse(
        programme_text(
            id="whole",
            more='cap_per_order: "12.50"\nvalid_from: 2026-01-01\nvalid_to: 2026-12-31\nexclusivity_group: g\n'
            "eligibility:\n  - {id: c, when: 'true', reason: {zh: 好, en: good}}",
        )
    )
    assert (terms.code, terms.mode, terms.rate) == ("whole", Mode.CHECKOUT, "0.30")
    assert (terms.cap_per_order_micros, terms.pool_micros) == (12_500_000, 1_000_000_000)
    assert (terms.valid_to, terms.exclusivity_group, terms.stacking) == (date(2026, 12, 31), "g", True)
    assert terms.eligibility == (Clause(id="c", when="true", reason_zh="好", reason_en="good"),)
    assert Terms.from_json(terms.to_json()) == terms


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_the_shipped_programmes_are_sound_and_say_what_they_are_modelled_on(path: Path) -> None:
    terms = parse(path.read_text())
    assert "演示" in terms.title_zh
    assert "demo" in terms.title_en.lower()
    assert all("Demo" in funder.name for funder in terms.funders)
    assert len(terms.source) > 40


def test_three_programmes_are_shipped() -> None:
    assert [path.stem for path in SHIPPED] == ["compute_refund_capital", "compute_voucher_city", "trial"]


# What is wrong, where it is reported (the line that starts so), the field, what was found.
BAD = [
    ('rate: "0.30"', "rate: 0.30", "rate", "rate", "0.30"),
    ('rate: "0.30"', 'rate: "1.5"', "rate", "rate", "'1.5'"),
    ('rate: "0.30"', 'rate: "0"', "rate", "rate", "'0'"),
    ('rate: "0.30"', 'rate: "0.30"\nrates: "0.30"', "rates", "rates", "an unknown field"),
    ('rate: "0.30"', 'rate: "0.30"\nrate: "0.90"', 'rate: "0.90"', "rate", "the field a second time"),
    ("version: 1", "version: one", "version", "version", "'one'"),
    ("version: 1", "version: 0", "version", "version", "0"),
    ("source: a test\n", "", "id:", "source", "nothing"),
    ("id: bad", "id: Bad Name", "id:", "id", "'Bad Name'"),
    ("kind: compute_voucher", "kind: money", "kind", "kind", "'money'"),
    ("mode: checkout", "mode: reimbursement", "id:", "claim_days", "nothing"),
    ('share: "0.7"', 'share: "0.6"', "  - {name: City", "funders", "shares that sum to 0.9"),
    ("name: District", "name: City", "  - {name: City", "funders", "a funder twice"),
    ('pool: "1000"', 'pool: "-5"', "pool", "pool", "'-5'"),
    ('pool: "1000"', 'pool: "10.005"', "pool", "pool", "'10.005'"),
    ('pool: "1000"', 'pool: "9999999999999"', "pool", "pool", "'9999999999999'"),
    ("validity_days: 30", "validity_days: 30\nvalid_to: 9999-12-31", "valid_to", "valid_to", "9999-12-31"),
    ('pool: "1000"', "pool: 1e3", "pool", "pool", "'1e3'"),
    ("shelves: [compute]", "shelves: []", "shelves", "shelves", "0 entries"),
    ("spend_kinds: [core_hours]", "spend_kinds: [beer]", "spend_kinds", "spend_kinds[0]", "'beer'"),
    ("validity_days: 30\n", "", "id:", "validity_days", "neither validity_days nor valid_to"),
    ("validity_days: 30", "validity_days: 30\nvalid_to: 2026-02-30", "valid_to", "valid_to", "2026-02-30"),
    ("unrelated_parties: true", "unrelated_parties: maybe", "unrelated", "unrelated_parties", "'maybe'"),
    ("title: {zh: 算力券, en: Compute voucher}", "title: {zh: 券}", "title", "title.en", "nothing"),
    ("kind: compute_voucher", "kind: trial", "id:", "grant", "nothing"),
    ('rate: "0.30"', 'rate: "0.30"\ncap_per_order: "2000"', "cap_per_order", "cap_per_order", "2000"),
    (
        "unrelated_parties: true",
        "unrelated_parties: true\neligibility:\n- {id: a, when: 'organisation.x >', reason: {zh: 一, en: b}}",
        "- {id: a",
        "eligibility[0].when",
        "Failed to parse",
    ),
    (
        "unrelated_parties: true",
        "unrelated_parties: true\neligibility:\n- {id: a, when: 'org.x', reason: {zh: 一, en: b}}",
        "- {id: a",
        "eligibility[0].when",
        "Undefined variable",
    ),
    ("source: a test", "source: &a test", "source", "(file)", "an anchor or alias"),
    ("source: a test", "source: [a", "", "(file)", ""),
]


@pytest.mark.parametrize(("good", "bad", "start", "field", "found"), BAD, ids=[row[1][:40] for row in BAD])
def test_a_bad_programme_is_refused_with_line_field_and_what_was_found(
    good: str, bad: str, start: str, field: str, found: str
) -> None:
    text = programme_text(id="bad")
    assert good in text
    text = text.replace(good, bad, 1)
    with pytest.raises(ProgrammeRefused) as refusal:
        parse(text)
    problem = next(one for one in refusal.value.problems if one.field == field)
    assert problem.found.startswith(found)
    assert problem.allowed
    assert f"p.yaml, line {problem.line}: {field}: found" in refusal.value.message
    if start:
        assert problem.line == line_of(text, start)


@pytest.mark.parametrize("text", ["", "[]", "a", "\x00", "a: " + "x" * 70_000, "[" * 5000])
def test_what_is_no_programme_at_all_is_refused(text: str) -> None:
    with pytest.raises(ProgrammeRefused) as refusal:
        parse(text)
    assert refusal.value.facts["field"] == "(file)"


def test_every_problem_is_named_not_only_the_first() -> None:
    text = programme_text(rate="2", pool="none", kind="money", mode="gift")
    with pytest.raises(ProgrammeRefused) as refusal:
        parse(text)
    assert [problem.field for problem in refusal.value.problems] == ["kind", "mode", "rate", "pool"]
    assert refusal.value.facts["problems"] == 4


def test_a_clause_passes_fails_or_says_what_it_needs() -> None:
    def clause(when: str) -> Clause:
        return Clause(id="c", when=when, reason_zh="", reason_en="because")

    known = {"kind": "company", "staff": 12, "name": "x"}
    cases = {
        "organisation.kind == 'company'": (True, ""),
        "organisation.staff > 20": (False, ""),
        "organisation.founded_year > 2020": (False, "founded_year"),
        "organisation.staff > 20 && organisation.founded_year > 2020": (False, ""),
        "organisation.staff": (False, ""),
    }
    results = {when: (one.passed, one.needs) for when in cases for one in results_of([clause(when)], known)}
    assert results == cases
    (impossible,) = results_of([clause("organisation.staff / 0 == 1")], known)
    assert not impossible.passed
    (mistyped,) = results_of([clause("organisation.name > 3")], known)
    assert not mistyped.passed
    assert mistyped.needs


def test_a_condition_that_could_run_for_ever_is_refused() -> None:
    items = "[1,2,3,4,5,6,7,8,9,0]"
    nested = f"{items}.all(a, {items}.exists(b, b == a))"
    grown = "['aaaa'].map(x, x + x) .\nmap (x, x + x).size() > 0"
    assert "more than one" in fault_of(nested) and "more than one" in fault_of(grown)
    assert "more than" in fault_of("true" + " || true" * 500)
    assert fault_of("organisation.capabilities.exists(x, x == 'resident')") == ""
