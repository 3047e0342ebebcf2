"""The tutorial for suppliers does what it says, from the first command to the last."""

from pathlib import Path

import pytest

from tests.docs.test_tutorials import ROOT, follow
from tests.site_agent.lab import open_folder
from tests.slurm.cluster import SlurmCluster

pytestmark = pytest.mark.slurm
PAGES = sorted((ROOT / "docs" / "tutorials").glob("your-slurm-cluster*.md"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_slurm_cluster_on_the_shelf(cluster: SlurmCluster, page: Path) -> None:
    with open_folder() as folder:  # which the sandbox's user can reach
        more = {
            "SLURM_CONF": cluster.env["SLURM_CONF"],
            "NPU_FILE": f"{cluster.folder}/dev/npu{{index}}",
        }
        try:
            follow(page, folder, more)
        finally:
            cluster.clear()
