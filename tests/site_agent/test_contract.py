"""The local engine keeps the contract of engines."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.site_agent.contract import Bench, EngineContract
from tests.site_agent.lab import Lab, make_spec

from mosu.site_agent.engines.protocol import Engine, EngineRef
from mosu.wire.agent import AttemptSpec


class LocalBench:
    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.engine: Engine = lab.engine

    def spec(self, run: str = "true", **changes: Any) -> AttemptSpec:
        return make_spec(run, **changes)

    def restarted(self) -> Engine:
        return self.lab.restarted()

    @contextmanager
    def without_daemon(self) -> Iterator[None]:
        yield

    def private_paths(self, ref: EngineRef) -> Sequence[Path]:
        attempt = self.lab.attempt(ref)
        return [self.lab.folder, attempt, attempt / "work" / "file", attempt / "log", attempt / "job.json"]


class TestLocal(EngineContract):
    @pytest.fixture
    def bench(self, lab: Lab) -> Bench:
        return LocalBench(lab)
