"""The reference says what the code knows: no key, command, variable, field or message more or less."""

import re
from pathlib import Path

import pytest

from mosu.cli.main import COMMANDS
from mosu.site_agent.config import _KEYS as AGENT_KEYS
from mosu.subsidies.rules.programme import _FIELDS as PROGRAMME_FIELDS
from mosu.wire import agent
from mosu.wire.task import MOSU_KEYS, RESOURCE_KEYS, TASK_KEYS

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs" / "reference"
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def section(page: str, heading: str = "") -> str:
    """A page of the reference, or the part of it below a heading."""
    text = (REFERENCE / page).read_text(encoding="utf-8")
    return text.partition(f"\n## {heading}\n")[2].partition("\n## ")[0] if heading else text


def first_cells(text: str) -> list[str]:
    """What stands in backquotes in the first column of the tables of `text`."""
    rows = re.findall(r"^\| (`[^|]*`) \|", text, re.MULTILINE)
    return [name for row in rows for name in re.findall(r"`([^`]+)`", row)]


@pytest.mark.parametrize(
    ("heading", "keys"), [("At the top", TASK_KEYS), ("`resources`", RESOURCE_KEYS), ("`mosu`", MOSU_KEYS)]
)
def test_the_keys_of_a_task(heading: str, keys: tuple[str, ...]) -> None:
    assert first_cells(section("task-file.md", heading)) == list(keys)


def test_the_commands() -> None:
    listed = [name.split()[1] for name in first_cells(section("cli.md")) if name.startswith("mosu ")]
    assert list(dict.fromkeys(listed)) == [command.name for command in COMMANDS]


def test_the_environment() -> None:
    """Each variable that the code reads or hands on, those of a task, of tests and what apps are given left out."""
    files = [path for path in (ROOT / "src").rglob("*.py") if path.parent.name != "session_apps"]
    sources = "\n".join(path.read_text(encoding="utf-8") for path in files)
    known = set(re.findall(r"[\"'](MOSU_[A-Z_]*[A-Z]|PG_BIN|DATABASE_(?:OWNER_)?URL)[\"']", sources))
    page = section("configuration.md")
    assert known - {"MOSU_JOB", "MOSU_JUPYTER_TOKEN"} - set(re.findall(r"`([A-Z_]+)`", page)) == set()
    named = {name.removesuffix("_FILE") for name in re.findall(r"`(MOSU_[A-Z_]+)`", page)}
    assert named - {name.removesuffix("_FILE") for name in known} == set()


def test_the_fields_of_a_programme() -> None:
    assert set(first_cells(section("subsidies.md"))) == set(PROGRAMME_FIELDS)


def test_the_settings_and_messages_of_the_site_agent() -> None:
    assert set(first_cells(section("site-agent.md", "Settings (TOML)"))) == set(AGENT_KEYS)
    messages = section("site-agent.md", "Messages")
    rows = re.findall(r"^\| `((?:GET|POST|PUT) /[^`]+)` \| ([^|]*)\|", messages, re.MULTILINE)
    told = re.findall(r"^\| `((?:GET|POST|PUT) +/[^`]+)` \| ([^|]*)\|", agent.__doc__ or "", re.MULTILINE)
    assert [" ".join(call.split()) for call, _ in rows] == [" ".join(call.split()) for call, _ in told]
    assert [body.strip() for _, body in rows] == [body.strip() for _, body in told]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not re.match(r"[a-z]+:", target) and not target.startswith("#"):
            assert (page.parent / target.partition("#")[0]).exists(), target


def test_every_record_of_a_decision_has_its_number_once() -> None:
    numbers = [path.name[:4] for path in sorted((ROOT / "docs" / "adr").glob("*.md"))]
    assert numbers == [f"{number:04d}" for number in range(1, len(numbers) + 1)]
