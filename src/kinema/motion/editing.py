"""Edits that make a new Motion from others: rate, length, side, order, place. Metadata is kept."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from kinema.motion import rotations as rot
from kinema.motion.contacts import body_size
from kinema.motion.curves import gaussian_weights, interpolate, smooth_path, weighted
from kinema.motion.humanoid import humanoid
from kinema.motion.joint_names import match_joints
from kinema.motion.kinematics import facing, forward_kinematics
from kinema.motion.motion import MAX_FRAMES, Motion, check_fps
from kinema.motion.skeleton import Skeleton

MAX_WINDOW = 10.0  # seconds
_LIKE_START = 0.1  # seconds over which speeds count as much as positions, in how alike two frames are


def resample(motion: Motion, fps: float) -> Motion:
    """The motion at another frame rate, by cubic (Catmull-Rom) interpolation through the frames.

    The first frame stays the first; nothing is extrapolated, so the last frame is at or before the old last one and
    the length changes by less than a frame. Frames at a time of an old frame are equal to it: a rate divided by a whole
    number keeps every n-th frame. Contacts are those of the nearest frame.

    Raises:
        ValueError: the rate is not 0.001 to 10000, or there would be too many frames.
    """
    check_fps(fps)
    if fps == motion.fps:
        return motion
    last = len(motion) - 1
    count = int(last * fps / motion.fps + 1e-6) + 1
    if count > MAX_FRAMES:
        raise ValueError(f"at {fps:g} fps the motion would have {count} frames, more than {MAX_FRAMES}; crop it first")
    times = np.arange(count) * (motion.fps / fps)
    # a time within rounding of a frame is that frame
    nearest = np.rint(times).astype(int)
    times = np.clip(np.where(np.abs(times - nearest) < 1e-6, nearest, times), 0, last)
    quats = rot.normalize(interpolate(rot.unroll(motion.rotations), times))
    return Motion(
        motion.skeleton,
        fps,
        interpolate(motion.root_position, times),
        quats,
        None if motion.contacts is None else motion.contacts[np.minimum(nearest, last)],
        motion.metadata,
    )


def crop(motion: Motion, start: float = 0.0, end: float | None = None) -> Motion:
    """The frames from `start` to before `end` (default: to the end), in seconds, each rounded to the nearest frame.

    Raises:
        ValueError: the span is outside the motion by more than half a frame, or holds no frame.
    """
    end = motion.seconds if end is None else end
    if not (np.isfinite(start) and np.isfinite(end)):
        raise ValueError(f"crop times must be finite numbers, got {start} and {end}")
    first, stop = round(start * motion.fps), round(end * motion.fps)
    if not 0 <= first < stop <= len(motion):
        raise ValueError(f"cannot crop {start:g} to {end:g} s out of a motion of {motion.seconds:g} s")
    return _frames(motion, slice(first, stop))


def mirror(motion: Motion) -> Motion:
    """Left and right swapped, as seen in a mirror in the plane x = 0. Captions in the metadata are not changed.

    Joints are paired by their names: "left" and "right" in any case, or a single letter l and r at the start or set
    off by separators; those without a counterpart are taken for the middle. The result's skeleton is the mirror image
    too; for a skeleton with a symmetrical rest pose, such as BODY, that is the same one.

    Raises:
        ValueError: no joint has a counterpart by name, or the counterparts hang differently in the tree.
    """
    skeleton = motion.skeleton
    pairs = counterparts(skeleton)
    offsets, tips = skeleton.offsets[pairs] * (-1, 1, 1), skeleton.tips[pairs] * (-1, 1, 1)
    if not (np.array_equal(offsets, skeleton.offsets) and np.array_equal(tips, skeleton.tips)):
        skeleton = Skeleton(skeleton.names, skeleton.parents, offsets, tips)
    return Motion(
        skeleton,
        motion.fps,
        motion.root_position * (-1, 1, 1),
        motion.rotations[:, pairs] * (1, 1, -1, -1),
        None if motion.contacts is None else motion.contacts[:, pairs],
        motion.metadata,
    )


def concatenate(motions: Sequence[Motion], blend: float = 0.0) -> Motion:
    """One motion after the other, each moved in the plane so that its first frame follows the last one before it.

    Horizontal position and heading go on at the speed with which the motion before ends. What is left of a jump (pose,
    height, and their speeds) is added to the next motion and fades out over `blend` seconds (inertialisation, Bollo
    2018: a quintic; nothing is shortened and no frame is mixed of two); with 0 the pose jumps. Contacts are kept if
    every motion has them. Metadata: text that differs is joined by "; ", of anything else the first is kept.

    Raises:
        ValueError: there is no motion, `blend` is negative, skeletons or frame rates differ, or a joint by which the
            heading is told is not known.
    """
    if not motions:
        raise ValueError("there is no motion to concatenate")
    if not (np.isfinite(blend) and blend >= 0):
        raise ValueError(f"blend must be a number of seconds, 0 or more, got {blend}")
    first = motions[0]
    for motion in motions[1:]:
        if motion.skeleton != first.skeleton:
            raise ValueError("motions on different skeletons cannot be concatenated; retarget them to BODY first")
        if motion.fps != first.fps:
            raise ValueError(f"motions at {first.fps:g} and {motion.fps:g} fps cannot be concatenated; resample first")
    parts = [first]
    for motion in motions[1:]:
        parts.append(_follow(parts[-1], motion, blend))
    contacts = [part.contacts for part in parts if part.contacts is not None]
    return Motion(
        first.skeleton,
        first.fps,
        np.concatenate([part.root_position for part in parts]),
        np.concatenate([part.rotations for part in parts]),
        np.concatenate(contacts) if len(contacts) == len(parts) else None,
        joined_metadata(motions),
    )


def joined_metadata(motions: Sequence[Motion]) -> dict[str, Any]:
    """Of motions that become one: text that differs is joined by "; ", of anything else the first is kept."""
    metadata: dict[str, Any] = {}
    for motion in motions:
        for key, value in motion.metadata.items():
            known = metadata.setdefault(key, value)
            if isinstance(known, str) and isinstance(value, str):
                metadata[key] = joined_text(known, value)
    return metadata


def joined_text(known: str, more: str) -> str:
    """Two texts with "; " between, or the first where it holds the other already."""
    return known if f"; {more};" in f"; {known};" else f"{known}; {more}"


def loop(motion: Motion, blend: float = 0.3) -> Motion:
    """A motion that can be repeated without a seam: its end leads into its beginning.

    It is cut, in its second half, where it is most like its first frame in pose, height and their speeds, seen from
    where the body is and faces; so a walk loses the last part of a step. What is then left of a jump is added to the
    last `blend` seconds, as in `concatenate`. The body travels and turns on by the same with every repetition:
    `concatenate([cycle] * 3)` is three of them. Contacts are kept.

    Raises:
        ValueError: `blend` is negative, or the skeleton's hips are not known.
    """
    if not (np.isfinite(blend) and blend >= 0):
        raise ValueError(f"blend must be a number of seconds, 0 or more, got {blend}")
    motion = _frames(motion, slice(0, _end_of_cycle(motion)))
    duration = min(blend * motion.fps, len(motion) - 1.0)
    count = int(duration)
    if count == 0:
        return motion
    # what follows the last frame if it goes on as it does, and what should: the first frame, with its speeds
    yaw, ends = heading(motion), slice(len(motion) - 2, None)
    spin = _rotation_step(*motion.rotations[ends])
    step = motion.root_position[-1] - motion.root_position[-2]
    predicted = rot.multiply(rot.from_rotation_vector(spin), motion.rotations[-1])
    turn = rot.about_y(np.asarray(2 * yaw[-1] - yaw[-2] - yaw[0]))
    first, second = _turned(turn, motion.rotations[:2])
    wanted_step = rot.rotate(turn, motion.root_position[1] - motion.root_position[0])
    rise = motion.root_position[0] - motion.root_position[-1] - step
    fade = np.arange(count, 0, -1) / duration
    offset = _fade(_rotation_step(predicted, first), spin - _rotation_step(first, second), fade, duration)
    shift = _fade(rise * (0, 1, 0), step - wanted_step, fade, duration)
    root_position, rotations = np.array(motion.root_position), np.array(motion.rotations)
    root_position[-count:] += shift
    rotations[-count:] = rot.multiply(rot.from_rotation_vector(offset), rotations[-count:])
    return motion.replace(root_position=root_position, rotations=rotations, contacts=motion.contacts)


def smooth(motion: Motion, seconds: float) -> Motion:
    """Without the movements that are much shorter than `seconds`: a Gaussian of that full width at half its height.

    Nothing is delayed, and the first and last frames stay as they are. Rotations are averaged as
    quaternions, with signs that do not jump in time, and normalised. Feet that stood may slide; `lock_feet` holds them.
    Contacts are kept.

    Raises:
        ValueError: `seconds` is negative or above 10.
    """
    if not (np.isfinite(seconds) and 0 <= seconds <= MAX_WINDOW):
        raise ValueError(f"a motion is smoothed over 0 to {MAX_WINDOW:g} seconds, got {seconds}")
    width = seconds * motion.fps
    return motion.replace(
        root_position=smooth_path(motion.root_position, width),
        rotations=_smooth_rotations(motion.rotations, width),
        contacts=motion.contacts,
    )


def ground(motion: Motion) -> Motion:
    """Shifted vertically so that the feet stand on y = 0.

    The floor is the 5th percentile, over the frames, of the lowest ankle or toe joint less its own height over the
    sole: 3 cm for toes, for ankles as much more as they are above the toes in a flat foot (BODY: 9.8 cm), relative to
    the length of the legs. A motion that never stands is put down to where it is lowest.

    Raises:
        ValueError: the skeleton is no humanoid's.
    """
    body = humanoid(motion.skeleton, motion)
    floor = body.floor(*forward_kinematics(motion.skeleton, motion.root_position, motion.rotations))
    return motion.replace(root_position=motion.root_position - (0, floor, 0), contacts=motion.contacts)


def place(motion: Motion, position: tuple[float, float] = (0.0, 0.0), heading: float = 0.0) -> Motion:
    """Moved in the plane so that in the first frame the root is at (x, z) and the body faces `heading` radians.

    Raises:
        ValueError: the skeleton's hips are not known, or position or heading are not finite.
    """
    if not np.isfinite([*position, heading]).all():
        raise ValueError(f"position and heading must be finite numbers, got {position} and {heading}")
    turn = rot.about_y(np.asarray(heading - _heading(_frames(motion, slice(0, 1)))[0]))
    start = motion.root_position[0] * (1, 0, 1)
    return motion.replace(
        root_position=rot.rotate(turn, motion.root_position - start) + np.array([position[0], 0, position[1]]),
        rotations=_turned(turn, motion.rotations),
        contacts=motion.contacts,
    )


def heading(motion: Motion) -> np.ndarray:
    """(T,) yaw of the body's facing direction in radians, continuous in time: 0 faces +Z, positive turns left (to +X).

    The facing direction is that of `facing`, by hips and shoulders.

    Raises:
        ValueError: hips and shoulders are not known by their names.
    """
    return np.unwrap(facing(motion.joint_positions(), match_joints(motion.skeleton)))


_heading = heading  # `place` has an argument of this name


def _frames(motion: Motion, frames: slice) -> Motion:
    contacts = None if motion.contacts is None else motion.contacts[frames]
    return motion.replace(
        root_position=motion.root_position[frames], rotations=motion.rotations[frames], contacts=contacts
    )


def _turned(turn: np.ndarray, rotations: np.ndarray) -> np.ndarray:
    """Local rotations (T, J, 4) with the whole body turned by one rotation."""
    return np.concatenate([rot.multiply(turn, rotations[:, :1]), rotations[:, 1:]], 1)


def _follow(before: Motion, motion: Motion, blend: float) -> Motion:
    """`motion` placed and inertialised so that it goes on where `before` ends."""
    ending = _frames(before, slice(max(len(before) - 2, 0), None))
    yaw = heading(ending)
    step = ending.root_position[-1] - ending.root_position[0]
    root = ending.root_position[-1] + step
    placed = place(motion, (root[0], root[2]), yaw[-1] + (yaw[-1] - yaw[0]))
    # frames until the offset is gone; frame 0 has all of it, so that it follows the ending without a jump
    duration = blend * motion.fps
    count = min(int(np.ceil(duration)), len(motion))
    if count == 0:
        return placed
    start = _frames(placed, slice(0, 2))
    spin = _rotation_step(ending.rotations[0], ending.rotations[-1])
    predicted = rot.multiply(rot.from_rotation_vector(spin), ending.rotations[-1])
    fade = np.arange(count) / duration
    offset = _fade(
        _rotation_step(start.rotations[0], predicted),
        spin - _rotation_step(start.rotations[0], start.rotations[-1]),
        fade,
        duration,
    )
    shift = _fade(
        root - start.root_position[0], step - (start.root_position[-1] - start.root_position[0]), fade, duration
    )
    root_position, rotations = np.array(placed.root_position), np.array(placed.rotations)
    root_position[:count] += shift
    rotations[:count] = rot.multiply(rot.from_rotation_vector(offset), rotations[:count])
    return placed.replace(root_position=root_position, rotations=rotations, contacts=placed.contacts)


def _rotation_step(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Rotation vector that leads from a to b, in the parent's frame."""
    return rot.to_rotation_vector(rot.multiply(b, rot.inverse(a)))


