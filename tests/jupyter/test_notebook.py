"""A notebook from end to end: the tutorial, and what JupyterLab does in its sandbox under the hub's eyes."""

from pathlib import Path

import pytest

from tests.docs.test_tutorials import ROOT, follow

pytestmark = pytest.mark.jupyter
PAGES = sorted((ROOT / "docs" / "tutorials").glob("your-first-notebook*.md"))
ATTEMPT = "attempt_1"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_tutorial(page: Path, data_dir: Path, tmp_path: Path) -> None:
    follow(page, tmp_path, {}, data_dir=data_dir)
