"""One real Slurm for the session, and an engine over it for each test."""

import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from mosu.site_agent.engines.protocol import Engine, EngineRef
from mosu.site_agent.engines.slurm import legs, trying
from mosu.site_agent.engines.slurm.engine import SlurmEngine
from mosu.site_agent.engines.slurm.options import SlurmOptions, options_of
from mosu.site_agent.images import Images
from mosu.site_agent.volumes import Volumes
from mosu.wire.agent import AttemptSpec
from tests.images.registry import images_in
from tests.site_agent.lab import environment_in, make_spec, open_folder, shared_folder
from tests.slurm.cluster import SlurmCluster, running_slurm

CARD = "ascend-910b2"
SLOW_S = 120.0
"""What anything may take on a machine with much else to do."""


class SlurmBench:
    """An engine over a state folder of its own, on the session's cluster."""

    def __init__(self, folder: Path, cluster: SlurmCluster) -> None:
        self.folder, self.cluster = folder, cluster
        self.options: SlurmOptions = options_of(
            {
                "accelerators": {CARD: "gpu:ascend910b"},
                "devices": {CARD: [f"{cluster.folder}/dev/npu{{index}}"]},
                "shared_network": True,
                "sessions": True,
            }
        )
        (folder / "volumes").mkdir()
        self.volumes = Volumes(folder / "volumes", room_gb=1, memory=folder / "volumes.json")
        self.images: Images | None = None
        self.engine: Engine = self.restarted()

    def spec(self, run: str = "true", **changes: Any) -> AttemptSpec:
        return make_spec(run, **{"nodes": ("n1",), **changes})

    def restarted(self) -> Engine:
        return SlurmEngine(
            self.folder / "state",
            options=self.options,
            environments=[environment_in(shared_folder())],
            disk_bytes=1 << 30,
            volumes=self.volumes,
            images=self.images,
        )

    def with_images(self) -> Images:
        """From here on its engine runs those of the tests' registry."""
        self.images = images_in(self.folder, environment_in(shared_folder()))
        self.engine = self.restarted()
        return self.images

    def without_daemon(self) -> AbstractContextManager[None]:
        self.cluster.remember()
        return self.cluster.without("slurmctld")

    def attempt(self, ref: EngineRef) -> Path:
        return self.folder / "state" / "attempts" / ref

    def private_paths(self, ref: EngineRef) -> Sequence[Path]:
        attempt = self.attempt(ref)
        names = ("work/file", "log", "job.json", "secrets.json", "claim")
        return [self.folder / "state", attempt, *(attempt / name for name in names)]


@pytest.fixture(scope="session")
def cluster() -> Iterator[SlurmCluster]:
    with running_slurm() as found:
        os.environ["SLURM_CONF"] = found.env["SLURM_CONF"]
        yield found
        del os.environ["SLURM_CONF"]


@pytest.fixture
def bench(cluster: SlurmCluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[SlurmBench]:
    """How soon a node is free and a step begins is this machine's doing: a test that is of a limit sets its own."""
    monkeypatch.setattr(trying, "NODE_S_MAX", SLOW_S)
    monkeypatch.setattr(legs, "OPEN_S_MAX", SLOW_S)
    monkeypatch.setattr(legs, "PATIENCE_S", SLOW_S)
    with open_folder() as folder:
        yield SlurmBench(folder, cluster)
        cluster.clear()
