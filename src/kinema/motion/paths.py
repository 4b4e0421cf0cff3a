"""Motion led along another path over the ground."""

from __future__ import annotations

import numpy as np

from kinema.motion import rotations as rot
from kinema.motion.contacts import body_size, foot_contacts, lock_feet
from kinema.motion.curves import smooth_path
from kinema.motion.motion import MAX_FRAMES, Motion

_WANDER = 1.0  # seconds: movements of the root about its path that are shorter than this are no part of the path
_CORNER = 0.5  # metres over which the corners of a path are rounded
_STRIDE = (0.5, 2.0)  # how much a path may shorten or lengthen the steps
_STEP = 0.02  # metres between points of a path as it is measured


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
    centre = smooth_path(track, _WANDER * motion.fps)
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
    along = _lengths(centre)
    share = along / along[-1]
    place, direction = new.at(share)
    old_place, old_direction = old.at(share)
    turn = rot.about_y(direction - old_direction)
    sway = np.insert(track - old_place, 1, 0, axis=1)
    root = np.insert(place, 1, motion.root_position[:, 1], axis=1) + rot.rotate(turn, sway)
    contacts = foot_contacts(motion) if motion.contacts is None else motion.contacts
    rotations = np.array(motion.rotations)
    rotations[:, 0] = rot.multiply(turn, rotations[:, 0])
    metadata = {**motion.metadata, "stride_scale": round(float(scale), 4)}
    return lock_feet(motion.replace(root_position=root, rotations=rotations, metadata=metadata), contacts)


class _Path:
    """A way over the ground (N, 2), with its corners rounded."""

    def __init__(self, points: np.ndarray, size: float) -> None:
        along = _lengths(points)
        count = int(np.clip(along[-1] / (_STEP * size), 16, 20_000)) + 1
        keep = np.concatenate([[True], np.diff(along) > 0])
        even = np.linspace(0, along[-1], count)
        line = np.stack([np.interp(even, along[keep], axis[keep]) for axis in points.T], -1)
        self.points = smooth_path(line, min(_CORNER * size / even[1], count) if even[1] > 0 else 0)
        self.along = _lengths(self.points)
        self.length = float(self.along[-1])
        tangent = np.gradient(self.points, axis=0)
        self.yaw = np.unwrap(np.arctan2(tangent[:, 0], tangent[:, 1]))

    def at(self, share: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Points (T, 2) and the yaw (T,) of the way at these shares of its length."""
        along = share * self.length
        place = np.stack([np.interp(along, self.along, axis) for axis in self.points.T], -1)
        return place, np.interp(along, self.along, self.yaw)


def _lengths(line: np.ndarray) -> np.ndarray:
    """(N,) how far along a line (N, 2) each of its points is, metres."""
    return np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=-1))])