def _fade(value: np.ndarray, speed: np.ndarray, t: np.ndarray, duration: float) -> np.ndarray:
    """Quintics from (value, speed a frame, no acceleration) at t = 0 to rest at zero at t = 1: (S, ...)."""
    t = t.reshape(-1, *[1] * value.ndim)
    return value * (1 - t**3 * (10 - 15 * t + 6 * t**2)) + speed * duration * (t - t**3 * (6 - 8 * t + 3 * t**2))


def _end_of_cycle(motion: Motion) -> int:
    """How many frames to keep so that what follows is most like the first frame."""
    if len(motion) < 4:
        return len(motion)
    turn = rot.about_y(-heading(motion))[:, None]
    points = motion.joint_positions()
    poses = rot.rotate(turn, points - motion.root_position[:, None] * (1, 0, 1))
    speeds = rot.rotate(turn, np.gradient(points, axis=0)) * motion.fps
    poses, speeds = np.concatenate([poses, poses[-1:] + (poses[-1:] - poses[-2:-1])]), speeds[[*range(len(motion)), -1]]
    # one-sided at the first frame, so that speeds at both ends are compared as they are
    unlike = np.mean((poses - poses[0]) ** 2, axis=(1, 2))
    unlike += np.mean((_LIKE_START * (speeds - speeds[0])) ** 2, axis=(1, 2))
    half = (len(motion) + 1) // 2
    later = unlike[half:]
    alike = later <= 1.2 * later.min() + (0.002 * body_size(motion.skeleton)) ** 2
    return half + int(np.flatnonzero(alike)[-1])


