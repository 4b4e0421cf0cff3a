"""What tests share: small motions made here, and the folder of real motion where there is one."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from kinema.motion import BODY, Motion
from kinema.motion import rotations as rot

ROOT = Path(__file__).resolve().parent.parent

# a shell that starts the tests in the background has them ignore Ctrl-C, which some of them are about
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    folder = Path(os.environ.get("KINEMA_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "README.md").exists():
        pytest.skip(f"real motion data not found in {folder}; set KINEMA_DATA")
    return folder


def make_walk(seconds: float = 3.0, fps: float = 30.0, speed: float = 1.2) -> Motion:
    """A constructed walk along +Z on BODY: swinging legs and arms, a foot on the ground at all times."""
    time = np.arange(round(seconds * fps)) / fps
    phase = 2 * np.pi * time * 0.9
    quats = np.tile(rot.IDENTITY, (len(time), len(BODY), 1))

    def swing(joint: str, axis: tuple[float, float, float], angle: np.ndarray) -> None:
        index = BODY.index(joint)
        quats[:, index] = rot.multiply(quats[:, index], rot.from_axis_angle(np.array(axis), angle))

    for side, sign in (("left", 1.0), ("right", -1.0)):
        stride = sign * np.sin(phase)
        swing(f"{side}_hip", (1, 0, 0), -0.45 * stride)
        swing(f"{side}_knee", (1, 0, 0), 0.5 * np.clip(sign * np.cos(phase), 0, None))
        swing(f"{side}_shoulder", (0, 0, 1), np.full_like(time, -sign * 1.3))
        swing(f"{side}_shoulder", (0, 1, 0), -0.4 * stride)
        swing(f"{side}_elbow", (0, 1, 0), np.full_like(time, -sign * 0.3))
    root = np.stack([np.zeros_like(time), np.zeros_like(time), speed * time], -1)
    motion = Motion(BODY, fps, root, quats, metadata={"source": "constructed"})
    lowest = motion.joint_positions()[..., 1].min(1)
    root[:, 1] = 0.03 - lowest
    return motion.replace(root_position=root)


@pytest.fixture(scope="session")
def walk() -> Motion:
    return make_walk()


@pytest.fixture(scope="session")
def walks_corpus(walk: Motion, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """80 constructed walks with arms of their own, 20 of them held out as the compositional split."""
    folder = tmp_path_factory.mktemp("walks")
    rows = []
    for number in range(80):
        rng, rotations = np.random.default_rng(number), np.array(walk.rotations)
        for joint in ("left_shoulder", "right_shoulder", "left_elbow", "spine1"):
            index = BODY.index(joint)
            swing = rng.normal(0, 0.4) + 0.3 * np.sin(rng.uniform(1, 6) * np.arange(len(walk)) / walk.fps)
            turn = rot.from_axis_angle(rot.normalize(rng.normal(size=3)), swing)
            rotations[:, index] = rot.multiply(rotations[:, index], turn)
        speed = 0.5 + 0.04 * number
        moved = walk.replace(root_position=walk.root_position * (1, 1, speed), rotations=rotations)
        moved.save(folder / f"walk_{number:03}.bvh")
        rows.append({"motion": f"walk_{number:03}.bvh", "clip": f"walk_{number:03}", "start": 0.0, "end": None})
        rows[-1] |= {"text": f"a person walks {'fast' if speed > 1.2 else 'slowly'} to the left", "source": "written"}
    (folder / "captions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    from kinema.corpora.build import build

    build([folder], folder / "corpus", licence="CC0", source="constructed", hold_out=["walk_06*", "walk_07*"])
    return folder / "corpus"


@pytest.fixture(scope="session")
def random_fracmogen() -> Callable[..., None]:
    """Writes a very small FracMoGen with random weights that stands about in the rest pose, trembling.

    Further arguments stand in its config.json.
    """

    def write(folder: Path, **info: str) -> None:
        import torch

        from kinema.models.fracmogen.config import FracMoGenConfig
        from kinema.models.fracmogen.model import FracMoGen
        from kinema.models.weights import write_weights

        torch.manual_seed(0)
        model = FracMoGen(FracMoGenConfig(width=32, heads=2, sampler_layers=1, refiner_layers=1))
        positions = BODY.rest_positions + (0, 1.03, 0)
        names = ("left_ankle", "right_ankle", "left_foot", "right_foot", "left_wrist", "right_wrist")
        effectors = np.concatenate([positions[BODY.index(name)] for name in names])
        rest = np.concatenate([[1.03], np.tile([1.0, 0, 0, 0, 1, 0], 22), effectors])
        with torch.no_grad():
            for parameter in model.parameters():  # its last layers begin at zero, and so would all that it says
                parameter.add_(0.05 * torch.randn_like(parameter))
            model.token_mean[:, :151] = torch.from_numpy(rest).float()
            model.token_scale.fill_(0.1)
            model.state_mean[:151] = torch.from_numpy(rest).float()
            model.spread.fill_(1e-3)
        write_weights(model, folder, {"name": folder.name, "licence": "test", **info})

    return write


@pytest.fixture(scope="session", name="random_being-m0")
def random_being_m0() -> Callable[..., None]:
    """Writes a very small motion language model with random weights, and a codec that stands about, trembling.

    Further arguments stand in its config.json.
    """

    def write(folder: Path, **info: str) -> None:
        import torch

        from kinema.models.codec.config import CodecConfig
        from kinema.models.codec.model import Codec
        from kinema.models.codec.pipeline import MotionCodec
        from kinema.models.language.config import LanguageConfig, embedded, of_codec
        from kinema.models.language.model import LanguageModel
        from kinema.models.language.vocabulary import train_tokenizer
        from kinema.models.weights import write_weights

        torch.manual_seed(0)
        codec = Codec(CodecConfig("lfq", bits=4, width=8, depth=1))
        positions = BODY.rest_positions + (0, 1.03, 0)
        names = ("left_ankle", "right_ankle", "left_foot", "right_foot", "left_wrist", "right_wrist")
        effectors = np.concatenate([positions[BODY.index(name)] for name in names])
        rest = np.concatenate([[1.03], np.tile([1.0, 0, 0, 0, 1, 0], 22), effectors, np.zeros(3)])
        codec.mean.copy_(torch.from_numpy(rest))
        codec.scale.fill_(0.1)
        write_weights(codec, folder / "codec", {"licence": "test"})
        made_by = MotionCodec.load(folder / "codec").sha256
        tokenizer = train_tokenizer(["a person walks forward", "someone waves"], 300)
        (folder / "tokenizer.json").write_text(tokenizer.to_str(), encoding="utf-8")
        config = LanguageConfig({}, made_by, *of_codec(codec.config), tokenizer.get_vocab_size(), 0)
        config = dataclasses.replace(config, backbone=embedded(config.size, width=32, layers=2))
        write_weights(LanguageModel(config), folder, {"name": folder.name, "licence": "test", **info})

    return write
