"""Temporal scales: what is known at a level, and what that says about every frame between.

A motion is a state curve: `state` (T, 154) = pose151, path x and z (m), heading (rad). Level l knows it, and its
velocity per frame, at every 2^l-th frame. The cubic Hermite curve through these is the base that the next finer level
corrects; it alone in-betweens real key frames 0.27 s apart to about a centimetre, without corners.

`Keys` hold what is known. `tokens` turns the key frames of one level into what the sampler sees (328 numbers each),
free of place and heading, and `keys_of` turns such tokens back.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from kinema.features import pose151
from kinema.features.pose151 import Pose151
from kinema.features.pose154 import turned
from kinema.motion import BODY, Motion
from kinema.motion.contacts import foot_contacts

STATE = pose151.SIZE + 3
POSE, PATH, HEADING = slice(0, 151), slice(151, 153), slice(153, 154)
FEET = len(pose151.FEET)

# the channels of a token
T_POSE, T_VELOCITY = slice(0, 151), slice(151, 302)
T_STEP, T_TURN = slice(302, 304), slice(304, 305)  # root displacement and yaw change until the next key frame
T_PATH_VELOCITY, T_YAW_RATE = slice(305, 307), slice(307, 308)
T_FOOT_STEP, T_FOOT_VELOCITY = slice(308, 308 + 2 * FEET), slice(316, 316 + 2 * FEET)
T_CONTACT = slice(324, 324 + FEET)
TOKEN = 328
T_TRAJECTORY = slice(302, 308)  # all that says where the root goes

ROOT_UNIT, FOOT_UNIT = 0.06, 0.04  # m, where displacements pass from linear to logarithmic
DEAD_ZONE = 0.01  # m: a sampled displacement below it is a foot or a body that stands


@dataclass(frozen=True)
class Keys:
    """Key frames of one level: state (K, 154), velocity (K, 154) per frame, stride in frames."""

    state: np.ndarray
    velocity: np.ndarray
    stride: int

    def __getitem__(self, which: slice) -> Keys:
        return Keys(self.state[which], self.velocity[which], self.stride)


def squash(vectors: np.ndarray, unit: float) -> np.ndarray:
    """Planar vectors (..., 2) with their length d replaced by asinh(d / unit): fine near zero, coarse far away."""
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors * np.where(length > 1e-9, np.arcsinh(length / unit) / np.maximum(length, 1e-9), 1 / unit)


def stretch(vectors: np.ndarray, unit: float) -> np.ndarray:
    """Inverse of `squash`; lengths are limited to 20 m."""
    length = np.minimum(np.linalg.norm(vectors, axis=-1, keepdims=True), np.arcsinh(20 / unit))
    return vectors * np.where(length > 1e-9, unit * np.sinh(length) / np.maximum(length, 1e-9), unit)


def still(vectors: np.ndarray, zone: float = DEAD_ZONE) -> np.ndarray:
    """Planar vectors (..., 2) shortened by a smooth dead zone: d becomes d (1 - zone^2 / d^2), or 0 within the zone."""
    squared = np.sum(vectors**2, -1, keepdims=True)
    return vectors * np.maximum(1 - zone**2 / np.maximum(squared, 1e-12), 0)


@cache
def hermite(keys: int, stride: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Matrices of the cubic Hermite curve, each (F, K) with F = (K - 1) stride + 1 frames.

    state = values @ key_state + tangents @ key_velocity; velocity = d_values @ key_state + d_tangents @ key_velocity.
    """
    frames = (keys - 1) * stride + 1
    left = np.minimum(np.arange(frames) // stride, max(keys - 2, 0))
    u = (np.arange(frames) - left * stride) / stride
    parts = {
        0: ((1 + 2 * u) * (1 - u) ** 2, u * (1 - u) ** 2 * stride, 6 * u * (u - 1) / stride, (1 - u) * (1 - 3 * u)),
        1: (u * u * (3 - 2 * u), u * u * (u - 1) * stride, 6 * u * (1 - u) / stride, u * (3 * u - 2)),
    }
    matrices = tuple(np.zeros((frames, keys)) for _ in range(4))
    for side, columns in parts.items():
        if left.max() + side < keys:
            for matrix, column in zip(matrices, columns, strict=True):
                matrix[np.arange(frames), left + side] += column
    return matrices  # type: ignore[return-value]


def base(keys: Keys, stride: int = 1) -> Keys:
    """The Hermite curve through key frames, read at every `stride`-th frame."""
    values, tangents, d_values, d_tangents = (matrix[::stride] for matrix in hermite(len(keys.state), keys.stride))
    return Keys(
        values @ keys.state + tangents @ keys.velocity,
        d_values @ keys.state + d_tangents @ keys.velocity,
        stride,
    )


def state_of(motion: Motion) -> tuple[np.ndarray, np.ndarray]:
    """A motion on BODY -> state (T, 154) and contacts (T, 4) of the feet, in the order of pose151.FEET."""
    features = pose151.encode(motion)
    state = np.concatenate([features.pose, features.path, features.heading[:, None]], 1)
    contacts = foot_contacts(motion)[:, [BODY.index(name) for name in pose151.FEET]]
    return state, contacts


def motion_of(state: np.ndarray, fps: float) -> Motion:
    """state (T, 154) -> Motion on BODY."""
    return pose151.decode(Pose151(state[:, POSE], state[:, PATH], state[:, 153], fps))


def velocity_of(state: np.ndarray) -> np.ndarray:
    """Central differences along time, per frame; one-sided at the ends."""
    return np.gradient(state, axis=0) if len(state) > 1 else np.zeros_like(state)


def feet_world(state: np.ndarray) -> np.ndarray:
    """state (..., 154) -> planar world positions (..., 4, 2) of the feet."""
    effectors = state[..., pose151.EFFECTOR].reshape(*state.shape[:-1], -1, 3)[..., :FEET, :]
    return turned(effectors[..., [0, 2]], state[..., 153:]) + state[..., None, PATH]


def tokens(
    state: np.ndarray,
    velocity: np.ndarray,
    feet: np.ndarray,
    feet_velocity: np.ndarray,
    contacts: np.ndarray,
    stride: int,
) -> np.ndarray:
    """What the sampler sees of key frames; the last one's step repeats the one before.

    Args:
        state: (..., K, 154), velocity: (..., K, 154) per frame.
        feet: (..., K, 4, 2), feet_velocity: (..., K, 4, 2) per frame, planar, world.
        contacts: (..., K, 4).

    Returns:
        (..., K, 328).
    """
    heading = state[..., 153]

    def steps(values: np.ndarray, axis: int) -> np.ndarray:
        difference = np.diff(values, axis=axis)
        last = np.take(difference, [-1], axis) if difference.shape[axis] else np.zeros_like(values)
        return np.concatenate([difference, last], axis)

    flat = (*heading.shape, 2 * FEET)
    parts = [
        state[..., POSE],
        velocity[..., POSE] * stride,
        squash(turned(steps(state[..., PATH], -2), -heading), ROOT_UNIT),
        steps(state[..., HEADING], -2),
        squash(turned(velocity[..., PATH], -heading) * stride, ROOT_UNIT),
        velocity[..., HEADING] * stride,
        squash(turned(steps(feet, -3), -heading[..., None]), FOOT_UNIT).reshape(flat),
        squash(turned(feet_velocity, -heading[..., None]) * stride, FOOT_UNIT).reshape(flat),
        contacts,
    ]
    return np.concatenate(parts, -1)


def keys_of(token: np.ndarray, stride: int, start: np.ndarray) -> Keys:
    """Tokens (K, 328) -> Keys, the first at `start` = (x, z, heading).

    The root's way between two key frames is what its own step says and what each foot that stands says: a planted foot
    does not move, so the root moves as much as the foot does relative to it. Standing on a foot, the figure cannot
    drift, however noisy the steps are.
    """
    count = len(token)
    heading = start[2] + np.concatenate([[0.0], np.cumsum(token[:-1, 304])])
    foot_step = still(stretch(token[:, T_FOOT_STEP].reshape(count, FEET, 2), FOOT_UNIT))
    foot_velocity = still(stretch(token[:, T_FOOT_VELOCITY].reshape(count, FEET, 2), FOOT_UNIT))
    effectors = token[:, pose151.EFFECTOR].reshape(count, -1, 3)
    relative = turned(effectors[:, :FEET][..., [0, 2]], heading[:, None])  # (K, 4, 2) from the root, world axes

    own = turned(still(stretch(token[:, T_STEP], ROOT_UNIT)), heading)[:-1]
    by_foot = turned(foot_step, heading[:, None])[:-1] - np.diff(relative, axis=0)  # (K - 1, 4, 2)
    stands = np.clip(token[:, T_CONTACT], 0, 1)
    stands = (stands[:-1] * stands[1:]) * np.exp(-((np.linalg.norm(foot_step[:-1], axis=-1) / FOOT_UNIT) ** 2))
    weight = 10 * stands[..., None]
    step = (own + (weight * by_foot).sum(1)) / (1 + weight.sum(1))
    path = np.concatenate([[[0.0, 0.0]], np.cumsum(step, 0)]) + start[:2]

    state = np.concatenate([token[:, T_POSE], path, heading[:, None]], 1)
    root_velocity = stretch(token[:, T_PATH_VELOCITY], ROOT_UNIT) / stride  # heading frame
    yaw_rate = token[:, T_YAW_RATE] / stride
    velocity = np.concatenate([token[:, T_VELOCITY] / stride, turned(root_velocity, heading), yaw_rate], 1)

    # the feet once more, now in the world: their velocity, and where planted ones stay
    world = relative + path[:, None]
    slip = (np.diff(world, axis=0) - turned(foot_step, heading[:, None])[:-1]) * np.clip(2 * stands, 0, 1)[..., None]
    world[1:] -= _leaky_sum(slip, stands)
    planar = turned(world - path[:, None], -heading[:, None])
    from_root = foot_velocity / stride - root_velocity[:, None]
    spin = np.stack([planar[..., 1], -planar[..., 0]], -1) * yaw_rate[:, None]  # (K, 4, 2) x (K, 1, 1)
    for foot in range(FEET):
        at = pose151.EFFECTOR.start + 3 * foot
        state[:, [at, at + 2]] = planar[:, foot]
        velocity[:, [at, at + 2]] = from_root[:, foot] - spin[:, foot]
    return Keys(state, velocity, stride)


def _leaky_sum(slip: np.ndarray, stands: np.ndarray) -> np.ndarray:
    """Slips (K - 1, 4, 2) added up while a foot stands; forgotten when it lifts."""
    total = np.zeros_like(slip)
    carried = np.zeros_like(slip[0])
    for k in range(len(slip)):
        carried = carried * np.clip(2 * stands[k], 0, 1)[:, None] + slip[k]
        total[k] = carried
    return total