def _smooth_rotations(quats: np.ndarray, width: float) -> np.ndarray:
    """What `smooth_path` is for points, for rotations (T, J, 4)."""
    quats = rot.unroll(quats)
    weights = gaussian_weights(width, len(quats) - 1)
    reach = len(weights) // 2
    # beyond the ends each rotation goes on as it would on a great circle: q0 (q^-1 q0)
    before, after = (
        rot.multiply(end, rot.multiply(rot.inverse(beside[::-1]), end))
        for end, beside in ((quats[:1], quats[1 : reach + 1]), (quats[-1:], quats[len(quats) - reach - 1 : -1]))
    )
    mean = weighted(np.concatenate([before, quats, after]), weights)
    lost = np.linalg.norm(mean, axis=-1, keepdims=True) < 0.1  # so fast a spin has no mean
    return rot.normalize(np.where(lost, quats, mean))


_SIDES = [
    (re.compile("left|right", re.IGNORECASE), {"left": "right", "right": "left"}),
    (re.compile("(?<![a-zA-Z])[lrLR](?![a-zA-Z])"), {"l": "r", "r": "l"}),
    (re.compile("^[lrLR]"), {"l": "r", "r": "l"}),
]


def counterparts(skeleton: Skeleton) -> np.ndarray:
    """(J,) for every joint the joint on the other side, itself in the middle; `mirror` says how they are told.

    Raises:
        ValueError: no joint has a counterpart by name, or the counterparts hang differently in the tree.
    """
    index = {name: joint for joint, name in enumerate(skeleton.names)}
    pairs = [index.get(_other_side(name, index), joint) for joint, name in enumerate(skeleton.names)]
    if pairs == list(range(len(pairs))):
        raise ValueError("cannot mirror: no joint names pair left with right, such as left_hip and right_hip")
    for joint, other in enumerate(pairs):
        parent = skeleton.parents[joint]
        if pairs[other] != joint or skeleton.parents[other] != (pairs[parent] if parent >= 0 else -1):
            raise ValueError(
                f"cannot mirror: {skeleton.names[joint]!r} and {skeleton.names[other]!r} hang differently in the tree"
            )
    return np.array(pairs)


def _other_side(name: str, known: dict[str, int]) -> str:
    """The name with its sides swapped, by the first way of writing them that gives a known name."""

    for pattern, sides in _SIDES:
        swapped = pattern.sub(lambda match, sides=sides: _cased(sides[match.group().lower()], match.group()), name)
        if swapped != name and swapped in known:
            return swapped
    return name


def _cased(word: str, like: str) -> str:
    """The word with capitals as in `like`."""
    return word.upper() if like.isupper() else word.capitalize() if like[0].isupper() else word
