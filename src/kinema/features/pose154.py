"""pose154: a motion on BODY as frames that know only themselves and the step to the next frame, wherever they are.

    0:151    the pose of `kinema.features.pose151`
    151:153  velocity (x, z) of the root until the next frame, in the heading frame (m/s)
    153      yaw rate until the next frame (rad/s)

The last frame repeats the velocities of the one before. Where a motion begins is not in it: `decode` is told.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kinema.features import pose151
from kinema.features.pose151 import Pose151
from kinema.motion import Motion

SIZE = pose151.SIZE + 3
PLANAR, YAW = slice(151, 153), slice(153, 154)


@dataclass(frozen=True)
class Place:
    """Where a figure stands and looks: x, z of the root in metres, heading as a yaw in radians, 0 = +Z."""

    x: float = 0.0
    z: float = 0.0
    heading: float = 0.0


def turned(vectors: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """Planar vectors (..., 2) = (x, z) turned about +Y by angle (...) radians."""
    x, z = vectors[..., 0], vectors[..., 1]
    sine, cosine = np.sin(angle), np.cos(angle)
    return np.stack([cosine * x + sine * z, cosine * z - sine * x], -1)


def encode(motion: Motion) -> np.ndarray:
    """Motion on BODY (T frames, at least 2) -> (T, 154)."""
    features = pose151.encode(motion)
    return np.concatenate([features.pose, steps(features.path, features.heading, motion.fps)], 1)


def steps(path: np.ndarray, heading: np.ndarray, fps: float) -> np.ndarray:
    """path (T, 2), heading (T,) -> (T, 3): planar velocity in the heading frame and yaw rate until the next frame."""
    step = turned(np.diff(path, axis=0), -heading[:-1])
    rates = np.concatenate([step, np.diff(heading)[:, None]], 1) * fps
    return np.concatenate([rates, rates[-1:]])


def decode(values: np.ndarray, fps: float, start: Place | None = None) -> Motion:
    """(T, 154) -> Motion on BODY that begins at `start`, by default the origin facing +Z."""
    path, heading, _ = way(values, fps, start or Place())
    return pose151.decode(Pose151(np.asarray(values[:, : pose151.SIZE], np.float64), path, heading, fps))


def way(values: np.ndarray, fps: float, start: Place) -> tuple[np.ndarray, np.ndarray, Place]:
    """(T, 154) -> path (T, 2), heading (T,), and the place of the frame that would follow."""
    path, heading = ways(values, fps, np.array([start.x, start.z]), np.array(start.heading))
    return path[:-1], heading[:-1], Place(float(path[-1, 0]), float(path[-1, 1]), float(heading[-1]))


def ways(values: np.ndarray, fps: float, path: np.ndarray, heading: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """values (..., T, 154) from path (..., 2) and heading (...) on -> those of T + 1 frames: (..., T + 1, 2) and
    (..., T + 1)."""
    rates = np.asarray(values[..., pose151.SIZE :], np.float64) / fps
    heading = heading[..., None] + _summed(rates[..., 2:])[..., 0]
    return path[..., None, :] + _summed(turned(rates[..., :2], heading[..., :-1])), heading


def _summed(steps: np.ndarray) -> np.ndarray:
    """(..., T, C) -> sums of the first 0, 1, ... T steps (..., T + 1, C)."""
    return np.concatenate([np.zeros_like(steps[..., :1, :]), np.cumsum(steps, -2)], -2)
