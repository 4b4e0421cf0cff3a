"""How motion stands in the physical world: feet, ground, smoothness, bones, and the body in its own way.

Joint positions are (T, J, 3) in metres, Y up, the ground at y = 0. Where a body is needed they are those of BODY, and
capsules around its bones stand for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
from scipy.ndimage import grey_opening

from kinema.motion import BODY, Motion, Skeleton
from kinema.motion.contacts import TOE_HEIGHT, foot_skating, foot_sliding


@dataclass(frozen=True)
class Measure:
    """How a number is shown.

    Args:
        title: a few words, without the unit.
        unit: "m/s", "of frames" (a share, 0 to 1), "of real" (a ratio), ...
        form: for `str.format`.
        better: "lower" or "higher", "real" (the nearer to that of real motion), or "" for what has no better.
    """

    title: str
    unit: str
    form: str
    better: Literal["lower", "higher", "real", ""]


MEASURES = {
    "speed": Measure("speed", "m/s", "{:.3f}", "real"),
    "speed_ratio": Measure("speed", "of real", "{:.2f}", "real"),
    "jerk": Measure("jerk", "m/s³", "{:.1f}", "real"),
    "jerk_ratio": Measure("jerk", "of real", "{:.2f}", "real"),
    "acceleration_ratio": Measure("acceleration at keys", "of between", "{:.2f}", "real"),
    "skating": Measure("skating", "of frames", "{:.3f}", "lower"),
    "sliding": Measure("sliding", "m/s", "{:.3f}", "lower"),
    "weighted_skating": Measure("sliding by height", "m/s", "{:.3f}", "lower"),
    "floating": Measure("floating", "m", "{:.3f}", "lower"),
    "penetration": Measure("penetration", "m", "{:.4f}", "lower"),
    "penetrating": Measure("penetrating", "of frames", "{:.3f}", "lower"),
    "self_intersection": Measure("self-intersection", "of frames", "{:.3f}", "lower"),
}
"""What `quality` returns."""

_FULL_CONTACT = 0.025  # m above the height in a flat foot at which contact has faded (Zhang et al. 2018)
_AIRBORNE = 1.0  # s that a body can be off the ground: a standing jump takes 0.6
_DEEP = 0.01  # m below the ground that the skin gives way
_SOFT = 0.04  # m that flesh gives way on both sides together where bodies press on each other

# Capsules around the bones of BODY: (joint where it starts, joint where it ends, radius in metres). The trunk is as
# thick as it is deep, not as it is wide, so that arms hang free beside it. Joints do not say where a hand points: hands
# are left out, and may rest on the hips.
_CAPSULES = [
    ("left_hip", "right_hip", 0.08),
    ("pelvis", "spine2", 0.10),
    ("spine2", "neck", 0.10),
    ("neck", "head", 0.08),
]
_CAPSULES += [
    (f"{side}_{start}", f"{side}_{end}", radius)
    for side in ("left", "right")
    for start, end, radius in (
        ("hip", "knee", 0.06),
        ("knee", "ankle", 0.045),
        ("ankle", "foot", TOE_HEIGHT),
        ("shoulder", "elbow", 0.04),
        ("elbow", "wrist", 0.03),
    )
]


# --- smoothness -------------------------------------------------------------------------------------------------------


def speed(positions: np.ndarray, fps: float) -> float:
    """Mean speed of the joints, m/s; nan for a single frame."""
    return _mean_norm(positions, 1, fps)


def jerk(positions: np.ndarray, fps: float) -> float:
    """Mean size of the third difference of the joint positions, m/s^3 (Flash & Hogan 1985); nan below four frames."""
    return _mean_norm(positions, 3, fps)


def _mean_norm(positions: np.ndarray, order: int, fps: float) -> float:
    steps = np.linalg.norm(np.diff(positions, order, axis=0), axis=-1)
    return float(steps.mean() * fps**order) if steps.size else float("nan")


def key_accelerations(positions: np.ndarray, every: int) -> tuple[np.ndarray, np.ndarray]:
    """Sizes of the second differences, metres, centred on the frames 0, every, 2 every, ..., and on the others.

    The mean of the first over the mean of the second is the acceleration ratio: 1 unless motion has corners at its
    keys. Gather both over many motions before dividing.
    """
    if every < 2:
        raise ValueError(f"keys must be at least two frames apart, got {every}")
    size = np.linalg.norm(np.diff(positions, 2, axis=0), axis=-1)  # (T - 2, J), row t is centred on frame t + 1
    at_key = (np.arange(len(size)) + 1) % every == 0
    return size[at_key].ravel(), size[~at_key].ravel()


# --- bones ------------------------------------------------------------------------------------------------------------


def bone_length_drift(positions: np.ndarray, skeleton: Skeleton = BODY) -> float:
    """Largest change of the length of a bone over time, as a share of its mean length.

    For joint positions that no skeleton holds together; in a `Motion` bones keep their lengths.

    Args:
        positions: (T, J, 3) metres.
        skeleton: says which joints a bone joins.

    Raises:
        ValueError: the joints are not those of the skeleton.
    """
    if positions.ndim != 3 or positions.shape[1:] != (len(skeleton), 3) or not len(positions):
        raise ValueError(f"positions must be (T, {len(skeleton)}, 3) with at least one frame, got {positions.shape}")
    lengths = np.linalg.norm(positions[:, 1:] - positions[:, list(skeleton.parents[1:])], axis=-1)  # (T, J - 1)
    mean = lengths.mean(0)
    return float((np.ptp(lengths, axis=0) / np.where(mean == 0, 1, mean)).max())


# --- feet and ground --------------------------------------------------------------------------------------------------


def weighted_skating(positions: np.ndarray, fps: float) -> float:
    """Mean horizontal speed of the toes over all steps and both feet, weighted by how near the ground they are, m/s.

    The weight is 2 - 2^(h / H), 1 on the ground and 0 from H = 2.5 cm on (Zhang et al. 2018). h is the height of the
    toe joint over where it is in a flat foot, the mean of both ends of the step.

    Raises:
        ValueError: the positions are not those of BODY.
    """
    toes = _of_body(positions)[:, [BODY.index("left_foot"), BODY.index("right_foot")]]
    if len(toes) < 2:
        return 0.0
    across = np.linalg.norm(np.diff(toes[..., [0, 2]], axis=0), axis=-1) * fps
    height = (toes[1:, :, 1] + toes[:-1, :, 1]) / 2 - TOE_HEIGHT
    return float((across * (2 - 2 ** np.clip(height / _FULL_CONTACT, 0, 1))).mean())


def lowest(positions: np.ndarray) -> np.ndarray:
    """(T,) height of the lowest point of the body, metres: 0 for one that stands, below 0 inside the ground.

    Raises:
        ValueError: the positions are not those of BODY.
    """
    start, end = _capsules(positions)
    return (np.minimum(start[..., 1], end[..., 1]) - _RADIUS).min(1)


def floating(positions: np.ndarray, fps: float) -> float:
    """Mean height of the lowest point of the body above the ground, without jumps, metres.

    Whoever is in the air for less than 1 s counts as on the ground. PhysDiff (Yuan et al. 2023) counts jumps as well.

    Raises:
        ValueError: the positions are not those of BODY.
    """
    window = 2 * round(_AIRBORNE / 2 * fps) + 1
    return float(grey_opening(np.maximum(lowest(positions), 0), window, mode="nearest").mean())


def penetration(positions: np.ndarray) -> tuple[float, float]:
    """How deep the lowest point of the body is below the ground: (mean over all frames in metres, share of frames).

    The mean is that of PhysDiff (Yuan et al. 2023), without its margin; the share is of frames deeper than 1 cm.

    Raises:
        ValueError: the positions are not those of BODY.
    """
    depth = np.maximum(-lowest(positions), 0)
    return float(depth.mean()), float((depth > _DEEP).mean())


# --- the body in its own way ------------------------------------------------------------------------------------------


def self_intersection(positions: np.ndarray) -> float:
    """Share of frames in which a part of the body is inside another by more than 4 cm.

    Capsules around bones stand for the body. Those that meet in a joint, or that a single bone joins, do not count:
    flesh folds there.

    Raises:
        ValueError: the positions are not those of BODY.
    """
    return float((overlaps(positions) > _SOFT).any(1).mean())


def overlaps(positions: np.ndarray) -> np.ndarray:
    """(T, pairs) by how much the two capsules of each pair are inside each other, metres; 0 where they are not.

    Raises:
        ValueError: the positions are not those of BODY.
    """
    start, end = _capsules(positions)
    one, other = np.array(_PAIRS).T
    touching = _RADIUS[one] + _RADIUS[other]
    middle, half = (start + end) / 2, np.linalg.norm(end - start, axis=-1) / 2
    reach = half[:, one] + half[:, other] + touching  # most pairs are too far apart to look closer
    frame, pair = np.nonzero(((middle[:, one] - middle[:, other]) ** 2).sum(-1) < reach**2)
    one, other = one[pair], other[pair]
    gap = segment_distance(start[frame, one], end[frame, one], start[frame, other], end[frame, other])
    found = np.zeros((len(start), len(_PAIRS)))
    found[frame, pair] = np.maximum(touching[pair] - gap, 0)
    return found


def segment_distance(a: np.ndarray, b: np.ndarray, c: np.ndarray, d: np.ndarray) -> np.ndarray:
    """Shortest distance between the segments a-b and c-d: four times (N, 3) -> (N,).

    Each nearest point is at the other line's nearest one, or at an end of its segment (Ericson 2004).
    """
    u, v, w = b - a, d - c, a - c
    uu, uv, vv, uw, vw = ((x * y).sum(-1) for x, y in ((u, u), (u, v), (v, v), (u, w), (v, w)))
    across = uu * vv - uv**2  # 0 where they are parallel: any point of a-b may then be the nearest
    s = np.clip(np.where(across > 1e-12, uv * vw - vv * uw, 0) / np.where(across > 1e-12, across, 1), 0, 1)
    t = np.clip((uv * s + vw) / np.where(vv == 0, 1, vv), 0, 1)
    s = np.clip((uv * t - uw) / np.where(uu == 0, 1, uu), 0, 1)
    return np.linalg.norm(w + s[:, None] * u - t[:, None] * v, axis=-1)


_START = np.array([BODY.index(start) for start, _, _ in _CAPSULES])
_END = np.array([BODY.index(end) for _, end, _ in _CAPSULES])
_RADIUS = np.array([radius for _, _, radius in _CAPSULES])


def _bones_between(one: int, other: int) -> int:
    """Number of bones on the way from one capsule to another."""

    def way(joint: int) -> set[int]:
        return {joint} if joint == 0 else {joint} | way(BODY.parents[joint])

    ends = [(way(int(_START[k])), way(int(_END[k]))) for k in (one, other)]
    return min(len(a ^ b) for a in ends[0] for b in ends[1])


_PAIRS = [pair for pair in combinations(range(len(_CAPSULES)), 2) if _bones_between(*pair) > 1]


def _capsules(positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(T, C, 3) where the capsules start and where they end."""
    positions = _of_body(positions)
    return positions[:, _START], positions[:, _END]


