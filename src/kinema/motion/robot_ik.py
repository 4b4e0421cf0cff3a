"""Inverse kinematics of a robot for all frames of a clip at once, within the limits of its hinges.

Least squares over points, directions and orientations of links, a little pull to the rest pose, and the accelerations
of all degrees of freedom. Gauss-Newton steps are found by conjugate gradients: the frames are coupled only by the
accelerations, and each frame's own block is the preconditioner. Hinges at a limit that the descent presses on stay
there while a step is found, and the step is cut off at the limits (projected Gauss-Newton), so that no frame of the
result is outside them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kinema.motion import rotations as rot
from kinema.motion.kinematics import forward_kinematics
from kinema.motion.robot import Robot, pose

_REST = 0.003  # weight of a hinge's square distance from its default, 1 / rad^2
_ACCELERATION = np.array([5e-6, 5e-7, 1e-7])  # of square accelerations: root in m/s^2, root and hinges in rad/s^2
_FAST, _TOO_FAST = 12.0, 0.01  # rad/s that a hinge may turn for free, and weight of the square of what is beyond
_LONGEST_STEP = 0.4  # radians a hinge turns in one step
_MARGIN = 1e-6  # radians that a hinge stays away from its limits, so that rounding in a file does not pass them
_PASSES = 15
_SETTLED = 0.005  # radians or metres: the solution has settled when no step is longer


@dataclass(frozen=True)
class PointTask:
    """Where a point of a link shall be: in the world, or as seen from another joint, in directions of the world.

    Args:
        joint: the link.
        target: (T, 3) metres.
        weight: (T,) 1 / m^2.
        offset: (3,) of the point in the joint's frame, metres.
        base: the joint that it is measured from; -1 for the world.
    """

    joint: int
    target: np.ndarray
    weight: np.ndarray
    offset: np.ndarray
    base: int = -1


@dataclass(frozen=True)
class TurnTask:
    """How a link shall be turned: `target` (T, 4) in the world, `weight` (T,) 1 / rad^2."""

    joint: int
    target: np.ndarray
    weight: np.ndarray


def solve(
    robot: Robot,
    fps: float,
    points: list[PointTask],
    turns: list[TurnTask],
    root_position: np.ndarray,
    root_rotation: np.ndarray,
    angles: np.ndarray,
    done: int = 0,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Root positions (T, 3), root rotations (T, 4) and hinge angles (T, H) that come nearest to the tasks.

    Args:
        robot: with H hinges.
        fps: frames per second of the tasks.
        points, turns: what is wanted.
        root_position, root_rotation, angles: where to begin, angles within the limits.
        done: that many frames at the start stay as they are.
    """
    count, hinges = angles.shape
    low, high = robot.limits.T
    margin = np.minimum(_MARGIN, (high - low) / 2)
    low, high = low + margin, high - margin
    default = np.clip([hinge.default for hinge in robot.hinges], low, high)
    smooth = np.repeat(_ACCELERATION, [3, 3, hinges]) * fps**4
    for _ in range(_PASSES):
        hessian, gradient = _normal_equations(robot, points, turns, root_position, root_rotation, angles)
        gradient[:, 6:] += _REST * (angles - default)
        gradient += smooth * _back(_accelerations(root_position, root_rotation, angles), 2, count)
        speeds = np.diff(angles, axis=0) * fps
        beyond = speeds - np.clip(speeds, -_FAST, _FAST)
        gradient[:, 6:] += _TOO_FAST * fps * _back(beyond, 1, count)
        brake = np.pad(_TOO_FAST * fps**2 * (beyond != 0), ((0, 0), (6, 0)))
        diagonal = np.arange(6 + hinges)
        hessian[:, diagonal, diagonal] += 1e-6
        hessian[:, diagonal[6:], diagonal[6:]] += _REST
        free = np.ones(gradient.shape)
        free[:, 6:] = ~(((angles <= low) & (gradient[:, 6:] > 0)) | ((angles >= high) & (gradient[:, 6:] < 0)))
        free[:done] = 0
        step = _conjugate_gradients(hessian, smooth, brake, -gradient, free)
        step *= np.minimum(_LONGEST_STEP / np.maximum(np.abs(step[:, 3:]).max(1, keepdims=True), 1e-9), 1)
        root_position = root_position + step[:, :3]
        root_rotation = rot.normalize(rot.multiply(rot.from_rotation_vector(step[:, 3:6]), root_rotation))
        moved = np.clip(angles + step[:, 6:], low, high)
        change = max(np.abs(moved - angles).max(), np.abs(step[:, :6]).max())
        angles = moved
        if change < _SETTLED:
            break
    return root_position, root_rotation, angles


