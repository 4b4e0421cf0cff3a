"""From joint rotations to positions and back: forward kinematics, two-bone inverse kinematics, aiming."""

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


def two_bone_ik(
    skeleton: Skeleton,
    rotations: np.ndarray,
    root_position: np.ndarray,
    joint: int,
    target: np.ndarray,
    weight: np.ndarray | float | None = None,
) -> np.ndarray:
    """Move `joint` (an ankle or a wrist) to `target` by turning its parent and grandparent (knee and hip).

    The middle joint bends in its present plane by the law of cosines, then the upper joint swings by the smallest
    rotation. The joint itself keeps its orientation in the world, so that a flat foot stays flat. A straight limb
    bends as a person's does: legs backward, arms forward in the rest pose. Targets nearer than 99.7 % of the limb's
    length are reached exactly; farther ones are approached, never beyond 99.9 %, so that the knee does not pop: a
    straight leg comes out bent by 6 degrees.

    Args:
        skeleton: J joints.
        rotations: (..., J, 4) local unit quaternions.
        root_position: (..., 3) metres.
        joint: index of the joint to move.
        target: (..., 3) world position, metres.
        weight: (...) how much of the correction to apply, 0 none to 1 all (the default); local rotations are slerped.

    Returns:
        (..., J, 4) new local rotations; only three joints differ.

    Raises:
        ValueError: the joint has no grandparent, or one of the two bones has no length.
    """
    middle = skeleton.parents[joint]
    upper = skeleton.parents[middle] if middle >= 0 else -1
    if upper < 0:
        raise ValueError(f"joint {skeleton.names[joint]!r} has no parent and grandparent to bend; choose an end joint")
    upper_length, lower_length = np.linalg.norm(skeleton.offsets[[middle, joint]], axis=-1)
    if min(upper_length, lower_length) < 1e-6:
        raise ValueError(f"the bones above joint {skeleton.names[joint]!r} have no length, so they cannot bend")

    positions, world, above = _chain(skeleton, rotations, root_position, joint, upper)
    upper_bone = (positions[middle] - positions[upper]) / upper_length
    lower_bone = (positions[joint] - positions[middle]) / lower_length
    reach = target - positions[upper]
    distance = _soft_limit(np.linalg.norm(reach, axis=-1), upper_length + lower_length)
    cosine = (distance**2 - upper_length**2 - lower_length**2) / (2 * upper_length * lower_length)

    # The present bend gives the axis. Near a straight limb that axis is noise, so the rest hinge is mixed in: wholly
    # at 0 degrees, not at all above 24. The axis stays perpendicular to the upper bone, but not to the lower one, so
    # the angle solves upper . turned(lower) = B cos + C sin = cosine, which is zero where the target is already met.
    axis = rot.cross(upper_bone, lower_bone)
    hinge = rot.rotate(world[upper], _rest_hinge(skeleton, middle, joint))
    axis = rot.normalize(axis + np.maximum(0.1 - np.linalg.norm(axis, axis=-1, keepdims=True) / 4, 0) * hinge)
    b = np.sum(upper_bone * lower_bone, -1)
    c = np.sum(upper_bone * rot.cross(axis, lower_bone), -1)
    angle = np.arctan2(c, b) + np.arccos(np.clip(cosine / np.maximum(np.hypot(b, c), 1e-9), -1, 1))
    bend = rot.from_axis_angle(axis, angle)
    swing = rot.between(upper_length * upper_bone + lower_length * rot.rotate(bend, lower_bone), reach)

    upper_world = rot.multiply(swing, world[upper])
    middle_world = rot.multiply(swing, rot.multiply(bend, world[middle]))
    upper_local = rot.multiply(rot.inverse(above), upper_world)
    middle_local = rot.multiply(rot.inverse(upper_world), middle_world)
    if weight is not None:
        weight = np.asarray(weight, dtype=np.float64)
        upper_local = rot.slerp(rotations[..., upper, :], upper_local, weight)
        middle_local = rot.slerp(rotations[..., middle, :], middle_local, weight)
        middle_world = rot.multiply(above, rot.multiply(upper_local, middle_local))
    result = np.array(rotations)
    result[..., upper, :] = upper_local
    result[..., middle, :] = middle_local
    result[..., joint, :] = rot.multiply(rot.inverse(middle_world), world[joint])
    return result


def aim(
    skeleton: Skeleton,
    rotations: np.ndarray,
    root_position: np.ndarray,
    joint: int,
    child: int,
    target: np.ndarray,
    weight: np.ndarray | float | None = None,
) -> np.ndarray:
    """Turn `joint` by the smallest rotation that points `child` (a joint below it) at `target`.

    Shapes and `weight` as in `two_bone_ik`; only `joint` differs in the result.

    Raises:
        ValueError: `child` is not below `joint`.
    """
    positions, world, above = _chain(skeleton, rotations, root_position, child, joint)
    swing = rot.between(positions[child] - positions[joint], target - positions[joint])
    local = rot.multiply(rot.inverse(above), rot.multiply(swing, world[joint]))
    if weight is not None:
        local = rot.slerp(rotations[..., joint, :], local, np.asarray(weight, dtype=np.float64))
    result = np.array(rotations)
    result[..., joint, :] = local
    return result


def _chain(
    skeleton: Skeleton, rotations: np.ndarray, root_position: np.ndarray, joint: int, top: int
) -> tuple[dict[int, np.ndarray], dict[int, np.ndarray], np.ndarray]:
    """Positions and world rotations of `joint` and all its ancestors, and the world rotation of the parent of `top`."""
    path = [joint]
    while skeleton.parents[path[-1]] >= 0:
        path.append(skeleton.parents[path[-1]])
    if top not in path[1:]:
        raise ValueError(f"joint {skeleton.names[joint]!r} is not below joint {skeleton.names[top]!r}")
    positions: dict[int, np.ndarray] = {}
    world: dict[int, np.ndarray] = {}
    for current in reversed(path):
        parent = skeleton.parents[current]
        local = rotations[..., current, :]
        if parent < 0:
            positions[current], world[current] = root_position, local
        else:
            positions[current] = positions[parent] + rot.rotate(world[parent], skeleton.offsets[current])
            world[current] = rot.multiply(world[parent], local)
    parent = skeleton.parents[top]
    return positions, world, world[parent] if parent >= 0 else rot.IDENTITY


def _soft_limit(distance: np.ndarray, length: float) -> np.ndarray:
    """Distances up to 99.7 % of `length` unchanged, larger ones bent smoothly towards 99.9 %."""
    start, room = 0.997 * length, 0.002 * length
    beyond = np.maximum(distance - start, 0)
    return np.minimum(distance, start) + room * -np.expm1(-beyond / room)


def _rest_hinge(skeleton: Skeleton, middle: int, joint: int) -> np.ndarray:
    """(3,) axis in the upper joint's frame about which a straight limb bends: legs backward, arms forward."""
    upper, lower = rot.normalize(skeleton.offsets[[middle, joint]])
    leg = lower[1] < -0.7
    axis = rot.cross(lower, np.array([0.0, 0.0, -1.0 if leg else 1.0]))
    axis = axis - np.sum(axis * upper) * upper
    if np.linalg.norm(axis) < 1e-3:  # a bone along Z
        axis = rot.cross(upper, np.array([0.0, 1.0, 0.0]))
    return rot.normalize(axis)
