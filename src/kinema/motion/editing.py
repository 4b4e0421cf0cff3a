"""Edits that make a new Motion from others: rate, length, side, order, place, path. Metadata is kept."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from kinema.motion import rotations as rot
from kinema.motion.contacts import ANKLE_HEIGHT, TOE_HEIGHT, body_size, find_feet, foot_contacts, lock_feet
from kinema.motion.joint_names import match_joints
from kinema.motion.motion import MAX_FRAMES, Motion
from kinema.motion.skeleton import Skeleton

MAX_WINDOW = 10.0  # seconds
_LIKE_START = 0.1  # seconds over which speeds count as much as positions, in how alike two frames are
_WANDER = 1.0  # seconds: movements of the root about its path that are shorter than this are no part of the path
_CORNER = 0.5  # metres over which the corners of a path are rounded
_STRIDE = (0.5, 2.0)  # how much a path may shorten or lengthen the steps
_PATH_STEP = 0.02  # metres between points of a path as it is measured


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

    Nothing is delayed, and the first and last frames stay as they are. Rotations are averaged on the sphere of
    quaternions (the mean of the nearest signs, normalised). Feet that stood may slide; `lock_feet` holds them.
    Contacts are kept.

    Raises:
        ValueError: `seconds` is negative or above 10.
    """
    if not (np.isfinite(seconds) and 0 <= seconds <= MAX_WINDOW):
        raise ValueError(f"a motion is smoothed over 0 to {MAX_WINDOW:g} seconds, got {seconds}")
    width = seconds * motion.fps
    first, last = motion.rotations[:1], motion.rotations[-1:]
    # beyond the ends each rotation goes on as it would on a great circle: q0 (q^-1 q0)
    before = rot.multiply(first, rot.multiply(rot.inverse(motion.rotations), first))
    after = rot.multiply(last, rot.multiply(rot.inverse(motion.rotations), last))
    rotations = _blur(motion.rotations, before, after, width)
    lost = np.linalg.norm(rotations, axis=-1, keepdims=True) < 0.1  # so fast a spin has no mean
    rotations = rot.normalize(np.where(lost, motion.rotations, rotations))
    return motion.replace(
        root_position=_smooth_line(motion.root_position, width), rotations=rotations, contacts=motion.contacts
    )


def follow_path(motion: Motion, path: np.ndarray) -> Motion:
    """The motion led along another path over the ground: it begins where the path begins and ends where it ends.

    The motion's own path is that of its root, smoothed over a second. Equal shares of its length and of the new one's
    go together; the body turns with the direction of the path, and sways about it as it did. Where both lengths
    differ, steps become longer or shorter by the factor in `metadata["stride_scale"]`. Feet stand where the motion's
    contacts say (those that it has, else `foot_contacts`), by `lock_feet`. The path has its corners rounded.

    Args:
        motion: standing on y = 0 and travelling (see `ground`), not forth and back.
        path: (N, 2) x and z, or (N, 3) of which y is not used; metres.

    Raises:
        ValueError: the path is none, the motion does not travel, or the path is less than half or more than twice as
            long; or the skeleton has no known feet.
    """
    points = np.asarray(path, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] not in (2, 3) or not 2 <= len(points) <= MAX_FRAMES:
        raise ValueError(f"a path is (N, 2) or (N, 3) metres with at least 2 points, got {points.shape}")
    points = points[:, [0, -1]]
    if not (np.isfinite(points).all() and np.abs(points).max() <= 1e6):
        raise ValueError("a path must be finite numbers of metres, at most 1000 km")
    track = motion.root_position[:, [0, 2]]
    centre = _smooth_line(track, _WANDER * motion.fps)
    size = body_size(motion.skeleton)
    old, new = _Path(centre, size), _Path(points, size)
    if old.length < 0.5 * size:
        raise ValueError(f"the motion travels {old.length:.2f} m, which is too little to be led along a path")
    scale = new.length / old.length
    if not _STRIDE[0] <= scale <= _STRIDE[1]:
        raise ValueError(
            f"the path is {new.length:.2f} m long and the motion travels {old.length:.2f} m; crop or repeat the motion "
            "so that its steps become at most twice as long or half as long"
        )
    share = old.shares(centre)
    place, direction = new.at(share)
    old_place, old_direction = old.at(share)
    turn = rot.about_y(direction - old_direction)
    sway = np.insert(track - old_place, 1, 0, axis=1)
    root = np.insert(place, 1, motion.root_position[:, 1], axis=1) + rot.rotate(turn, sway)
    contacts = foot_contacts(motion) if motion.contacts is None else motion.contacts
    led = motion.replace(
        root_position=root,
        rotations=_turned(turn[:, None], motion.rotations),
        metadata={**motion.metadata, "stride_scale": round(float(scale), 4)},
    )
    return lock_feet(led, contacts)


