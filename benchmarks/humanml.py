"""HumanML3D vectors from joint positions: frames a second on one thread, beside two other ways in the same run.

    python benchmarks/humanml.py [--frames 100000] [--repeats 7]

"Quaternions" is the published recipe written with whole-array quaternion products, as the dataset's own script does it
(which was measured at 15,000 frames/s on one thread); "frame by frame" is the oracle of the tests. Best of the repeats.
All three must agree on the motion that is timed: a constructed one that turns and moves every joint.
"""

from __future__ import annotations

import os

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1")

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import tyro
from scipy.ndimage import gaussian_filter1d

from kinema.formats.humanml import encode
from kinema.motion import rotations as rot


@dataclass
class Options:
    """Args:
    frames: length of the motion.
    repeats: calls of each way; the frame by frame one has three, of 200 frames.
    """

    frames: int = 100_000
    repeats: int = 7


def main(options: Options) -> None:
    tests = load_tests()
    positions = tests.tumble(0, options.frames)
    few = positions[:200]
    expected = tests.encode_slowly(few)
    for way in (encode, quaternions):
        difference = np.abs(way(few) - expected).max()
        if not difference < 1e-4:
            raise SystemExit(f"{way.__name__} differs from the oracle by {difference}")
    speeds = {
        "kinema.formats.humanml.encode, float64 positions": best(encode, positions, options.repeats),
        "the same, float32 positions": best(encode, positions.astype(np.float32), options.repeats),
        "quaternions, whole arrays": best(quaternions, positions, max(options.repeats // 2, 1)),
        "quaternions, frame by frame": best(tests.encode_slowly, few, 3),
    }
    reference = speeds["quaternions, whole arrays"]
    print(f"| {options.frames} frames, one thread | frames/s | times |\n|---|---|---|")
    for name, speed in speeds.items():
        print(f"| {name} | {speed:,.0f} | {speed / reference:.3g} |", flush=True)


def load_tests() -> Any:
    path = Path(__file__).resolve().parent.parent / "tests" / "formats" / "test_humanml.py"
    spec = importlib.util.spec_from_file_location("test_humanml", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def best(function: Callable[[np.ndarray], np.ndarray], positions: np.ndarray, repeats: int) -> float:
    """Frames a second, of the fastest call."""
    seconds = []
    for _ in range(repeats):
        start = perf_counter()
        function(positions)
        seconds.append(perf_counter() - start)
    return len(positions) / min(seconds)


CHAINS = ([0, 2, 5, 8, 11], [0, 1, 4, 7, 10], [0, 3, 6, 9, 12, 15], [9, 14, 17, 19, 21], [9, 13, 16, 18, 20])
AXES = {1: "+x", 13: "+x", 2: "-x", 14: "-x", 10: "+z", 11: "+z", 15: "+z"} | dict.fromkeys((3, 6, 9, 12), "+y")


def quaternions(positions: np.ndarray) -> np.ndarray:
    """(T, 22, 3) -> (T - 1, 263), step by step over whole arrays."""
    up, ahead = np.array([0.0, 1, 0]), np.array([0.0, 0, 1])
    positions = positions - (0, positions[..., 1].min(), 0)
    positions = positions - positions[0, 0] * (1, 0, 1)
    across = positions[0, 2] - positions[0, 1] + positions[0, 17] - positions[0, 16]
    positions = rot.rotate(rot.between(rot.cross(up, across), ahead), positions)
    across = rot.normalize(positions[:, 1] - positions[:, 2] + positions[:, 17] - positions[:, 16])
    facing = gaussian_filter1d(rot.cross(up, across), 20, axis=0, mode="nearest")
    root = rot.between(facing, np.broadcast_to(ahead, facing.shape))
    root[0] = rot.IDENTITY
    change = rot.multiply(root[1:], rot.inverse(root[:-1]))
    velocity = rot.rotate(root[1:], positions[1:, 0] - positions[:-1, 0])
    local = rot.rotate(root[:, None], positions - positions[:, :1] * (1, 0, 1))
    quats = np.zeros((*positions.shape[:2], 4))
    for chain in CHAINS:
        world = root
        for parent, joint in pairwise(chain):
            sign, axis = AXES.get(joint, "-y")
            bone = positions[:, joint] - positions[:, parent]
            raw = np.broadcast_to(np.eye(3)["xyz".index(axis)] * float(sign + "1"), bone.shape)
            quats[:, joint] = rot.multiply(rot.inverse(world), rot.between(raw, bone))
            world = rot.multiply(world, quats[:, joint])
    steps = positions[1:] - positions[:-1]
    parts = [
        np.arcsin(np.sign(change[:, :1]) * change[:, 2:3]),
        velocity[:, [0, 2]],
        positions[:-1, :1, 1],
        local[:-1, 1:],
        rot.to_6d(quats[:-1, 1:]),
        rot.rotate(root[:-1, None], steps),
        np.sum(steps[:, [7, 10, 8, 11]] ** 2, -1) < 0.002,
    ]
    return np.concatenate([part.reshape(len(steps), -1) for part in parts], -1)


if __name__ == "__main__":
    main(tyro.cli(Options))
