"""What the tests of the command line share: a way to run it, a folder to run it in, and weights that mean nothing."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from kinema.cli import main
from kinema.formats.bvh import write_bvh
from kinema.motion import Motion


@dataclass(frozen=True)
class Outcome:
    status: int
    out: str
    err: str


Run = Callable[..., Outcome]


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory, random_fracmogen: Callable[..., None]) -> Path:
    """A weights folder with an untrained, very small FracMoGen under its usual name, and with what is no generator."""
    folder = tmp_path_factory.mktemp("weights")
    random_fracmogen(folder / "fracmogen", licence="CC0-1.0", data="none, untrained")
    (folder / "judge").mkdir()
    judge = {"model": {"width": 160}, "licence": ["CC BY-NC 4.0"], "source": ["a studio"]}
    (folder / "judge" / "config.json").write_text(json.dumps(judge))
    return folder


@pytest.fixture
def place(tmp_path: Path, walk: Motion, weights: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: walk.bvh is in it, and the weights are found."""
    write_bvh(walk, tmp_path / "walk.bvh")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KINEMA_WEIGHTS", str(weights))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.delenv("KINEMA_DEBUG", raising=False)
    return tmp_path


@pytest.fixture
def kinema(place: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Run]:
    """Run a command line in this process, in `place`."""
    handler = signal.getsignal(signal.SIGTERM)
    threads = torch.get_num_threads()

    def run(*arguments: object) -> Outcome:
        status = main([str(argument) for argument in arguments])
        return Outcome(status, *capsys.readouterr())

    yield run
    signal.signal(signal.SIGTERM, handler)
    torch.set_num_threads(threads)