def ground(motion: Motion) -> Motion:
    """Shifted vertically so that the feet stand on y = 0.

    The floor is the 5th percentile, over the frames, of the lowest foot joint less its own height over the sole (BODY:
    toe 3 cm, ankle 9.8 cm; others: times `body_size`). A motion that never stands is put down to where it is lowest.

    Raises:
        ValueError: the skeleton has no known feet.
    """
    heights = motion.joint_positions()[..., 1]
    feet = find_feet(motion.skeleton)
    size = body_size(motion.skeleton)
    soles = [heights[:, ankle] - size * ANKLE_HEIGHT for ankle, _ in feet]
    soles += [heights[:, toe] - size * TOE_HEIGHT for _, toe in feet]
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


def _smooth_line(points: np.ndarray, width: float) -> np.ndarray:
    """(T, D) smoothed over `width` frames; straight on beyond the ends, which stay where they are."""
    return _blur(points, 2 * points[:1] - points, 2 * points[-1:] - points, width)


def _blur(values: np.ndarray, before: np.ndarray, after: np.ndarray, width: float) -> np.ndarray:
    """Mean of values (T, ...) with Gaussian weights of `width` frames (full width at half height).

    Frame -k is that of `before` at k, frame T - 1 + k that of `after` at T - 1 - k. Quaternions (last axis of 4) count
    with the sign that is nearest to the frame in the middle.
    """
    sigma = width / np.sqrt(8 * np.log(2))
    if sigma < 0.1:  # the next frame has no weight to speak of
        return values
    reach = min(int(np.ceil(3 * sigma)), len(values) - 1)  # then the ends stay where they are, however wide it is
    total, weights = np.array(values), 1.0
    frames = np.arange(len(values))
    for shift in range(1, reach + 1):
        weight = float(np.exp(-((shift / sigma) ** 2) / 2))
        for moved in (frames - shift, frames + shift):
            inside = np.clip(moved, 0, len(values) - 1)
            other = values[inside]
            low, high = moved < 0, moved >= len(values)
            other[low] = before[np.minimum(-moved[low], len(values) - 1)]
            other[high] = after[np.maximum(2 * (len(values) - 1) - moved[high], 0)]
            if values.shape[-1] == 4:
                other *= np.where(np.sum(other * values, -1, keepdims=True) < 0, -1.0, 1.0)
            total += weight * other
        weights += 2 * weight
    return total / weights


class _Path:
    """A way over the ground (N, 2), with its corners rounded."""

    def __init__(self, points: np.ndarray, size: float) -> None:
        steps = np.linalg.norm(np.diff(points, axis=0), axis=-1)
        along = np.concatenate([[0.0], np.cumsum(steps)])
        count = int(np.clip(along[-1] / (_PATH_STEP * size), 16, 20_000)) + 1
        keep = np.concatenate([[True], steps > 0])
        even = np.linspace(0, along[-1], count)
        line = np.stack([np.interp(even, along[keep], axis[keep]) for axis in points.T], -1)
        self.points = _smooth_line(line, min(_CORNER * size / even[1], count) if even[1] > 0 else 0)
        steps = np.linalg.norm(np.diff(self.points, axis=0), axis=-1)
        self.along = np.concatenate([[0.0], np.cumsum(steps)])
        self.length = float(self.along[-1])
        tangent = np.gradient(self.points, axis=0)
        self.yaw = np.unwrap(np.arctan2(tangent[:, 0], tangent[:, 1]))

    def shares(self, line: np.ndarray) -> np.ndarray:
        """How far along the way each point of the line (N, 2) is that it was made of, 0 to 1."""
        steps = np.linalg.norm(np.diff(line, axis=0), axis=-1)
        return np.concatenate([[0.0], np.cumsum(steps)]) / steps.sum()

    def at(self, share: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Points (T, 2) and the yaw (T,) of the way at these shares of its length."""
        along = share * self.length
        place = np.stack([np.interp(along, self.along, axis) for axis in self.points.T], -1)
        return place, np.interp(along, self.along, self.yaw)


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