def _normal_equations(
    robot: Robot,
    points: list[PointTask],
    turns: list[TurnTask],
    root_position: np.ndarray,
    root_rotation: np.ndarray,
    angles: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """J^T W J (T, D, D) and J^T W r (T, D) of the tasks; D is root position, root rotation, hinges."""
    count, hinges = angles.shape
    skeleton = robot.skeleton
    positions, world = forward_kinematics(skeleton, *pose(robot, root_position, root_rotation, angles))
    owners = [hinge.joint for hinge in robot.hinges]
    axes = np.concatenate(
        [np.tile(np.eye(3), (count, 1, 1)), rot.rotate(world[:, owners], np.array([h.axis for h in robot.hinges]))], 1
    )
    origins = np.concatenate([np.repeat(root_position[:, None], 3, 1), positions[:, owners]], 1)
    moves = _moves(robot)

    rows, residuals = [], []
    if points:
        ends = np.stack([positions[:, p.joint] + rot.rotate(world[:, p.joint], p.offset) for p in points], 1)
        jacobian = _lever(axes, ends[:, :, None] - origins[:, None]) * moves[[p.joint for p in points], :, None]
        shift = np.tile(np.eye(3), (count, len(points), 1, 1))
        inner = [number for number, p in enumerate(points) if p.base >= 0]
        bases = [points[number].base for number in inner]
        if inner:
            starts = positions[:, bases]
            jacobian[:, inner] -= _lever(axes, starts[:, :, None] - origins[:, None]) * moves[bases, :, None]
            ends[:, inner] -= starts
            shift[:, inner] = 0
        weight = np.sqrt(np.stack([p.weight for p in points], 1))[..., None]
        residuals.append(weight * (ends - np.stack([p.target for p in points], 1)))
        rows.append(weight[..., None] * np.concatenate([shift, jacobian], 2))
    if turns:
        joints = [turn.joint for turn in turns]
        weight = np.sqrt(np.stack([turn.weight for turn in turns], 1))[..., None]
        target = np.stack([turn.target for turn in turns], 1)
        error = rot.multiply(world[:, joints], rot.inverse(target))
        # the sine of the angle: a link that cannot come near its target must not be torn between the ways around
        error = 2 * error[..., :1] * error[..., 1:]
        residuals.append(weight * error)
        turning = axes[:, None] * moves[joints, :, None]
        rows.append(weight[..., None] * np.concatenate([np.zeros((count, len(joints), 3, 3)), turning], 2))
    # (T, tasks, D, 3) -> (T, D, 3 * tasks)
    table = np.concatenate(rows, 1).transpose(0, 2, 1, 3).reshape(count, 6 + hinges, -1)
    rest = np.concatenate(residuals, 1).reshape(count, -1, 1)
    return table @ table.transpose(0, 2, 1), (table @ rest)[..., 0]


def _lever(axes: np.ndarray, arms: np.ndarray) -> np.ndarray:
    """Speed (T, K, D, 3) of points at the arms (T, K, D, 3) that turn about the axes (T, D, 3)."""
    return rot.cross(axes[:, None], arms)


def _moves(robot: Robot) -> np.ndarray:
    """(J, 3 + H) 1 where a turn of the root or of a hinge carries a joint along."""
    moves = np.zeros((len(robot.skeleton), 3 + len(robot.hinges)))
    moves[:, :3] = 1
    for joint, parent in enumerate(robot.skeleton.parents):
        if parent >= 0:
            moves[joint] = moves[parent]
        moves[joint, [3 + number for number, hinge in enumerate(robot.hinges) if hinge.joint == joint]] = 1
    return moves


def _accelerations(root_position: np.ndarray, root_rotation: np.ndarray, angles: np.ndarray) -> np.ndarray:
    """(T - 2, D) second differences; of the root's rotation, differences of its turns from frame to frame."""
    turns = rot.to_rotation_vector(rot.multiply(root_rotation[1:], rot.inverse(root_rotation[:-1])))
    return np.concatenate([np.diff(root_position, 2, axis=0), np.diff(turns, axis=0), np.diff(angles, 2, axis=0)], 1)


def _back(differences: np.ndarray, order: int, count: int) -> np.ndarray:
    """The transpose of differences of first or second order along time: (T - order, D) -> (T, D)."""
    result = np.zeros((count, differences.shape[1]))
    for place, factor in enumerate((-1, 1) if order == 1 else (1, -2, 1)):
        result[place : place + len(differences)] += factor * differences
    return result


def _conjugate_gradients(
    hessian: np.ndarray, smooth: np.ndarray, brake: np.ndarray, right: np.ndarray, free: np.ndarray
) -> np.ndarray:
    """The step x (T, D) that solves the normal equations where `free` is 1 and is 0 elsewhere.

    The matrix is the blocks `hessian` (T, D, D), plus second differences weighted by `smooth` (D,), plus first
    differences weighted by `brake` (T - 1, D).
    """
    count, size = right.shape
    own = np.zeros((count, size))
    for place, factor in enumerate((1, 4, 1)):
        own[place : place + max(count - 2, 0)] += factor * smooth
    own[1:] += brake
    own[:-1] += brake
    block = hessian * (free[:, :, None] * free[:, None, :])
    index = np.arange(size)
    block[:, index, index] += np.where(free > 0, own, 1.0)
    preconditioner = np.linalg.inv(block)

    def product(x: np.ndarray) -> np.ndarray:
        blocks = (hessian @ x[..., None])[..., 0]
        bent = smooth * np.diff(x, 2, axis=0)
        return free * (blocks + _back(bent, 2, count) + _back(brake * np.diff(x, axis=0), 1, count))

    rest = free * right
    x = np.zeros_like(rest)
    direction = conjugate = (preconditioner @ rest[..., None])[..., 0]
    energy = start = float(np.sum(rest * conjugate))
    for _ in range(60):
        if energy <= 1e-4 * start or energy <= 1e-18:
            break
        image = product(direction)
        length = energy / float(np.sum(direction * image))
        x = x + length * direction
        rest = rest - length * image
        conjugate = (preconditioner @ rest[..., None])[..., 0]
        energy, before = float(np.sum(rest * conjugate)), energy
        direction = conjugate + energy / before * direction
    return x
