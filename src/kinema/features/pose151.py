"""pose151: a motion on BODY as per-frame poses free of place and heading, plus the path and heading themselves.

One frame of `pose` (151 numbers), seen in the heading frame (origin below the root on the floor, +Z ahead):

    0        root height (m)
    1:7      root rotation relative to the heading, 6D
    7:133    21 local joint rotations, 6D each, in the order of BODY
    133:151  positions of EFFECTORS (m): ankles, toes, wrists

It is the 135 numbers of SMPL-D135 (Being-M0, SOLAMI) with the velocities taken out, since scales of time need positions
between which to interpolate, and the effectors added: a small error in a hip rotation is a large one at the foot, so
feet and hands are told twice, and `decode` lets inverse kinematics settle it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kinema.motion import BODY, Motion
from kinema.motion import rotations as rot
from kinema.motion.kinematics import aim, facing, forward_kinematics, two_bone_ik

SIZE = 151
HEIGHT, ROOT, JOINTS, EFFECTOR = slice(0, 1), slice(1, 7), slice(7, 133), slice(133, 151)
EFFECTORS = ("left_ankle", "right_ankle", "left_foot", "right_foot", "left_wrist", "right_wrist")
FEET = EFFECTORS[:4]
_EFFECTORS = [BODY.index(name) for name in EFFECTORS]
_HEADING_SMOOTHING = 0.13  # s, standard deviation: hips sway with every step, the heading does not


@dataclass(frozen=True)
class Pose151:
    """pose (T, 151); path (T, 2) root x, z in metres; heading (T,) yaw in radians, 0 = +Z, continuous; fps."""

    pose: np.ndarray
    path: np.ndarray
    heading: np.ndarray
    fps: float


def _smooth(values: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian average along time (T,), ends held; sigma in frames."""
    reach = int(np.ceil(3 * sigma))
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    return np.convolve(np.pad(values, reach, mode="edge"), kernel / kernel.sum(), mode="valid")


def encode(motion: Motion) -> Pose151:
    """Motion on BODY (T frames) -> Pose151."""
    positions, _ = forward_kinematics(BODY, motion.root_position, motion.rotations)
    heading = _smooth(np.unwrap(facing(positions)), _HEADING_SMOOTHING * motion.fps)
    path = motion.root_position[:, [0, 2]]
    undo = rot.about_y(-heading)
    floor = motion.root_position * (1, 0, 1)
    effectors = rot.rotate(undo[:, None], positions[:, _EFFECTORS] - floor[:, None])
    local = np.concatenate([rot.multiply(undo, motion.rotations[:, 0])[:, None], motion.rotations[:, 1:]], 1)
    pose = np.concatenate(
        [motion.root_position[:, 1:2], rot.to_6d(local).reshape(len(motion), -1), effectors.reshape(len(motion), -1)], 1
    )
    return Pose151(pose, path, heading, motion.fps)


def decode(features: Pose151) -> Motion:
    """Pose151 -> Motion on BODY; feet and hands are drawn to where the effectors say, within the reach of the limbs."""
    pose, frames = features.pose, len(features.pose)
    turn = rot.about_y(features.heading)
    rotations = rot.from_6d(pose[:, 1:133].reshape(frames, len(BODY), 6))
    rotations[:, 0] = rot.multiply(turn, rotations[:, 0])
    root = np.stack([features.path[:, 0], pose[:, 0], features.path[:, 1]], -1)
    effectors = pose[:, EFFECTOR].reshape(frames, len(EFFECTORS), 3)
    world = np.moveaxis(effectors_world(features, effectors), 1, 0)  # (E, T, 3)
    targets: dict[str, np.ndarray] = dict(zip(EFFECTORS, world, strict=True))
    positions, _ = forward_kinematics(BODY, root, rotations)
    for name in ("left_ankle", "right_ankle", "left_wrist", "right_wrist"):
        joint = BODY.index(name)
        # inverse kinematics never stretches a limb quite straight, so it must not touch one that is where it should be
        gap = np.linalg.norm(targets[name] - positions[:, joint], axis=-1)
        weight = np.clip((gap - 0.001) / 0.004, 0, 1)
        rotations = two_bone_ik(BODY, rotations, root, joint, targets[name], weight)
    for side in ("left", "right"):
        ankle, toe = BODY.index(f"{side}_ankle"), BODY.index(f"{side}_foot")
        rotations = aim(BODY, rotations, root, ankle, toe, targets[f"{side}_foot"])
    return Motion(BODY, features.fps, root, rotations)


def effectors_world(features: Pose151, effectors: np.ndarray) -> np.ndarray:
    """(T, E, 3) positions in the heading frame -> the world."""
    floor = np.stack([features.path[:, 0], np.zeros(len(features.path)), features.path[:, 1]], -1)
    return rot.rotate(rot.about_y(features.heading)[:, None], effectors) + floor[:, None]


def scale_floor(rotation: float, position: float) -> np.ndarray:
    """(151,) least scale of a channel for normalising: what is nearly constant shall not be blown up."""
    floor = np.full(SIZE, rotation)
    floor[HEIGHT], floor[EFFECTOR] = position, position
    return floor
