"""A real language model in the sandbox, and OpenAI's own client outside: the tutorial, from end to end."""

from pathlib import Path

import pytest

from tests.docs.test_tutorials import ROOT, follow

pytestmark = pytest.mark.environments
ENVIRONMENT = "smollm2"
PAGES = sorted((ROOT / "docs" / "tutorials").glob("serve-a-model*.md"))
CLIENT = ROOT / ".venv-openai" / "bin" / "python"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_tutorial(page: Path, data_dir: Path, tmp_path: Path) -> None:
    follow(page, tmp_path, {}, data_dir=data_dir, python=CLIENT)
