"""Robots: a skeleton whose joints are hinges with limits, and its poses as the numbers that a simulator uses (qpos).

The rest pose is that with every hinge at its default and the robot standing upright, facing +Z; there all frames are
parallel to the world's, as on every skeleton. A link that turns about several hinges is a chain of joints at the same
place, one hinge each, so that an angle is read off a joint's rotation without any ambiguity but full turns.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from kinema.motion import rotations as rot
from kinema.motion.motion import Motion
from kinema.motion.skeleton import Skeleton

TOLERANCE = np.radians(0.1)
"""How far a joint's rotation may be from a turn of its hinge, radians."""


@dataclass(frozen=True)
class Hinge:
    """One degree of freedom.

    Args:
        name: its name in the robot's own file.
        joint: index of the skeleton's joint that it turns, relative to the joint's parent.
        axis: unit vector in the joint's frame, the world's in the rest pose.
        low, high: limits of its angle in qpos, radians; -inf and inf where there are none.
        default: the angle in qpos that it has in the rest pose, radians.
    """

    name: str
    joint: int
    axis: tuple[float, float, float]
    low: float
    high: float
    default: float = 0.0


@dataclass(frozen=True, eq=False)
class Robot:
    """A humanoid robot: a free root and hinges.

    Args:
        name: what it is called.
        skeleton: J joints, its links and, where a link has several hinges, one joint more for each.
        hinges: H of them in the order of qpos, at most one a joint and none at the root.
        root_rest: quaternion wxyz of the root in qpos that is the rest pose, in our axes.
        height: of the root over the ground in the rest pose, metres, as the file says it.
        contact_joints: (P,) which joint each contact sphere is fixed to.
        contact_points: (P, 3) its centre in the joint's frame, metres.
        contact_radii: (P,) its radius, metres; 0 for corners.

    Raises:
        ValueError: the parts do not fit together.
    """

    name: str
    skeleton: Skeleton
    hinges: tuple[Hinge, ...]
    root_rest: tuple[float, float, float, float] = (1.0, 0.0, 0.0, 0.0)
    height: float = 0.0
    contact_joints: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=int))
    contact_points: np.ndarray = field(default_factory=lambda: np.zeros((0, 3)))
    contact_radii: np.ndarray = field(default_factory=lambda: np.zeros(0))

    def __post_init__(self) -> None:
        joints = [hinge.joint for hinge in self.hinges]
        if len(set(joints)) != len(joints) or not all(0 < joint < len(self.skeleton) for joint in joints):
            raise ValueError("every hinge of a robot needs a joint of its own below the root")
        for hinge in self.hinges:
            numbers = [*hinge.axis, hinge.default]
            if not np.isfinite(numbers).all() or abs(np.linalg.norm(hinge.axis) - 1) > 1e-6:
                raise ValueError(f"hinge {hinge.name!r} needs an axis of unit length and a finite default")
            if not hinge.low <= hinge.high:
                raise ValueError(f"the limits of hinge {hinge.name!r} are the wrong way round")

    @property
    def limits(self) -> np.ndarray:
        """(H, 2) lowest and highest angle of every hinge, radians."""
        return np.array([(hinge.low, hinge.high) for hinge in self.hinges]).reshape(-1, 2)


def pose(
    robot: Robot, root_position: np.ndarray, root_rotation: np.ndarray, angles: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The pieces of a motion on the robot's skeleton: root positions (T, 3) and local rotations (T, J, 4).

    Args:
        robot: with H hinges.
        root_position: (T, 3) metres, in our axes, as everything here.
        root_rotation: (T, 4) of the root relative to the rest pose, unit quaternions wxyz.
        angles: (T, H) of the hinges, as in qpos, radians.
    """
    rotations = np.tile(rot.IDENTITY, (len(angles), len(robot.skeleton), 1))
    rotations[:, 0] = root_rotation
    if robot.hinges:
        joints = [hinge.joint for hinge in robot.hinges]
        axes = np.array([hinge.axis for hinge in robot.hinges])
        default = np.array([hinge.default for hinge in robot.hinges])
        rotations[:, joints] = rot.from_axis_angle(axes, angles - default)
    return root_position, rotations


def hinge_angles(robot: Robot, motion: Motion) -> np.ndarray:
    """(T, H) angles of the hinges as in qpos, radians.

    Where the limits leave a choice between full turns, the angle goes on from frame to frame without a jump.

    Raises:
        ValueError: the motion is on another skeleton, or a joint turns otherwise than its hinge lets it, by more than
            `TOLERANCE`.
    """
    if motion.skeleton != robot.skeleton:
        raise ValueError(f"the motion is not on the skeleton of {robot.name}; retarget it to the robot")
    count = len(robot.skeleton)
    axes, default = np.zeros((count, 3)), np.zeros(count)
    for hinge in robot.hinges:
        axes[hinge.joint], default[hinge.joint] = hinge.axis, hinge.default
    quats = motion.rotations
    along = np.sum(quats[..., 1:] * axes, -1)
    angles = 2 * np.arctan2(along, quats[..., 0])
    rest = 2 * np.arcsin(np.clip(np.linalg.norm(quats[..., 1:] - along[..., None] * axes, axis=-1), 0, 1))
    rest[:, 0] = 0
    worst = np.unravel_index(np.argmax(rest), rest.shape)
    if rest[worst] > TOLERANCE:
        raise ValueError(
            f"frame {worst[0]}: joint {robot.skeleton.names[worst[1]]!r} turns by {np.degrees(rest[worst]):.1f} "
            f"degrees about axes that it has no hinge for; retarget the motion to {robot.name}"
        )
    joints = [hinge.joint for hinge in robot.hinges]
    low, high = robot.limits.T
    around = high - low < 2 * np.pi + 1e-9
    middle = default[joints]
    middle[around] = robot.limits[around].mean(1)
    angles = angles[:, joints] + default[joints]
    wrapped = angles - 2 * np.pi * np.rint((angles - middle) / (2 * np.pi))
    turning = np.unwrap(angles, axis=0)
    turning -= 2 * np.pi * np.rint(((turning.min(0) + turning.max(0)) / 2 - middle) / (2 * np.pi))
    return np.where(around, wrapped, turning)


def joint_speeds(robot: Robot, motion: Motion) -> np.ndarray:
    """(T - 1, H) speed of every hinge from a frame to the next, rad/s; errors as in `hinge_angles`."""
    return np.abs(np.diff(hinge_angles(robot, motion), axis=0)) * motion.fps
