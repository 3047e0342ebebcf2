import pytest

from tests.slurm.fixtures import bench, cluster

__all__ = ["bench", "cluster"]

_LONG = ("test_faults", "test_tutorial", "test_site", "test_sessions")
"""Files whose tests take a hub of their own."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest begins first, so that workers, which take file by file, end together."""
    places = [place for place, item in enumerate(items) if "slurm" in item.path.parts]
    ordered = sorted((items[place] for place in places), key=lambda item: item.path.stem not in _LONG)
    for place, item in zip(places, ordered, strict=True):
        items[place] = item
