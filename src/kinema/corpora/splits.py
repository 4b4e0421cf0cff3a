"""Which clips train and which judge: recordings that are nearly the same always end up on the same side.

Clips are joined into takes where they bear the same name in several folders, or where their fingerprints are closer
than `NEAR`. The split of a take is a hash of its name, so that it does not depend on what else is in the corpus.
"""

from __future__ import annotations

import fnmatch
import hashlib
from collections.abc import Sequence

import numpy as np

from kinema.motion import BODY, Motion
from kinema.motion import rotations as rot

TEST, VAL = 0.10, 0.06

# Distance of two fingerprints, metres, below which two clips count as one take. In CMU one recording under two names is
# at 0.0000 and the next pair at 0.040. In Bandai-Namco, where actors repeat a gesture dozens of times, there is no gap:
# the distances to the nearest neighbour begin at 0.007 and peak near 0.02.
NEAR = 0.02
LONGER = 1.10  # clips whose lengths differ by more than this factor are never joined

_FRAMES = 32
_JOINTS = [
    BODY.index(name)
    for name in (
        "left_knee", "right_knee", "left_ankle", "right_ankle",
        "left_elbow", "right_elbow", "left_wrist", "right_wrist", "head",
    )
]  # fmt: skip
_SWAPPED = [1, 0, 3, 2, 5, 4, 7, 6, 8, 9, 10]  # the points of a fingerprint in a mirrored world
_AHEAD = 0.5
_BLOCK = 512  # clips compared at once


def fingerprint(motion: Motion, positions: np.ndarray) -> np.ndarray:
    """What a motion on BODY looks like, whatever its place, heading and speed: (32, 11, 3) float32, metres.

    32 moments spread evenly over the clip; at each of them knees, ankles, elbows, wrists and head relative to the
    pelvis and its heading, then the pelvis and a point half a metre ahead of it relative to the first frame.

    Args:
        motion: T frames.
        positions: (T, 22, 3) its joint positions.
    """
    # the nearest frame would shift short clips by up to half a frame; between two frames, positions are interpolated
    where = np.linspace(0, len(motion) - 1, _FRAMES)
    below = np.floor(where).astype(int)
    above = np.minimum(below + 1, len(motion) - 1)
    part = (where - below)[:, None, None]
    points = positions[below] * (1 - part) + positions[above] * part
    root = points[:, 0]
    forward = rot.rotate(motion.rotations[np.round(where).astype(int), 0], np.array([0.0, 0.0, 1.0]))
    heading = np.arctan2(forward[:, 0], forward[:, 2])
    body = points[:, _JOINTS] - root[:, None] * (1, 0, 1)
    body = rot.rotate(rot.about_y(-heading)[:, None], body)
    ahead = root + _AHEAD * np.stack([np.sin(heading), np.zeros(_FRAMES), np.cos(heading)], -1)
    path = np.stack([root, ahead], 1) - root[0] * (1, 0, 1)
    path = rot.rotate(rot.about_y(-heading[0]), path)
    return np.concatenate([body, path], 1).astype(np.float32)


def near_identical(fingerprints: np.ndarray, frames: np.ndarray, near: float = NEAR) -> list[tuple[int, int, float]]:
    """Pairs (i, j, distance in metres) of clips that are closer than `near`, as they are or one of them mirrored.

    The distance is the root mean square of the point distances. Mirrored likeness counts because training mirrors.

    Args:
        fingerprints: (N, 32, 11, 3) float32.
        frames: (N,) lengths of the clips.
    """
    count = len(fingerprints)
    points = _FRAMES * fingerprints.shape[2] if count else 1
    order = np.argsort(frames, kind="stable")
    lengths = np.asarray(frames)[order]
    plain = fingerprints[order].reshape(count, -1)
    mirrored = (fingerprints[order][:, :, _SWAPPED] * np.array([-1, 1, 1], np.float32)).reshape(count, -1)
    square = np.einsum("ij,ij->i", plain, plain)
    pairs: list[tuple[int, int, float]] = []
    for begin in range(0, count, _BLOCK):
        rows = slice(begin, min(begin + _BLOCK, count))
        # sorted by length, so the partners of a block are one run of clips
        stop = int(np.searchsorted(lengths, lengths[rows.stop - 1] * LONGER, side="right"))
        for other in range(begin, stop, _BLOCK):
            columns = slice(other, min(other + _BLOCK, stop))
            found: dict[tuple[int, int], float] = {}
            for version in (plain, mirrored):
                # |a - b|^2 = |a|^2 + |b|^2 - 2 ab is fast and loses digits: it proposes, the difference decides
                scale = square[rows, None] + square[None, columns]
                squared = scale - 2 * plain[rows] @ version[columns].T
                a, b = np.nonzero(squared - 1e-5 * scale < near**2 * points)
                a, b = a + begin, b + other
                a, b = np.stack([a, b])[:, (a < b) & (lengths[b] <= LONGER * lengths[a])]
                for i, j in zip(a.tolist(), b.tolist(), strict=True):
                    distance = float(np.sqrt(np.square(plain[i] - version[j]).sum(dtype=np.float64) / points))
                    if distance < near:
                        found[i, j] = min(found.get((i, j), near), distance)
            pairs += [(int(order[i]), int(order[j]), distance) for (i, j), distance in found.items()]
    return sorted(pairs)


def takes(names: Sequence[str], pairs: Sequence[tuple[int, int]]) -> list[str]:
    """The take of every clip: the first name, in sorted order, of those that it is joined with.

    Args:
        names: what the recordings are called; equal names are joined.
        pairs: indices of clips to join.
    """
    parent = list(range(len(names)))

    def root(clip: int) -> int:
        while parent[clip] != clip:
            parent[clip] = parent[parent[clip]]
            clip = parent[clip]
        return clip

    first: dict[str, int] = {}
    for clip, name in enumerate(names):
        parent[root(clip)] = root(first.setdefault(name, clip))
    for a, b in pairs:
        parent[root(a)] = root(b)
    smallest: dict[int, str] = {}
    for clip, name in enumerate(names):
        group = root(clip)
        smallest[group] = min(smallest.get(group, name), name)
    return [smallest[root(clip)] for clip in range(len(names))]


def fitting(names: Sequence[str], patterns: Sequence[str]) -> list[bool]:
    """Which names fit one of the patterns (`*`, `?`, `[...]`).

    Raises:
        ValueError: a pattern fits no name.
    """
    result = [False] * len(names)
    for pattern in patterns:
        found = [index for index, name in enumerate(names) if fnmatch.fnmatchcase(name, pattern)]
        if not found:
            raise ValueError(f"hold out {pattern!r}: no clip has such a name")
        for index in found:
            result[index] = True
    return result


def split(names: Sequence[str], groups: Sequence[str], hold_out: Sequence[str] = ()) -> list[str]:
    """The split of every clip: 10 % of the takes test, 6 % validate, the rest train.

    Args:
        names: names of the clips.
        groups: their takes.
        hold_out: patterns of names; every take with a clip that fits is "compositional".

    Raises:
        ValueError: a pattern fits no clip.
    """
    held = {group for group, fits in zip(groups, fitting(names, hold_out), strict=True) if fits}
    return ["compositional" if group in held else _by_hash(group) for group in groups]


def _by_hash(group: str) -> str:
    value = int.from_bytes(hashlib.sha256(group.encode()).digest()[:8], "big") / 2**64
    return "test" if value < TEST else "val" if value < TEST + VAL else "train"
