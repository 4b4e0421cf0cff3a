"""What tests share: small motions made here, and the folder of real motion where there is one."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from kinema.motion import BODY, Motion
from kinema.motion import rotations as rot

ROOT = Path(__file__).resolve().parent.parent


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
