from tests.slurm.fixtures import bench, cluster

__all__ = ["bench", "cluster"]
