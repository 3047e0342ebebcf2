"""The tutorial for suppliers does what it says, from the first command to the last."""

import pytest

from tests.docs.test_tutorials import ROOT, follow
from tests.site_agent.lab import open_folder
from tests.slurm.cluster import SlurmCluster

pytestmark = pytest.mark.slurm


def test_a_slurm_cluster_on_the_shelf(cluster: SlurmCluster) -> None:
    with open_folder() as folder:  # which the sandbox's user can reach
        conf = {"SLURM_CONF": cluster.env["SLURM_CONF"]}
        follow(ROOT / "docs" / "tutorials" / "your-slurm-cluster.md", folder, conf)