def _of_body(positions: np.ndarray) -> np.ndarray:
    if positions.ndim != 3 or positions.shape[1:] != (len(BODY), 3) or not len(positions):
        raise ValueError(f"positions must be those of BODY, (T, {len(BODY)}, 3), got {positions.shape}")
    return positions


# --- together ---------------------------------------------------------------------------------------------------------


def quality(motions: Sequence[Motion], real: Sequence[Motion], every: int | None = None) -> dict[str, float]:
    """How motions move, beside real ones: means over motions, by the names of `MEASURES`.

    Without "speed_ratio", the others flatter motion that stands still.

    Args:
        motions: on BODY, four frames or longer.
        real: what they are compared with; not necessarily as many.
        every: adds "acceleration_ratio", at the frames that are multiples of it.

    Raises:
        ValueError: there are no motions, or one is not on BODY.
    """
    if not motions or not real:
        raise ValueError(f"there must be motions to compare, got {len(motions)} made and {len(real)} real")
    if any(motion.skeleton != BODY for motion in (*motions, *real)):
        raise ValueError("physics are measured on BODY; retarget the motions to it first")
    found = _averages(motions)
    reference = np.nanmean([_smoothness(motion) for motion in real], 0)
    found |= {f"{name}_ratio": found[name] / reference[k] for k, name in enumerate(("speed", "jerk"))}
    if every is not None:
        parts = [key_accelerations(motion.joint_positions(), every) for motion in motions]
        at_key, between = (np.concatenate(side).mean() for side in zip(*parts, strict=True))
        found["acceleration_ratio"] = float(at_key / between) if between > 0 else float("nan")
    return {name: float(found[name]) for name in MEASURES if name in found}


def _smoothness(motion: Motion) -> tuple[float, float]:
    positions = motion.joint_positions()
    return speed(positions, motion.fps), jerk(positions, motion.fps)


def feet(motions: Sequence[Motion]) -> dict[str, float]:
    """How feet slide: means over motions on BODY of "skating", "sliding" and "weighted_skating"."""
    return _means([_feet(motion) for motion in motions])


def _feet(motion: Motion) -> dict[str, float]:
    return {
        "skating": foot_skating(motion),
        "sliding": foot_sliding(motion),
        "weighted_skating": weighted_skating(motion.joint_positions(), motion.fps),
    }


def _averages(motions: Sequence[Motion]) -> dict[str, float]:
    rows = []
    for motion in motions:
        positions, fps = motion.joint_positions(), motion.fps
        depth, below = penetration(positions)
        rows.append(
            {
                "speed": speed(positions, fps),
                "jerk": jerk(positions, fps),
                **_feet(motion),
                "floating": floating(positions, fps),
                "penetration": depth,
                "penetrating": below,
                "self_intersection": self_intersection(positions),
            }
        )
    return _means(rows)


def _means(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    return {name: float(np.nanmean([row[name] for row in rows])) for name in rows[0]}  # a short motion has no jerk
