"""From joint rotations to positions and back: forward kinematics, two-bone inverse kinematics, foot contacts."""

from __future__ import annotations

import numpy as np

from kinema.motion import rotations as rot
from kinema.motion.skeleton import Skeleton


def forward_kinematics(
    skeleton: Skeleton, root_position: np.ndarray, rotations: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """World positions (..., J, 3) in metres and world rotations (..., J, 4) of every joint.

    Args:
        skeleton: J joints.
        root_position: (..., 3) metres.
        rotations: (..., J, 4) local unit quaternions wxyz.
    """
    positions: list[np.ndarray] = []
    world: list[np.ndarray] = []
    for joint, parent in enumerate(skeleton.parents):
        local = rotations[..., joint, :]
        if parent < 0:
            positions.append(root_position)
            world.append(local)
        else:
            positions.append(positions[parent] + rot.rotate(world[parent], skeleton.offsets[joint]))
            world.append(rot.multiply(world[parent], local))
    return np.stack(positions, -2), np.stack(world, -2)


def local_rotations(skeleton: Skeleton, world: np.ndarray) -> np.ndarray:
    """World rotations (..., J, 4) -> rotations relative to the parent (..., J, 4)."""
    parents = np.array(skeleton.parents[1:], dtype=int)
    local = rot.multiply(rot.inverse(world[..., parents, :]), world[..., 1:, :])
    return np.concatenate([world[..., :1, :], local], -2)
