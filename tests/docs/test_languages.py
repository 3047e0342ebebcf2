"""The public pages are in both languages: the same sections, the same commands, each linked to the other."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PUBLIC = (
    "README.md",
    "docs/README.md",
    "docs/tutorials/your-first-run.md",
    "docs/tutorials/your-first-session.md",
    "docs/tutorials/ssh-into-a-session.md",
    "docs/tutorials/your-first-notebook.md",
    "docs/tutorials/your-first-volume.md",
    "docs/tutorials/serve-a-model.md",
    "docs/tutorials/your-slurm-cluster.md",
    "docs/howto/join.md",
    "docs/howto/buy-and-run.md",
    "docs/howto/connect-to-a-run.md",
    "docs/howto/serve-an-endpoint.md",
    "docs/howto/use-vouchers.md",
    "docs/howto/keep-files-in-a-volume.md",
    "docs/howto/reserve-a-block.md",
    "docs/howto/put-a-cluster-on-the-shelf.md",
    "docs/howto/sell-shares-of-cards.md",
)


def chinese_of(page: str) -> Path:
    return ROOT / page.replace(".md", ".zh.md")


def levels(text: str) -> list[int]:
    """How deep each heading is, code blocks left out."""
    prose = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    return [len(marks) for marks in re.findall(r"^(#+) ", prose, re.MULTILINE)]


def commands(text: str) -> list[str]:
    """What is typed, without the choice of a language and without what is shown."""
    typed = []
    for kind, block in re.findall(r"^```(\w*)\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        lines = [line for line in block.splitlines() if kind != "console" or line.startswith(("$ ", ">"))]
        typed += [
            re.sub(r" --lang \w+| +#.*|released|可用|title\.(?:en|zh)|Hall Two[ \w]*|二号厅[ \w]*", "", line)
            for line in lines
        ]
    return [line for line in typed if line != "$ export MOSU_LANG=zh"]


@pytest.mark.parametrize("page", PUBLIC)
def test_a_public_page_has_its_chinese_one(page: str) -> None:
    english, chinese = (file.read_text(encoding="utf-8") for file in (ROOT / page, chinese_of(page)))
    assert levels(english) == levels(chinese)
    assert commands(english) == commands(chinese)
    assert f"({chinese_of(page).name})" in english, "no link to the Chinese page"
    assert f"({Path(page).name})" in chinese, "no link to the English page"
    prose = re.sub(r"```.*?```|`[^`]*`|\([^)]*\)", "", chinese, flags=re.DOTALL)
    assert len(re.findall("[\u4e00-\u9fff]", prose)) > 3 * len(re.findall("[A-Za-z]{2,}", prose))


def test_no_chinese_page_stands_alone() -> None:
    for page in [*ROOT.glob("*.zh.md"), *(ROOT / "docs").rglob("*.zh.md")]:
        assert str(page.relative_to(ROOT)).replace(".zh.md", ".md") in PUBLIC, page
