"""Edits that make a new Motion from others: rate, length, side, order and place. Metadata is kept."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from kinema.motion import rotations as rot
from kinema.motion.contacts import ANKLE_HEIGHT, TOE_HEIGHT, find_feet
from kinema.motion.joint_names import match_joints
from kinema.motion.motion import MAX_FRAMES, Motion
from kinema.motion.skeleton import Skeleton


def resample(motion: Motion, fps: float) -> Motion:
    """The motion at another frame rate, by cubic (Catmull-Rom) interpolation through the frames.

    The first frame stays the first; nothing is extrapolated, so the last frame is at or before the old last one and
    the length changes by less than a frame. Frames at a time of an old frame are equal to it: a rate divided by a whole
    number keeps every n-th frame. Contacts are those of the nearest frame.

    Raises:
        ValueError: the rate is not above 0 and at most 10000, or there would be too many frames.
    """
    if not (np.isfinite(fps) and 0 < fps <= 10_000):
        raise ValueError(f"fps must be above 0 and at most 10000, got {fps}")
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
    quats = rot.normalize(_interpolate(rot.unroll(motion.rotations), times))
    return Motion(
        motion.skeleton,
        fps,
        _interpolate(motion.root_position, times),
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
    pairs = np.array(_counterparts(skeleton))
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
    metadata: dict[str, Any] = {}
    for motion in motions:
        for key, value in motion.metadata.items():
            known = metadata.setdefault(key, value)
            if isinstance(known, str) and isinstance(value, str) and value not in known.split("; "):
                metadata[key] = f"{known}; {value}"
    return Motion(
        first.skeleton,
        first.fps,
        np.concatenate([part.root_position for part in parts]),
        np.concatenate([part.rotations for part in parts]),
        np.concatenate(contacts) if len(contacts) == len(parts) else None,
        metadata,
    )


def ground(motion: Motion) -> Motion:
    """Shifted vertically so that the feet stand on y = 0.

    The floor is the 5th percentile, over the frames, of the lowest foot joint less its own height over the sole (BODY:
    toe 3 cm, ankle 9.8 cm). A motion that never stands is put down to where it is lowest.

    Raises:
        ValueError: the skeleton has no known feet.
    """
    heights = motion.joint_positions()[..., 1]
    feet = find_feet(motion.skeleton)
    soles = [heights[:, ankle] - ANKLE_HEIGHT for ankle, _ in feet] + [heights[:, toe] - TOE_HEIGHT for _, toe in feet]
    floor = np.percentile(np.min(soles, axis=0), 5)
    return motion.replace(root_position=motion.root_position - (0, floor, 0), contacts=motion.contacts)


def place(motion: Motion, position: tuple[float, float] = (0.0, 0.0), heading: float = 0.0) -> Motion:
    """Moved in the plane so that in the first frame the root is at (x, z) and the body faces `heading` radians.

    Raises:
        ValueError: the skeleton's hips are not known, or position or heading are not finite.
    """
    turn = rot.about_y(np.asarray(heading - _heading(_frames(motion, slice(0, 1)))[0]))
    start = motion.root_position[0] * (1, 0, 1)
    return motion.replace(
        root_position=rot.rotate(turn, motion.root_position - start) + np.array([position[0], 0, position[1]]),
        rotations=_turned(turn, motion.rotations),
        contacts=motion.contacts,
    )


def heading(motion: Motion) -> np.ndarray:
    """(T,) yaw of the body's facing direction in radians, continuous in time: 0 faces +Z, positive turns left (to +X).

    The facing direction is horizontal and across the mean of the lines from right to left hip and shoulder. It means
    little while the body lies on its side.

    Raises:
        ValueError: hips and shoulders are not known by their names.
    """
    joints = match_joints(motion.skeleton)
    positions = motion.joint_positions()
    left, right = ([joints[f"{side}_hip"], joints[f"{side}_shoulder"]] for side in ("left", "right"))
    across = (positions[:, left] - positions[:, right]).sum(1)
    return np.unwrap(np.arctan2(-across[:, 2], across[:, 0]))


_heading = heading  # `place` has an argument of this name


def _frames(motion: Motion, frames: slice) -> Motion:
    contacts = None if motion.contacts is None else motion.contacts[frames]
    return motion.replace(
        root_position=motion.root_position[frames], rotations=motion.rotations[frames], contacts=contacts
    )


def _turned(turn: np.ndarray, rotations: np.ndarray) -> np.ndarray:
    """Local rotations (T, J, 4) with the whole body turned by one rotation."""
    return np.concatenate([rot.multiply(turn, rotations[:, :1]), rotations[:, 1:]], 1)


def _interpolate(values: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Catmull-Rom spline through values (T, ...) at times (S,) in frames; beyond the ends it runs on straight."""
    if len(values) == 1:
        return values[np.zeros(len(times), dtype=int)]
    padded = np.concatenate([2 * values[:1] - values[1:2], values, 2 * values[-1:] - values[-2:-1]])
    left = np.minimum(times.astype(int), len(values) - 2)
    t = (times - left).reshape(-1, *[1] * (values.ndim - 1))
    before, here, there, after = (padded[left + shift] for shift in range(4))
    slope = (there - before) / 2
    next_slope = (after - here) / 2
    rest = there - here - slope
    return here + t * (slope + t * ((3 * rest - (next_slope - slope)) + t * ((next_slope - slope) - 2 * rest)))


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


_SIDES = [
    (re.compile("left|right", re.IGNORECASE), {"left": "right", "right": "left"}),
    (re.compile("(?<![a-zA-Z])[lrLR](?![a-zA-Z])"), {"l": "r", "r": "l"}),
    (re.compile("^[lrLR]"), {"l": "r", "r": "l"}),
]


def _counterparts(skeleton: Skeleton) -> list[int]:
    """For every joint the joint on the other side, itself in the middle."""
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
    return pairs


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
